"""The Correct dock on a low screen: what a tool did, and the way back, are seen without scrolling."""

import numpy as np

from napari_seg3d.editing.tools import TOOLS
from tests.pumping import pump, pump_until


def test_what_happened_is_always_seen(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1024, 560)
    dock = viewer.window.add_plugin_dock_widget("napari-seg3d", "Correct")[1]
    mask = np.zeros((6, 20, 20), np.uint8)
    mask[2:4, 5:15, 5:15] = 1
    viewer.add_labels(mask, name="mask").selected_label = 1
    pump(0.3)
    for spec in TOOLS:
        dock.palette_.buttons[spec.id].click()
        pump(0.05)
        assert dock.notice.text()
        for widget in (dock.notice, dock.undo_button, dock.versions_button):
            assert widget.visibleRegion().boundingRect().height() == widget.height(), spec.id
    dock.palette_.buttons["margin"].click()
    dock.apply_button.click()
    pump_until(lambda: dock._model.job is None and "changed" in dock.notice.text(), what="the tool")
    pump(0.1)
    assert dock.notice.visibleRegion().boundingRect().height() == dock.notice.height()
    assert dock.widget().height() > dock.viewport().height(), "on so low a screen the tools scroll"
