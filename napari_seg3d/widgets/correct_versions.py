"""The versions of a mask in a list, to go back to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_seg3d.editing.tools import TOOLS
from napari_seg3d.editing.versions import Version

_COLUMNS = ("When", "Who", "Made with", "Voxels", "Comment")


class VersionsDialog(QDialog):
    """Lets one version be chosen, the latest at the top.

    Parameters
    ----------
    parent : QWidget
        The dock.
    versions : sequence of Version
        The oldest first.
    names : mapping of int to str
        Of labels.
    """

    def __init__(self, parent: QWidget, versions: Sequence[Version], names: Mapping[int, str]) -> None:
        super().__init__(parent)
        self.setWindowTitle("Versions of this mask")
        self._versions = list(reversed(versions))
        column = QVBoxLayout(self)
        text = QLabel("Going back to one is an edit like any other: Undo takes it back. The files of the versions stay.")
        text.setWordWrap(True)
        column.addWidget(text)
        self.table = QTableWidget(len(self._versions), len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        titles = {spec.id: spec.title for spec in TOOLS}
        for row, one in enumerate(self._versions):
            voxels = ", ".join(f"{names.get(value) or value}: {count}" for value, count in (one.voxels or {}).items())
            made = ", ".join(titles.get(name, name) for name in one.tools)
            for at, cell in enumerate((f"{one.time.astimezone():%d %b %Y, %H:%M:%S}", one.author, made, voxels, one.comment)):
                item = QTableWidgetItem(cell)
                item.setToolTip(cell)
                self.table.setItem(row, at, item)
        self.table.resizeColumnsToContents()
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.doubleClicked.connect(lambda _index: self.accept())
        column.addWidget(self.table, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.back = buttons.addButton("Go back to this one", QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)
        if self._versions:
            self.table.selectRow(0)
        self.back.setEnabled(bool(self._versions))
        self.resize(760, 320)

    def chosen(self) -> Version | None:
        """Return the version that is selected."""
        rows = self.table.selectionModel().selectedRows()
        return self._versions[rows[0].row()] if rows else None
