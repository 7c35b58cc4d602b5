"""A reviewer at a viewer: opens docks and data, and goes through a worklist by keys and mouse alone.

``python -m tests.reviewer FOLDER CASE FILE`` is a viewer in which somebody opens a case, begins a stroke and does not let go: it writes the
mask as it is then to FILE, says so, and waits to be killed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from napari.layers import Labels
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_seg3d.editing.tools import tool
from napari_seg3d.viewer.autosave import journal_of
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.correct import CorrectDock
from napari_seg3d.widgets.data import DataDock
from napari_seg3d.widgets.review import KEYS, ReviewDock
from tests.hands import canvas_of, double_click, drag, mouse, pixel, press_key
from tests.pumping import pump, pump_until

#: What is done to one case after the other.
WORK = ("brush", "erase", "fill", "margin", "polygon", "freehand", "napari brush")


class Reviewer:
    """Works in one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Shown on a screen.
    folder : Path
        The data set.
    """

    def __init__(self, viewer, folder: Path) -> None:
        self.viewer = viewer
        window = viewer.window._qt_window
        window.resize(1366, 768)
        window.activateWindow()
        assert QTest.qWaitForWindowActive(window), "keys go to the window that is active"
        self.data: DataDock = self._dock("Data")
        self.correct: CorrectDock = self._dock("Correct")
        self.review: ReviewDock = self._dock("Review")
        self.model = session_of(viewer).review
        self.data.open(folder)
        pump_until(lambda: session_of(viewer).data.job is None, what="the data set")
        QTest.mouseClick(self.review.open_button, Qt.MouseButton.LeftButton)
        pump_until(lambda: self.model.worklist is not None, what="the worklist")
        self.settle()

    # -- keys ----------------------------------------------------------------------------------------------------------------------

    def key(self, key: str) -> None:
        """Press a key where the focus is."""
        press_key(QApplication.focusWidget() or self.viewer.window._qt_window, key)

    def say(self, name: str) -> None:
        """Press a key of the Review dock, and wait for what it does."""
        self.key(KEYS[name].replace("Ctrl", "Control").replace("+", "-"))
        self.settle()

    def comment(self, text: str) -> None:
        """Write a comment, letter by letter."""
        self.say("comment")
        QTest.keyClicks(QApplication.focusWidget(), text)

    def click_row(self, case: str) -> None:
        """Open a case by a click on its row, which leaves the focus in the table."""
        table = self.review.table
        row = next(row for row, entry in enumerate(table.model.entries) if entry.case.id == case)
        index = table.model.index(row, 1)
        table.view.scrollTo(index)
        QTest.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=table.view.visualRect(index).center())
        table.view.setFocus()
        self.settle()

    def close(self) -> None:
        """Close the window as a click on its cross does, and all that napari keeps of it."""
        QApplication.sendEvent(self.viewer.window._qt_window, QCloseEvent())
        self.viewer.close()

    def settle(self) -> None:
        """Wait until nothing goes on."""
        model, correct = self.model, session_of(self.viewer).correct
        pump_until(
            lambda: (
                model.job is None
                and not model.is_opening
                and model.comparison.job is None
                and model._journal.is_idle
                and correct.job is None
            ),
            what="the work in the background",
        )
        pump(0.05)

    @property
    def view(self) -> QtViewer:
        """The first view."""
        return canvas_of(self.viewer)

    # -- the mask ------------------------------------------------------------------------------------------------------------------

    @property
    def mask(self) -> Labels:
        """That of the case."""
        (mask,) = self.model._stage.masks
        return mask

    def places(self, *offsets: Sequence[float]) -> list[QPoint]:
        """Return pixels of the canvas, from voxels (y, x) around the middle of the slice that is shown."""
        at = self.mask.world_to_data(self.viewer.dims.point)
        voxels = [(round(at[0]), self.mask.data.shape[1] // 2 + y, self.mask.data.shape[2] // 2 + x) for y, x in offsets]
        return [pixel(self.viewer, self.view, self.mask.data_to_world(voxel)) for voxel in voxels]

    def edit(self, what: str) -> tuple[str, ...]:
        """Correct the mask in one of the ways of `WORK`, and return the names of the tools that count."""
        self.mask.selected_label = 1
        if what == "brush":
            self.key(tool("brush").key)
            drag(self.view, self.places((-8, -10), (-8, 0)))
            drag(self.view, self.places((8, -10), (8, 0)))
            self.key("Control-Z")
            used = ("brush",)
        elif what == "erase":
            self.key(tool("erase_brush").key)
            drag(self.view, self.places((0, -6), (0, 6)))
            used = ("erase_brush",)
        elif what == "fill":
            self.mask.selected_label = 2
            self.key(tool("flood_fill").key)
            drag(self.view, self.places((-18, -12)))
            used = ("flood_fill",)
        elif what == "margin":
            self.key(tool("margin").key)
            self.key("Enter")
            self.settle()
            used = ("margin",)
        elif what == "polygon":
            self.key(tool("polygon").key)
            *corners, last = self.places((-9, -9), (-9, 3), (3, 3), (3, -9))
            for corner in corners:
                drag(self.view, [corner])
            double_click(self.view, last)
            used = ("polygon",)
        elif what == "freehand":
            self.key(tool("polygon").key)
            around = np.linspace(0, 2 * np.pi, 24)
            drag(self.view, self.places(*zip(9 * np.sin(around), 9 * np.cos(around), strict=True)))
            used = ("polygon",)
        else:
            self.key("2")
            drag(self.view, self.places((-5, -5), (-5, 5)))
            self.key("6")
            used = ("napari brush",)
        self.settle()
        self.key("Escape")
        return used

    def _dock(self, title: str) -> QWidget:
        dock = self.viewer.window.add_plugin_dock_widget("napari-seg3d", title)[1]
        pump(0.1)
        return dock


def main(folder: Path, case: str, file: Path) -> None:
    """Begin a stroke and wait for the end."""
    import napari

    reviewer = Reviewer(napari.Viewer(), folder)
    reviewer.click_row(case)
    reviewer.key(tool("brush").key)
    places = reviewer.places(*((at, at) for at in range(-9, 9, 2)))
    mouse(reviewer.view, QEvent.Type.MouseButtonPress, places[0])
    for place in places[1:]:
        mouse(reviewer.view, QEvent.Type.MouseMove, place)
    assert journal_of(reviewer.mask).flush(wait=30)
    np.save(file, reviewer.mask.data)
    print("in the middle of a stroke", flush=True)
    while True:
        pump(1.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
