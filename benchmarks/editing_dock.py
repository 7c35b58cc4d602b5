"""How quickly the Correct dock answers in a real viewer, with the mask of 512 x 512 x 300 voxels of `editing.py`.

    python -m benchmarks.editing_dock    # needs a display; on a headless Linux: scripts/with_display.sh python -m benchmarks.editing_dock

Strokes are drawn with mouse events on the canvas. Of each event the time is taken until it is worked off and the canvas is painted; the same
stroke with napari's own brush is the measure. Then long tools run, and a timer of 10 ms notes the longest time in which nobody could click.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import napari
import numpy as np
from qtpy.QtCore import QEvent, QPoint, QTimer
from qtpy.QtWidgets import QApplication

from benchmarks.editing import LESION, LIVER, SPACING, scene
from napari_seg3d.editing.tools import tool
from tests.hands import canvas_of, mouse_event, pixel
from tests.pumping import pump

STROKES = [
    ("brush", {"radius_mm": 10.0}),
    ("brush", {"radius_mm": 30.0}),
    ("threshold_brush", {"radius_mm": 10.0, "intensities": [80.0, 140.0]}),
    ("adaptive_brush", {"radius_mm": 10.0}),
    ("erase_brush", {"radius_mm": 10.0}),
]
CLICKS = ["flood_fill", "grow_region", "trace_level", "keep_island"]
LONG = ["smooth", "smooth_jointly", "margin", "hollow", "keep_largest", "drop_small", "split_islands", "fill_holes", "split"]


class Session:
    """A viewer with the scan, its mask and the Correct dock."""

    def __init__(self) -> None:
        scan = scene()
        self.viewer = napari.Viewer(title="editing", ndisplay=2)
        self.viewer.window.resize(1366, 768)
        self.viewer.add_image(scan.image, name="scan", scale=SPACING, contrast_limits=(-150, 250))
        self.layer = self.viewer.add_labels(scan.mask, name="mask", scale=SPACING)
        self.dock = self.viewer.window.add_plugin_dock_widget("napari-seg3d", "Correct")[1]
        self.viewer.layers.selection.active = self.layer
        self.viewer.dims.set_point(0, 150 * SPACING[0])
        self.viewer.reset_view()
        self.layer.selected_label = LESION
        self.view = canvas_of(self.viewer)
        pump(1.0)

    def point(self, row: int, column: int) -> QPoint:
        """Return where on the canvas a voxel of the slice is."""
        return pixel(self.viewer, self.view, self.layer.data_to_world((150, row, column)))

    def mouse(self, kind: QEvent.Type, at: QPoint) -> float:
        """Send a mouse event; return how many ms passed until it was worked off and painted."""
        event = mouse_event(self.view, kind, at)
        start = time.perf_counter()
        QApplication.sendEvent(self.view.canvas.native, event)
        QApplication.processEvents()
        return 1000 * (time.perf_counter() - start)

    def stroke(self) -> tuple[list[float], float]:
        """Draw a line of 20 moves; return the ms of each move, and of letting go."""
        points = [self.point(220 + 2 * step, 140 + 3 * step) for step in range(21)]
        self.mouse(QEvent.Type.MouseButtonPress, points[0])
        moves = [self.mouse(QEvent.Type.MouseMove, point) for point in points[1:]]
        return moves, self.mouse(QEvent.Type.MouseButtonRelease, points[-1])

    def settle(self) -> None:
        """Wait for the tool."""
        while self.dock._model.job is not None:
            QApplication.processEvents()
            time.sleep(0.005)
        pump(0.3)


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    QApplication.processEvents()
    return 1000 * (time.perf_counter() - start)


def longest_wait(work: Callable[[], None]) -> tuple[float, float]:
    """Return how many s some work took, and the longest ms between two calls of a 10 ms timer meanwhile."""
    last, longest = time.perf_counter(), 0.0

    def note() -> None:
        nonlocal last, longest
        now = time.perf_counter()
        longest, last = max(longest, now - last), now

    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(note)
    timer.start()
    start = time.perf_counter()
    work()
    spent = time.perf_counter() - start
    timer.stop()
    return spent, 1000 * longest


def main() -> None:
    session = Session()
    model, layer = session.dock._model, session.layer
    print("stroke                         a move, median   worst   letting go    undo    redo   (ms)")
    layer.mode, layer.brush_size = "paint", 25
    moves, last = session.stroke()
    print(f"{'napari, 20 mm in 2D':<30} {np.median(moves):14.0f} {max(moves):7.0f} {last:12.0f}", end="")
    print(f" {timed(layer.undo):7.0f} {timed(layer.redo):7.0f}")
    layer.undo()
    layer.mode = "pan_zoom"
    for name, values in STROKES:
        spec = tool(name)
        model.set_values(spec, values)
        model.take(spec.id)
        pump(0.2)
        moves, last = session.stroke()
        session.settle()
        title = f"{spec.title}, {2 * values['radius_mm']:g} mm"
        print(f"{title:<30} {np.median(moves):14.0f} {max(moves):7.0f} {last:12.0f}", end="")
        print(f" {timed(layer.undo):7.0f} {timed(layer.redo):7.0f}")
        layer.undo()
        pump(0.2)
    print("\nclick                           ms until it is seen")
    layer.selected_label = LIVER
    for name in CLICKS:
        spec = tool(name)
        model.take(spec.id)
        pump(0.2)
        before = session.dock.notice.text()
        start = time.perf_counter()
        at = session.point(240, 150)
        session.mouse(QEvent.Type.MouseButtonPress, at)
        session.mouse(QEvent.Type.MouseButtonRelease, at)
        while model.job is not None or session.dock.notice.text() == before:
            QApplication.processEvents()
            if time.perf_counter() - start > 20:
                break
        print(f"{spec.title:<30} {1000 * (time.perf_counter() - start):7.0f}   {session.dock.notice.text()[:60]}")
        if len(layer._undo_history):
            layer.undo()
        pump(0.3)
    print("\nlong tool, on the liver           s   longest wait, ms    undo, ms")
    layer.selected_label = LIVER
    for name in LONG:
        spec = tool(name)

        def work(name: str = name) -> None:
            model.apply(name)
            session.settle()

        spent, wait = longest_wait(work)
        undone = timed(layer.undo) if len(layer._undo_history) else float("nan")
        print(f"{spec.title:<30} {spent - 0.3:7.2f} {wait:12.0f} {undone:14.0f}   {session.dock.notice.text()[:60]}")
        pump(0.3)
    session.viewer.close()


if __name__ == "__main__":
    main()
