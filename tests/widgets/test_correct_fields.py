"""The parameters of a tool as fields: what they are called is true, and what they show can be read."""

from __future__ import annotations

import pytest
from napari.qt import get_stylesheet
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import QAbstractSpinBox, QLabel, QPushButton

from napari_seg3d.editing.tools import TOOLS, tool
from napari_seg3d.viewer.label_look import LabelStyle
from napari_seg3d.widgets.correct_fields import SeveralLabels, ToolFields
from napari_seg3d.widgets.parts import DOCK_WIDTH

STYLES = {1: LabelStyle("liver", "#e69f00"), 2: LabelStyle("kidneys", "#3fa7e0")}


@pytest.fixture
def fields(qtbot) -> ToolFields:
    fields = ToolFields()
    qtbot.addWidget(fields)
    fields.setStyleSheet(get_stylesheet("dark"))  # of napari, whose fields are wider than those of Qt
    fields.resize(DOCK_WIDTH - 30, 300)  # margins, and a scroll bar
    return fields


def show(fields: ToolFields, name: str, **values: object) -> None:
    spec = tool(name)
    fields.show_tool(spec, spec.defaults() | values, STYLES)
    fields.show()


def names(fields: ToolFields) -> list[str]:
    return [label.text() for label in fields.findChildren(QLabel) if label.isVisible()]


def test_both_ends_of_a_range_can_be_read(fields, qtbot):
    show(fields, "threshold_brush", intensities=[-1024.5, 3071.5])
    qtbot.waitExposed(fields)
    for number in fields.fields["intensities"].numbers:
        box: QAbstractSpinBox = number.control.native
        text = box.lineEdit().text()
        assert box.lineEdit().width() >= QFontMetrics(box.font()).horizontalAdvance(text), text


@pytest.mark.parametrize("spec", [spec for spec in TOOLS if "in_slice" in spec.defaults()], ids=lambda spec: spec.id)
def test_tools_of_whole_labels_do_not_say_that_they_change_one_slice(fields, spec):
    show(fields, spec.id)
    wanted = "Slice by slice" if spec.gesture == "label" else "In this slice only"
    assert wanted in names(fields)


@pytest.mark.parametrize("spec", TOOLS, ids=lambda spec: spec.id)
def test_each_parameter_has_a_name_for_people_and_a_word_of_help(fields, spec):
    show(fields, spec.id)
    shown = [label for label in fields.findChildren(QLabel) if label.isVisible()]
    assert len([label for label in shown if label.text()[:1].isupper() and label.toolTip()]) == len(spec.parameters)


def test_labels_are_chosen_with_what_looks_like_a_button(fields):
    show(fields, "merge")
    field = fields.fields["labels"]
    assert isinstance(field, SeveralLabels)
    assert isinstance(field.control, QPushButton)
    assert field.control.menu() is not None
