"""What the doctor has found, worst first, each with the button that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_seg3d.datasets import Finding, Group, Problem, grouped
from napari_seg3d.widgets.case_table import COLOURS, SIGNS
from napari_seg3d.widgets.parts import Folded

_MOST_GROUPS = 60
_TIPS = {
    "resample_mask": "Writes a copy of the mask on the grid of its image beside dataset.yaml, and takes that; the file of the mask stays.",
    "round_labels": "Writes a copy of the mask with whole numbers beside dataset.yaml, and takes that; the file of the mask stays.",
    "drop_case": "Leaves the case out of check and training; it can be taken back in the table.",
    "merge_labels": "Counts one label as the other whenever a mask is read; the files stay.",
    "same_subject": "Notes that these cases show one person, so that they never train and validate at once.",
}


class FindingsList(Folded):
    """Lists findings.

    Attributes
    ----------
    mended : Signal
        (findings) Their remedies shall be applied.
    pointed : Signal
        (id of a case) Somebody wants to look at it.
    """

    mended = Signal(list)
    pointed = Signal(str)

    def __init__(self) -> None:
        super().__init__(
            "Problems",
            "What was found in the files, each with what to do about it. Nothing in the files is changed by a button here.",
        )
        self._list: QWidget | None = None
        self._shown: tuple[Problem, ...] = ()
        self._editable: bool | None = None

    @property
    def buttons(self) -> list[QPushButton]:
        """The buttons that mend something, from top to bottom."""
        return self._list.findChildren(QPushButton) if self._list is not None else []

    @property
    def words(self) -> str:
        """All that is said, as plain text."""
        labels = self._list.findChildren(QLabel) if self._list is not None else []
        return "\n".join(label.accessibleName() for label in labels)

    def show_findings(self, found: Sequence[Problem], editable: bool) -> None:
        """Show findings; those with a remedy get a button, which works while `editable`."""
        if tuple(found) == self._shown and editable == self._editable:
            return
        self._shown, self._editable = tuple(found), editable
        errors = sum(one.severity == "error" for one in found)
        warnings = sum(one.severity == "warning" for one in found)
        notes = len(found) - errors - warnings
        self.setText(f"Problems: {errors} errors, {warnings} warnings" + (f", {notes} notes" if notes else ""))
        self.setVisible(bool(found))
        if self._list is not None:
            self._list.hide()
            self._list.deleteLater()
        self._list = QWidget()
        column = QVBoxLayout(self._list)
        column.setContentsMargins(0, 0, 0, 0)
        groups = grouped([Finding.of(one) for one in found])
        for group in groups[:_MOST_GROUPS]:
            self._add(column, group, editable)
        if len(groups) > _MOST_GROUPS:
            column.addWidget(QLabel(f"… and {len(groups) - _MOST_GROUPS} more: save the report to see all."))
        self.rows.addWidget(self._list)

    def _add(self, column: QVBoxLayout, group: Group, editable: bool) -> None:
        first = group.first
        label = QLabel(
            f'<span style="color:{COLOURS[first.severity]}">{SIGNS[first.severity]}</span> {_escape(group.what)} '
            f"<i>{_escape(first.fix)}</i>" + (f' <a href="#{escape(first.case)}">Show</a>' if first.case else "")
        )
        label.setAccessibleName(f"{group.what} {first.fix}")
        label.setWordWrap(True)
        label.setTextFormat(Qt.TextFormat.RichText)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        label.linkActivated.connect(lambda _link: self.pointed.emit(first.case))
        column.addWidget(label)
        remedies = [finding for finding in group.findings if finding.remedy is not None]
        if remedies and remedies[0].remedy is not None:
            kind = remedies[0].remedy.kind
            alike = {finding.remedy.title for finding in remedies if finding.remedy is not None}
            title = remedies[0].remedy.title if len(alike) == 1 else "Mend all of them"
            button = QPushButton(title + (f" ({len(remedies)})" if len(remedies) > 1 else ""))
            button.setToolTip(f"<p>{_TIPS[kind]}</p>")
            button.setEnabled(editable)
            button.clicked.connect(lambda: self.mended.emit(remedies))
            column.addWidget(button)


def _escape(text: str) -> str:
    # Places to break long names and paths at.
    return escape(text).replace("/", "/\u200b").replace("_", "_\u200b")
