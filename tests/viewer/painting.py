"""A viewer in which somebody paints until it is killed: ``python painting.py SCAN MASK``; each stroke is told on standard output.

Stroke number n is made of n alone, so that whoever knows how many strokes there are knows each voxel.
"""

import sys
import time
from pathlib import Path

import numpy as np
from napari.layers import Labels


def stroke(layer: Labels, number: int) -> None:
    """Paint one stroke, or undo or redo one."""
    draw = np.random.default_rng(number)
    if number % 9 == 7:
        layer.undo()
        return
    if number % 9 == 8:
        layer.redo()
        return
    layer.brush_size = int(draw.integers(1, 6))
    layer.n_edit_dimensions = int(draw.integers(2, 4))
    place = draw.integers(0, layer.data.shape)
    with layer.block_history():
        for step in range(5):
            layer.paint(np.minimum(place + step * np.array([0, 1, 1]), np.array(layer.data.shape) - 1), int(draw.integers(0, 4)))


def main(scan: Path, mask: Path) -> None:
    """Open both, and paint."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_seg3d.viewer.opening import find
    from napari_seg3d.viewer.session import session_of

    viewer = napari.Viewer()
    session = session_of(viewer)
    session.scans.show(find([scan, mask]))
    layer = viewer.layers[-1]
    count = iter(range(10**9))

    def paint() -> None:
        number = next(count)
        stroke(layer, number)
        print(number, time.monotonic(), flush=True)
        if number % 20 == 0:
            viewer.dims.set_point(0, float(number % 7))

    timer = QTimer()
    timer.timeout.connect(paint)
    timer.start(10)
    print("painting", flush=True)
    napari.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
