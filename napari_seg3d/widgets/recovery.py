"""What a viewer that died has left, offered mask by mask: recovered, discarded, or left for another time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Labels, Layer
from qtpy.QtCore import Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_seg3d.editing.journal import Recovered
from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.recovery import Loaded, load, pending_recoveries, recover_into
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.parts import Notice

if TYPE_CHECKING:
    from napari import Viewer

_MOST = 5


class RecoveryPanel(QWidget):
    """Hidden while there is nothing to recover.

    Parameters
    ----------
    viewer : napari.Viewer
        Where masks come back.
    """

    #: Something is to be said: a text, and "info", "warning" or "error".
    said = Signal(str, str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        session = session_of(viewer)
        self._review, self._stage = session.review, session.stage
        self.job: Job | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 4)
        column.setSpacing(3)
        self._heading = Notice()
        column.addWidget(self._heading)
        self._rows = QVBoxLayout()
        self._rows.setSpacing(3)
        column.addLayout(self._rows)
        self.recover_buttons: list[QPushButton] = []
        self.discard_buttons: list[QPushButton] = []
        self.look()

    def showEvent(self, event: QShowEvent) -> None:
        """Look again: masks may have been removed meanwhile, or another window may have recovered some."""
        super().showEvent(event)
        self.look()

    def look(self) -> None:
        """Look what there is to recover."""
        while self._rows.count():
            item = self._rows.takeAt(0).widget()
            item.setParent(None)
            item.deleteLater()
        self.recover_buttons, self.discard_buttons = [], []
        pending = pending_recoveries()
        for one in pending[:_MOST]:
            self._rows.addWidget(self._row(one))
        more = f" The {_MOST} latest are shown." if len(pending) > _MOST else ""
        masks = "a mask has" if len(pending) == 1 else f"{len(pending)} masks have"
        self._heading.say(f"napari ended before {masks} been saved.{more}", "warning")
        self.setVisible(bool(pending))

    def _row(self, one: Recovered) -> QWidget:
        widget = QWidget()
        row = QHBoxLayout(widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        edits = "1 edit" if one.edits == 1 else f"{one.edits} edits"
        text = QLabel(f"{one.about.name}\n{one.last:%d %b %Y, %H:%M}, {edits}")
        text.setWordWrap(True)
        text.setToolTip(f"<p>Scan: {one.about.scan or 'of no file'}</p>")
        row.addWidget(text, 1)
        for title, tooltip, action, buttons in (
            ("Recover", "Show the mask with all its edits over its scan; save it then.", self._recover, self.recover_buttons),
            ("Discard", "Throw these edits away for good.", self._ask_to_discard, self.discard_buttons),
        ):
            button = QPushButton(title)
            button.setToolTip(f"<p>{tooltip}</p>")
            button.clicked.connect(partial(action, one))
            row.addWidget(button)
            buttons.append(button)
        return widget

    def _recover(self, one: Recovered, _on: bool = False) -> None:
        if self.job is not None:
            return
        self.said.emit(f"Reading {one.about.name}…", "info")

        def returned(loaded: Loaded) -> None:
            before = list(self._viewer.layers)
            try:
                layer = recover_into(self._viewer, one, loaded)
            except Seg3dError as error:
                self.said.emit(str(error), "error")
                return
            worklist = self._review.worklist
            case = worklist.case_with(Path(one.about.source)) if worklist is not None and one.about.source else None
            if case is not None:
                self._keep_in_review(case, layer, [new for new in self._viewer.layers if new not in before])
                return
            note = f" {loaded.note}" if loaded.note else ""
            self.said.emit(f"{layer.name} is back with all its edits. Save it.{note}", "warning" if note else "info")

        def ended() -> None:
            self.job = None
            self._look_everywhere()

        self.job = start_job(
            lambda _job: load(one), returned=returned, failed=lambda error: self.said.emit(str(error), "error"), ended=ended
        )

    def _keep_in_review(self, case: str, layer: Labels, layers: list[Layer]) -> None:
        """The mask belongs to a case of the worklist: there it is kept, and shown."""
        name = layer.name

        def kept() -> None:
            self._stage.remove_all(layers)
            self._review.show(case)
            self.said.emit(f"{name} is back with all its edits, and kept in the review.", "info")

        self._review.keep(case, layer, kept, lambda error: self.said.emit(str(error), "error"))

    def _ask_to_discard(self, one: Recovered, _on: bool = False) -> None:
        answer = QMessageBox.question(
            self, "Discard edits", f"Throw the edits of {one.about.name} away? They cannot be brought back."
        )
        if answer == QMessageBox.StandardButton.Yes:
            self.discard(one)

    def discard(self, one: Recovered) -> None:
        """Throw a mask away that nobody wants."""
        if one.take():
            one.discard()
        self._look_everywhere()

    def _look_everywhere(self) -> None:
        """Several docks offer the same masks."""
        for panel in self.window().findChildren(RecoveryPanel):
            panel.look()
