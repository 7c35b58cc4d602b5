"""The key to the curves of labels: colour, name and value of each, however many they are."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from napari_seg3d.widgets.label_icons import swatch

_MOST_ROWS = 6  # at once; the others are scrolled to


class LabelKey(QWidget):
    """Lists labels; a tick hides a curve, a click stresses it.

    Attributes
    ----------
    hidden : set of str
        Labels without a tick.
    stressed : str or None
        The label that was clicked.
    """

    #: What is hidden or stressed is another.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.hidden: set[str] = set()
        self.stressed: str | None = None
        self._items: dict[str, QTreeWidgetItem] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._tree = QTreeWidget()
        self._tree.setToolTip("<p>The labels and their values. Untick a label to hide its curve, click it to stress it.</p>")
        self._tree.setColumnCount(2)
        self._tree.setHeaderHidden(True)
        self._tree.setRootIsDecorated(False)
        self._tree.setUniformRowHeights(True)
        self._tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._tree.header().setStretchLastSection(False)
        self._tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._tree.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self._tree.itemChanged.connect(self._note_ticks)
        self._tree.itemClicked.connect(self._stress)
        layout.addWidget(self._tree)
        self.hide()

    def set_labels(self, labels: Mapping[str, tuple[str, str]]) -> None:
        """List other labels: label -> name to show, and colour."""
        self._tree.blockSignals(True)
        self._tree.clear()
        self._items = {}
        self.hidden &= set(labels)
        self.stressed = self.stressed if self.stressed in labels else None
        for label, (name, colour) in labels.items():
            item = self._items[label] = QTreeWidgetItem([name, ""])
            item.setIcon(0, swatch(colour, True))
            item.setToolTip(0, name)
            item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            item.setCheckState(0, Qt.CheckState.Unchecked if label in self.hidden else Qt.CheckState.Checked)
            self._tree.addTopLevelItem(item)
        self._tree.blockSignals(False)
        row = self._tree.sizeHintForRow(0) if labels else 0
        self._tree.setFixedHeight(row * min(len(labels), _MOST_ROWS) + 2 * self._tree.frameWidth() + 2)
        self.setVisible(bool(labels))

    def set_values(self, values: Mapping[str, str]) -> None:
        """Show a value for each label."""
        self._tree.blockSignals(True)
        for label, item in self._items.items():
            item.setText(1, values.get(label, ""))
        self._tree.blockSignals(False)

    def value(self, label: str) -> str:
        """Return the value that is shown for a label."""
        return self._items[label].text(1)

    def set_hidden(self, label: str, is_hidden: bool) -> None:
        """Take the tick of a label away, or set it."""
        self._items[label].setCheckState(0, Qt.CheckState.Unchecked if is_hidden else Qt.CheckState.Checked)

    def _note_ticks(self) -> None:
        self.hidden = {label for label, item in self._items.items() if item.checkState(0) == Qt.CheckState.Unchecked}
        self.changed.emit()

    def _stress(self, clicked: QTreeWidgetItem) -> None:
        label = next(label for label, item in self._items.items() if item is clicked)
        self.stressed = None if self.stressed == label else label
        if self.stressed is None:
            self._tree.clearSelection()
        self.changed.emit()
