"""A list of steps to drag, switch off, duplicate and remove, and the chooser that adds one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qtpy.QtCore import QEvent, QModelIndex, QObject, QPoint, Qt, Signal
from qtpy.QtGui import QKeyEvent, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_seg3d.transforms import Step, TransformInfo, info

_STEP = Qt.ItemDataRole.UserRole
_REMARK = Qt.ItemDataRole.UserRole + 1
_ROW_HEIGHT = 22
_MOST_ROWS = 7
_HEADINGS = {"spatial": "Where things lie", "intensity": "How bright they are", "label": "What the mask says"}


class StepList(QWidget):
    """Steps in their order.

    Parameters
    ----------
    offered : mapping of str to TransformInfo
        What can be added.
    """

    #: A person added, moved, switched, duplicated or removed a step.
    changed = Signal()
    #: Another row is selected; -1 for none.
    selected = Signal(int)

    def __init__(self, offered: Mapping[str, TransformInfo]) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self.rows = QListWidget()
        self.rows.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.rows.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.rows.setItemDelegate(_Remarks(self.rows))
        self.rows.setToolTip("<p>From top to bottom. Drag a step to another place; clear its box to switch it off.</p>")
        self.rows.currentRowChanged.connect(self.selected)
        self.rows.itemChanged.connect(self._take_check)
        self.rows.model().rowsMoved.connect(lambda *_: self.changed.emit())
        column.addWidget(self.rows)
        self._chooser = Chooser(offered, self)
        self._chooser.chosen.connect(self.add)
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        self.add_button = self._button(
            buttons, "Add…", "Choose a transform, which is added behind the selected step.", self._choose
        )
        self.duplicate_button = self._button(buttons, "Duplicate", "Add the selected step once more.", self.duplicate)
        self.remove_button = self._button(buttons, "Remove", "Take the selected step away.", self.remove)
        buttons.addStretch(1)
        self.up_button = self._button(buttons, "▲", "Move the selected step up.", lambda: self.move(-1))
        self.down_button = self._button(buttons, "▼", "Move the selected step down.", lambda: self.move(1))
        column.addLayout(buttons)
        self.rows.currentRowChanged.connect(self._enable)
        self.set_value(())

    def value(self) -> tuple[Step, ...]:
        """Return the steps."""
        return tuple(self.rows.item(row).data(_STEP) for row in range(self.rows.count()))

    def set_value(self, steps: Sequence[Step]) -> None:
        """Show other steps; the same row stays selected, as far as there is one."""
        row = self.rows.currentRow()
        self.rows.blockSignals(True)
        self.rows.clear()
        for step in steps:
            self.rows.addItem(_item(step))
        self.rows.setCurrentRow(min(max(row, 0), len(steps) - 1))
        self.rows.blockSignals(False)
        self._settle()

    def replace(self, row: int, step: Step) -> None:
        """Show another step in a row, without a word to anybody."""
        self.rows.blockSignals(True)
        _write(self.rows.item(row), step)
        self.rows.blockSignals(False)

    def remark(self, row: int, text: str) -> None:
        """Write something behind a step, such as the time that it took."""
        if row < self.rows.count():  # the list may have become shorter since
            self.rows.blockSignals(True)
            self.rows.item(row).setData(_REMARK, text)
            self.rows.blockSignals(False)

    def clear_remarks(self) -> None:
        """Write nothing behind any step."""
        for row in range(self.rows.count()):
            self.remark(row, "")

    def add(self, name: str) -> None:
        """Add a transform with its defaults behind the selected step."""
        self._insert(Step(name))

    def duplicate(self) -> None:
        """Add the selected step once more."""
        if self.rows.currentItem() is not None:
            self._insert(self.rows.currentItem().data(_STEP))

    def remove(self) -> None:
        """Take the selected step away."""
        row = self.rows.currentRow()
        if row >= 0:
            self.rows.takeItem(row)
            self._settle()
            self.changed.emit()

    def move(self, by: int) -> None:
        """Move the selected step up (-1) or down (1)."""
        row = self.rows.currentRow()
        if row >= 0 and 0 <= row + by < self.rows.count():
            self.rows.blockSignals(True)
            self.rows.insertItem(row + by, self.rows.takeItem(row))
            self.rows.setCurrentRow(row + by)
            self.rows.blockSignals(False)
            self.changed.emit()
            self._settle()

    def _insert(self, step: Step) -> None:
        row = self.rows.currentRow() + 1 if self.rows.count() else 0
        self.rows.blockSignals(True)
        self.rows.insertItem(row, _item(step))
        self.rows.setCurrentRow(row)
        self.rows.blockSignals(False)
        self.changed.emit()
        self._settle()

    def _choose(self) -> None:
        self._chooser.open_at(self.add_button)

    def _take_check(self, item: QListWidgetItem) -> None:
        step: Step = item.data(_STEP)
        is_on = item.checkState() == Qt.CheckState.Checked
        if step.enabled != is_on:
            self.rows.blockSignals(True)
            _write(item, replace(step, enabled=is_on))
            self.rows.blockSignals(False)
            self.changed.emit()

    def _settle(self) -> None:
        rows = min(max(self.rows.count(), 3), _MOST_ROWS)
        self.rows.setFixedHeight(rows * _ROW_HEIGHT + 6)
        self._enable()
        self.selected.emit(self.rows.currentRow())

    def _enable(self, _row: int = 0) -> None:
        row, last = self.rows.currentRow(), self.rows.count() - 1
        self.duplicate_button.setEnabled(row >= 0)
        self.remove_button.setEnabled(row >= 0)
        self.up_button.setEnabled(row > 0)
        self.down_button.setEnabled(0 <= row < last)

    @staticmethod
    def _button(layout: QHBoxLayout, text: str, tooltip: str, action: object) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setToolTip(f"<p>{tooltip}</p>")
        button.clicked.connect(lambda _checked: action())  # type: ignore[operator]
        layout.addWidget(button)
        return button


class Chooser(QFrame):
    """Transforms to choose from, in groups, found by typing a part of their name or of what they do."""

    #: The name of the chosen transform.
    chosen = Signal(str)

    def __init__(self, offered: Mapping[str, TransformInfo], parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search: noise, rotate, spacing…")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.search.installEventFilter(self)
        self.tree = QTreeWidget()
        self.tree.setHeaderHidden(True)
        self.tree.setColumnCount(1)
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(12)
        self.tree.itemClicked.connect(self._choose)
        self.tree.itemActivated.connect(self._choose)
        column.addWidget(self.search)
        column.addWidget(self.tree)
        self.resize(330, 380)
        for kind, heading in _HEADINGS.items():
            group = QTreeWidgetItem([heading])
            group.setFlags(Qt.ItemFlag.ItemIsEnabled)
            self.tree.addTopLevelItem(group)
            for name, about in sorted(offered.items()):
                if about.kind == kind:
                    item = QTreeWidgetItem([name])
                    item.setToolTip(0, f"<p>{about.summary}</p>")
                    item.setData(0, _STEP, f"{name} {about.summary}".lower())
                    group.addChild(item)
            group.setHidden(group.childCount() == 0)
        self.tree.expandAll()

    def open_at(self, button: QWidget) -> None:
        """Open below a button, with all transforms."""
        self.search.clear()
        place = button.mapToGlobal(QPoint(0, button.height()))
        screen = button.screen().availableGeometry()
        self.move(
            max(screen.left(), min(place.x(), screen.right() - self.width())),
            max(screen.top(), min(place.y(), screen.bottom() - self.height())),
        )
        self.show()
        self.search.setFocus()

    def names(self) -> list[str]:
        """Return the transforms that match what is typed."""
        return [item.text(0) for item in self._items() if not item.isHidden()]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Let Enter take the first that matches, and Down go to the list."""
        if watched is self.search and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            shown = [item for item in self._items() if not item.isHidden()]
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and shown:
                self._choose(shown[0])
                return True
            if event.key() == Qt.Key.Key_Down and shown:
                self.tree.setCurrentItem(shown[0])
                self.tree.setFocus()
                return True
        return super().eventFilter(watched, event)

    def _items(self) -> list[QTreeWidgetItem]:
        groups = [self.tree.topLevelItem(at) for at in range(self.tree.topLevelItemCount())]
        return [group.child(at) for group in groups for at in range(group.childCount())]

    def _filter(self, text: str) -> None:
        words = text.lower().split()
        for item in self._items():
            item.setHidden(not all(word in item.data(0, _STEP) for word in words))
        for at in range(self.tree.topLevelItemCount()):
            group = self.tree.topLevelItem(at)
            group.setHidden(all(group.child(row).isHidden() for row in range(group.childCount())))

    def _choose(self, item: QTreeWidgetItem, _column: int = 0) -> None:
        if item.parent() is not None:
            self.hide()
            self.chosen.emit(item.text(0))


class _Remarks(QStyledItemDelegate):
    """Draws the remark of a row at its right end."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().paint(painter, option, index)
        text = index.data(_REMARK)
        if text:
            painter.save()
            painter.setPen(option.palette.placeholderText().color())
            painter.drawText(
                option.rect.adjusted(0, 0, -6, 0), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, str(text)
            )
            painter.restore()


def _item(step: Step) -> QListWidgetItem:
    item = QListWidgetItem()
    # Nothing can be dropped onto a step, only between two.
    item.setFlags(
        Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDragEnabled | Qt.ItemFlag.ItemIsUserCheckable
    )
    _write(item, step)
    return item


def _write(item: QListWidgetItem, step: Step) -> None:
    about = info(step.name)
    share = f"  ({step.probability:.0%})" if step.probability < 1 else ""
    item.setText(step.name + share)
    item.setData(_STEP, step)
    item.setCheckState(Qt.CheckState.Checked if step.enabled else Qt.CheckState.Unchecked)
    item.setToolTip(f"<p><b>{step.name}</b>: {about.summary}</p>")
