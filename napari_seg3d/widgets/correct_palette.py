"""The tools as compact buttons by family, and the sheet of keys; both are made from `TOOLS`."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_seg3d.editing.tool_spec import FAMILIES
from napari_seg3d.editing.tools import TOOLS
from napari_seg3d.viewer.correct_keys import OF_NAPARI, STEPS, readable

_COLUMNS = 3
# Titles that a third of the dock has no room for; the whole one stands in the tooltip.
_SHORT = {
    "threshold_brush": "Threshold",
    "adaptive_brush": "Adaptive",
    "replace_brush": "Replace",
    "erase_brush": "Erase",
    "grow_region": "Grow",
    "trace_level": "Trace edge",
    "nodule": "Nodule",
    "copy_to_next": "Copy next",
    "copy_to_previous": "Copy prev.",
    "fill_between": "Fill between",
    "grow_from_seeds": "Grow strokes",
    "smooth_jointly": "Smooth all",
    "margin": "Grow, shrink",
    "keep_largest": "Keep largest",
    "drop_small": "Drop small",
    "keep_island": "Keep piece",
    "split_islands": "Label pieces",
    "split_by_seeds": "Split clicks",
    "cut": "In, outside",
}
_HEADINGS = {"strokes": "Strokes"}
_STYLE = "QPushButton { padding: 3px 1px; margin: 0; } QPushButton:checked { background-color: #2f6fb3; color: white; }"


class ToolPalette(QWidget):
    """A button for each tool; the one in the hand is pressed in."""

    #: The id of a tool that was pressed.
    pressed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(3)
        grid.setVerticalSpacing(2)
        self.buttons: dict[str, QPushButton] = {}
        row = 0
        for family, heading in FAMILIES.items():
            title = QLabel(_HEADINGS.get(family, heading))
            title.setStyleSheet("color: gray;")
            grid.addWidget(title, row, 0)
            specs = [spec for spec in TOOLS if spec.family == family]
            for place, spec in enumerate(specs):
                button = QPushButton(_SHORT.get(spec.id, spec.title))
                button.setCheckable(True)
                button.setStyleSheet(_STYLE)
                button.setMinimumWidth(1)
                # The keys go on to the scan.
                button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
                button.setToolTip(f"<p><b>{spec.title}</b> ({readable(spec.key)})</p><p>{spec.tooltip}</p><p>{spec.use}</p>")
                button.clicked.connect(lambda _on, name=spec.id: self.pressed.emit(name))
                grid.addWidget(button, row + place // _COLUMNS, 1 + place % _COLUMNS)
                self.buttons[spec.id] = button
            row += -(-len(specs) // _COLUMNS)
        for column in range(_COLUMNS):
            grid.setColumnStretch(1 + column, 1)

    def show_tool(self, name: str | None, is_enabled: bool) -> None:
        """Show which tool is in the hand."""
        for one, button in self.buttons.items():
            button.setChecked(one == name)
            button.setEnabled(is_enabled)


class KeySheet(QDialog):
    """All keys: of the tools, of the way through the scan, and those of napari that go on working.

    Parameters
    ----------
    parent : QWidget
        The dock.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of the Correct dock")
        column = QVBoxLayout(self)
        column.addWidget(QLabel("They work while a mask is selected and the mouse was last in the scan."))
        tools = {
            heading: {readable(spec.key): spec.title for spec in TOOLS if spec.family == family}
            for family, heading in FAMILIES.items()
        }
        half = len(tools) // 2 + 1
        row = QHBoxLayout()
        row.setSpacing(24)
        for part in (
            dict(list(tools.items())[:half]),
            dict(list(tools.items())[half:]),
            {"From place to place": {readable(key): what for key, what in STEPS.items()}},
            {"Of napari": dict(OF_NAPARI)},
        ):
            row.addWidget(_sheet(part), 1, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)


def _sheet(groups: Mapping[str, Mapping[str, str]]) -> QWidget:
    """Return keys below headings."""
    widget = QWidget()
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setVerticalSpacing(3)
    grid.setHorizontalSpacing(10)
    grid.setColumnStretch(1, 1)
    row = 0
    for heading, keys in groups.items():
        title = QLabel(f"<b>{heading}</b>")
        title.setStyleSheet("margin-top: 6px;")
        grid.addWidget(title, row, 0, 1, 2)
        for place, (key, what) in enumerate(keys.items(), start=row + 1):
            text = QLabel(what)
            text.setWordWrap(True)
            text.setMinimumWidth(150)
            grid.addWidget(QLabel(key), place, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(text, place, 1, Qt.AlignmentFlag.AlignTop)
        row += 1 + len(keys)
    return widget
