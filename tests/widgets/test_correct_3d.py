"""The Correct dock while the viewer shows the volume: what draws says that it needs a slice, what works on a whole label works."""

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from tests.pumping import pump, pump_until


def test_in_the_3d_view(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    dock = viewer.window.add_plugin_dock_widget("napari-seg3d", "Correct")[1]
    mask = np.zeros((12, 20, 20), np.uint8)
    mask[2:9, 5:15, 5:15] = 1
    layer = viewer.add_labels(mask.copy(), name="mask")
    layer.selected_label = 1
    viewer.dims.ndisplay = 3
    pump(0.3)
    canvas = viewer.window._qt_viewer.canvas.native
    at, left = QPoint(canvas.width() // 2, canvas.height() // 2), Qt.MouseButton.LeftButton
    for name in ("brush", "polygon", "grow_region", "split_by_seeds"):
        dock.palette_.buttons[name].click()
        for kind, held in ((QEvent.Type.MouseButtonPress, left), (QEvent.Type.MouseButtonRelease, Qt.MouseButton.NoButton)):
            place = QPointF(canvas.mapToGlobal(at))
            event = QMouseEvent(kind, QPointF(at), place, left, held, Qt.KeyboardModifier.NoModifier)
            QApplication.sendEvent(canvas, event)
            pump(0.05)
        assert "slice" in dock.notice.text(), name
        assert "2D" in dock.notice.text(), name
        assert np.array_equal(layer.data, mask)
        assert not dock._model.points
    dock.palette_.buttons["margin"].click()
    dock.apply_button.click()
    pump_until(lambda: dock._model.job is None and "changed" in dock.notice.text(), what="the tool")
    assert (layer.data == 1).sum() > (mask == 1).sum()
