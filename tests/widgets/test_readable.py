"""Colours that mean something can be read in both themes of napari."""

import pytest
from napari.qt import get_stylesheet
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_seg3d.widgets.case_table import COLOURS
from napari_seg3d.widgets.learn import _BETTER, _WORSE
from napari_seg3d.widgets.parts import Notice, readable
from napari_seg3d.widgets.review_table import LOOK

_LEAST = 3.0  # contrast of WCAG 2 for large text and for signs


def light(colour: QColor) -> float:
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: QColor, other: QColor) -> float:
    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def panel(qtbot) -> tuple[QWidget, Notice]:
    panel = QWidget()
    qtbot.addWidget(panel)
    notice = Notice()
    QVBoxLayout(panel).addWidget(notice)
    panel.show()
    return panel, notice


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("kind", ["error", "warning", "info"])
def test_a_notice_can_be_read_and_follows_the_theme(panel, theme, kind):
    widget, notice = panel
    notice.say("The mask is locked.", kind)
    widget.setStyleSheet(get_stylesheet(theme))
    text = notice.palette().color(QPalette.ColorRole.WindowText)
    assert contrast(text, widget.palette().color(QPalette.ColorRole.Window)) >= _LEAST


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_states_and_signs_can_be_read(panel, theme):
    widget, _ = panel
    widget.setStyleSheet(get_stylesheet(theme))
    for colour in (*COLOURS.values(), *(colour for colour, _ in LOOK.values()), _BETTER, _WORSE):
        background = widget.palette().color(QPalette.ColorRole.Window)
        assert contrast(QColor(readable(colour, widget)), background) >= _LEAST, colour
