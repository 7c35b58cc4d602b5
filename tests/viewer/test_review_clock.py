"""Time counts while somebody looks."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QWidget

from napari_seg3d.viewer.review_clock import ReviewClock
from tests.pumping import pump, pump_until


def test_time_counts_while_the_window_is_used(qtbot):
    clock, window = ReviewClock(), QWidget()
    qtbot.addWidget(window)
    window.show()
    window.activateWindow()
    try:
        pump_until(lambda: QApplication.applicationState() == Qt.ApplicationState.ApplicationActive, 5)
    except AssertionError:
        pytest.skip("this display has no window manager that would activate a window")
    assert clock.take() == 0
    pump(0.3)
    assert clock.take() == 0, "no case is open"
    clock.start()
    pump(0.5)
    clock.touch()
    first = clock.take()
    assert 0.3 < first < 5
    assert clock.take() < first
    window.hide()
    pump_until(lambda: QApplication.applicationState() != Qt.ApplicationState.ApplicationActive, 5)
    clock.take()
    pump(0.4)
    assert clock.take() == 0, "another program is used"
    clock.stop()
    assert not clock.is_running
