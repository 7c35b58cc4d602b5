"""The Review dock: a worklist over a data set, one case after the other by keyboard, each approved, flagged or corrected."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSignalBlocker, Qt
from qtpy.QtGui import QKeySequence, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QShortcut,
    QToolButton,
    QWidget,
)

from napari_seg3d.errors import Seg3dError
from napari_seg3d.review import STATES, Agreement, Entry, State, account
from napari_seg3d.viewer.review_pictures import ReviewPictures
from napari_seg3d.viewer.session import session_of
from napari_seg3d.widgets.learn import LearnSection
from napari_seg3d.widgets.parts import (
    Dock,
    Notice,
    ProgressRow,
    choose_file,
    choose_folder,
    choose_new_file,
    give_keys_to_scan,
    readable,
)
from napari_seg3d.widgets.predict import PredictDock
from napari_seg3d.widgets.recovery import RecoveryPanel
from napari_seg3d.widgets.review_compare import CompareRow
from napari_seg3d.widgets.review_table import LOOK, ReviewTable

if TYPE_CHECKING:
    from napari import Viewer

_MASKS = "Masks (*.nii *.nii.gz *.nrrd *.mha *.mhd *.mat *.png *.dcm *.h5 *.npy *.mgz);;All files (*)"
_FILTERS: tuple[tuple[str, tuple[State, ...]], ...] = (
    ("All cases", STATES),
    ("Not approved", tuple(state for state in STATES if state != "approved")),
    *((f"Only {state}", (state,)) for state in STATES),
)
#: What each key does, in the whole window.
KEYS: dict[str, str] = {
    "next": "PgDown",
    "previous": "PgUp",
    "approve": "Ctrl+Return",
    "flag": "Ctrl+Shift+F",
    "reopen": "Ctrl+Shift+R",
    "comment": "Ctrl+Shift+M",
    "compare": "Ctrl+Shift+D",
    "next difference": "Ctrl+PgDown",
    "previous difference": "Ctrl+PgUp",
}


class ReviewDock(Dock):
    """Shows the worklist of a data set and says what the user says of its cases.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where the cases appear.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Review")
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._model, self._data, self._prediction = session.review, session.data, session.prediction
        self._pictures = ReviewPictures()
        self._pictures.drawn.connect(self._pictures_drawn)

        self.recovery = RecoveryPanel(napari_viewer)
        self.recovery.said.connect(self._model.tell)
        self.body.addWidget(self.recovery)
        self.body.addLayout(self._sources())
        self.body.addLayout(self._filters())
        self.predict_button = QPushButton()
        self.predict_button.setToolTip(
            "<p>Predicts all cases that are to do, with the model of the Predict dock, else the newest one, while you go on. They become "
            "predicted, and Unsure says of each how sure the model is. Masks of the data set stay, and are what predictions are compared "
            "with.</p>"
        )
        self.predict_button.clicked.connect(self._predict_open)
        self.body.addWidget(self.predict_button)
        self.predicting = ProgressRow()
        self.predicting.button.setToolTip("<p>Stop; the cases that are done stay predicted.</p>")
        self.predicting.cancelled.connect(self._model.open_cases.cancel)
        self.body.addWidget(self.predicting)
        self.table = ReviewTable(self._picture_of)
        self.table.chosen.connect(self._model.show)
        self.table.sorted.connect(self._model.set_order)
        self.body.addWidget(self.table, 1)
        self.heading = QLabel()
        self.heading.setTextFormat(Qt.TextFormat.RichText)
        self.heading.setWordWrap(True)
        self.body.addWidget(self.heading)
        self.body.addLayout(self._decisions())
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment")
        self.comment.setMaxLength(2000)
        self.comment.setToolTip(f"<p>What is to be said of this case; Return keeps it. ({KEYS['comment']})</p>")
        self.comment.editingFinished.connect(self._keep_comment)
        self.comment.returnPressed.connect(partial(give_keys_to_scan, self))
        self.body.addWidget(self.comment)
        self.compare = CompareRow(self._model)
        self.body.addWidget(self.compare)
        self.learn = LearnSection(session.learn)
        self.body.addWidget(self.learn)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._model.cancel)
        self.body.addWidget(self.progress)
        self.notice = Notice()
        self.body.addWidget(self.notice)
        self.damage = Notice()
        self.body.addWidget(self.damage)

        self._bind()
        self._model.changed.connect(self._synchronise)
        self._model.progressed.connect(lambda done, total: self.progress.step(self._model.doing, done, total))
        self._model.open_cases.progressed.connect(lambda done, total: self.predicting.step("Predicting", done, total))
        self._model.caseShown.connect(self._case_shown)
        self._data.changed.connect(self._enable)
        self.destroyed.connect(self._pictures.forget)
        self._synchronise()

    def showEvent(self, event: QShowEvent) -> None:
        """Hear when the window closes."""
        super().showEvent(event)
        self.window().installEventFilter(self)  # again and again is once

    def eventFilter(self, whom: QObject, event: QEvent) -> bool:
        """Keep the mask before the window closes, and its layers with it."""
        if event.type() == QEvent.Type.Close and whom is self.window():
            self._keep_comment()
            self._model.keep_at_once()
        return super().eventFilter(whom, event)

    # -- parts ---------------------------------------------------------------------------------------------------------------------

    def _sources(self) -> QGridLayout:
        grid = QGridLayout()
        self.open_button = QPushButton("Review data set")
        self.open_button.setToolTip("<p>Go through the cases of the data set that is open in the Data dock.</p>")
        self.open_button.clicked.connect(self._open_data)
        self.folder_button = QToolButton()
        self.folder_button.setText("…")
        self.folder_button.setToolTip("<p>Review a folder of scans, and choose the masks that were predicted.</p>")
        menu = QMenu(self.folder_button)
        menu.addAction("A folder of scans, or a data set…", self._choose_folder)
        menu.addAction("A folder of scans with a folder of predictions…", self._choose_both)
        self.predictions_action = menu.addAction("Predictions for these cases…", self._choose_predictions)
        menu.addSeparator()
        self.readers_action = menu.addAction("Two readers, blinded…", self._choose_readers)
        self.agreement_action = menu.addAction("How the readers agree", self._model.compare_readers)
        menu.addSeparator()
        self.save_action = menu.addAction("Save the list as a table…", self._save_table)
        self.take_action = menu.addAction("Take changes from a table…", self._take_table)
        self.folder_button.setMenu(menu)
        self.folder_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.folder_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.reviewer = QLineEdit(account())
        self.reviewer.setToolTip(
            "<p>Your name, which is noted with all that you say, in the folder seg3d-review beside the data.</p>"
        )
        self.reviewer.editingFinished.connect(lambda: self._model.set_reviewer(self.reviewer.text()))
        grid.addWidget(self.open_button, 0, 0, 1, 2)
        grid.addWidget(self.folder_button, 0, 2)
        grid.addWidget(QLabel("Reviewer"), 1, 0)
        grid.addWidget(self.reviewer, 1, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        return grid

    def _filters(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.filter = QComboBox()
        for text, states in _FILTERS:
            self.filter.addItem(text, states)
        self.filter.setToolTip("<p>Which cases are listed, and stepped through.</p>")
        self.filter.activated.connect(lambda _index: self._model.set_states(self.filter.currentData()))
        self.counts = QLabel()
        self.counts.setToolTip("<p>Approved, flagged, and all cases.</p>")
        row.addWidget(self.filter, 1)
        row.addWidget(self.counts)
        return row

    def _decisions(self) -> QGridLayout:
        grid = QGridLayout()
        self.previous_button = self._button("◀ Previous", "Open the case before.", "previous", partial(self._model.go, -1))
        self.next_button = self._button(
            "Next ▶", "Open the next case that is not approved; an edited mask is kept first.", "next", partial(self._model.go, 1)
        )
        self.approve_button = self._button(
            "✓ Approve",
            "The mask is right as it is now: keep it, and go on.",
            "approve",
            partial(self._model.say, "approved", True),
        )
        self.flag_button = self._button(
            "⚑ Flag",
            "Somebody should look at this case: keep the mask, and go on.",
            "flag",
            partial(self._model.say, "flagged", True),
        )
        self.reopen_button = self._button("Reopen", "Take back what was said.", "reopen", partial(self._model.say, "in work"))
        self.mask_button = QPushButton("Mask")
        self.mask_button.setToolTip("<p>Give this case another mask; the one that it has stays on the disk.</p>")
        menu = QMenu(self.mask_button)
        menu.addAction("Predict anew", self._predict).setToolTip(
            "With the model that the Predict dock asked last, else the newest one."
        )
        menu.addAction("Take a mask from a file…", self._choose_mask)
        menu.addSeparator()
        menu.addAction("Keep the edits now", self._model.save)
        self.mask_button.setMenu(menu)
        for place, button in enumerate(
            (self.previous_button, self.next_button, self.mask_button, self.approve_button, self.flag_button, self.reopen_button)
        ):
            grid.addWidget(button, place // 3, place % 3)
        return grid

    def _button(self, text: str, tooltip: str, key: str, action: Callable[[], object]) -> QPushButton:
        def pressed(_on: bool = False) -> None:
            self._keep_comment()
            give_keys_to_scan(self)  # neither a key nor the click on this button shall be typed into the next case
            action()

        button = QPushButton(text)
        button.setToolTip(f"<p>{tooltip} ({KEYS[key]})</p>")
        button.clicked.connect(pressed)
        return button

    def _bind(self) -> None:
        actions: dict[str, Callable[[], object]] = {
            "next": self.next_button.click,
            "previous": self.previous_button.click,
            "approve": self.approve_button.click,
            "flag": self.flag_button.click,
            "reopen": self.reopen_button.click,
            "comment": self._edit_comment,
            "compare": self.compare.button.click,
            "next difference": self.compare.next_button.click,
            "previous difference": self.compare.previous_button.click,
        }
        for name, action in actions.items():
            shortcut = QShortcut(QKeySequence(KEYS[name]), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(action)

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def _open_data(self) -> None:
        self._model.open_data(self.reviewer.text())

    def _choose_folder(self) -> None:
        folder = choose_folder(self, "Folder of scans, or data set")
        if folder is not None:
            self._model.open(folder, None, self.reviewer.text())

    def _choose_both(self) -> None:
        folder = choose_folder(self, "Folder of scans")
        predictions = choose_folder(self, "Folder of the predicted masks") if folder is not None else None
        if folder is not None and predictions is not None:
            self._model.open(folder, predictions, self.reviewer.text())

    def _choose_predictions(self) -> None:
        folder = choose_folder(self, "Folder of the predicted masks")
        if folder is not None:
            self._model.use_predictions(folder)

    def _choose_mask(self) -> None:
        file = choose_file(self, "Mask of this case", _MASKS)
        if file is not None:
            self._model.take_mask(file)

    def _choose_readers(self) -> None:
        assert self._model.worklist is not None
        text, is_meant = QInputDialog.getText(
            self,
            "Two readers, blinded",
            "Names of the readers, with a comma between them. None sees what the other says\nof a case, nor the mask, before both are done "
            "with it. Empty: everybody sees everything.",
            text=", ".join(self._model.worklist.readers),
        )
        if is_meant:
            self._model.set_readers(text.split(","))

    def _save_table(self) -> None:
        chosen = choose_new_file(self, "Save the list", "review.csv", ["Table (*.csv)"])
        if chosen is not None:
            self._model.save_table(chosen[0])

    def _take_table(self) -> None:
        file = choose_file(self, "Take changes from a table", "Tables (*.csv)")
        if file is not None:
            self._model.take_table(file)

    def _predict(self) -> None:
        self._ask_the_chosen()
        self._model.predict()

    def _predict_open(self) -> None:
        self._ask_the_chosen()
        self._model.predict_open()

    def _ask_the_chosen(self) -> None:
        """Let the model be asked that is chosen in the Predict dock, where that is open."""
        docks = self.window().findChildren(PredictDock)
        chosen = docks[0].chosen() if docks else None
        if chosen is not None:
            self._prediction.last = (tuple(chosen[0]), chosen[2])

    def _edit_comment(self) -> None:
        self.comment.setFocus()
        self.comment.selectAll()

    def _keep_comment(self) -> None:
        if self.comment.property("case") == self._model.current:
            self._model.comment(self.comment.text())

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _picture_of(self, entry: Entry) -> Path | None:
        worklist = self._model.worklist
        return self._pictures.picture_of(entry, worklist.dataset) if worklist is not None else None

    def _pictures_drawn(self) -> None:
        self.table.refresh_pictures()

    def _case_shown(self, error: Seg3dError | None, kept: list[str]) -> None:
        if kept and error is None:
            self.notice.say(f"Kept in the viewer, because they were edited and not saved: {', '.join(kept)}.", "warning")

    def _synchronise(self) -> None:
        model, worklist = self._model, self._model.worklist
        entry = model.entry
        entries = worklist.entries if worklist is not None else ()
        self.table.show_entries(
            model.rows, worklist.dataset.labels if worklist is not None else {}, model.opening or model.current
        )
        self.table.show_order(model.order, model.descending)
        self.counts.setText(_counts(entries))
        self.heading.setText(_heading(entry, self))
        if worklist is not None and not self.reviewer.hasFocus():
            self.reviewer.setText(worklist.who)
        with QSignalBlocker(self.comment):
            if not self.comment.hasFocus() or self.comment.property("case") != model.current:
                self.comment.setText(entry.comment if entry is not None else "")
            self.comment.setProperty("case", model.current)
        if model.job is None:
            self.progress.hide()
        elif not self.progress.isVisible():
            self.progress.begin(f"{model.doing}…")
        self._synchronise_open()
        if model.error is not None or model.open_cases.error is not None:
            self.notice.say_error(model.error or model.open_cases.error)
        elif model.is_opening:
            self.notice.say(f"Opening {model.opening}…" if model.opening else "Keeping the mask…")
        else:
            self.notice.say(model.done or _agreed(model.agreement) or model.open_cases.done)
        damage = worklist.store.damage if worklist is not None else ()
        self.damage.say("\n".join(str(one) for one in damage[:3]), "warning")
        self._enable()

    def _synchronise_open(self) -> None:
        worklist, job = self._model.worklist, self._model.open_cases.job
        number = len(self._model.open_cases.of(worklist)) if worklist is not None else 0
        cases = "1 open case" if number == 1 else f"{number} open cases" if number else "open cases"
        self.predict_button.setText(f"Predict {cases}")
        self.predict_button.setEnabled(bool(number) and job is None)
        if job is None:
            self.predicting.hide()
        elif not self.predicting.isVisible():
            self.predicting.begin("Predicting the open cases…")

    def _enable(self) -> None:
        model = self._model
        is_open, has_case = model.worklist is not None, model.current is not None and not model.is_opening
        self.open_button.setEnabled(self._data.dataset is not None)
        for action in (self.predictions_action, self.readers_action, self.save_action, self.take_action):
            action.setEnabled(is_open)
        self.agreement_action.setEnabled(is_open and len(model.worklist.readers if model.worklist is not None else ()) == 2)
        for button in (self.previous_button, self.next_button):
            button.setEnabled(is_open)
        for widget in (self.approve_button, self.flag_button, self.mask_button, self.comment):
            widget.setEnabled(has_case)
        entry = model.entry
        self.reopen_button.setEnabled(has_case and entry is not None and entry.is_done)
        self.compare.synchronise()


def _counts(entries: tuple[Entry, ...]) -> str:
    if not entries:
        return ""
    counts = {state: sum(entry.state == state for entry in entries) for state in STATES}
    return f"{counts['approved']} ✓  {counts['flagged']} ⚑  of {len(entries)}"


def _heading(entry: Entry | None, on: QWidget) -> str:
    if entry is None:
        return "No case is open: click one, or press Next."
    colour, sign = LOOK[entry.state]
    name = entry.case.id.replace("&", "&amp;").replace("<", "&lt;")
    words = [f"<b>{name}</b> <span style='color: {readable(colour, on)}'>{sign} {entry.state}</span>"]
    if entry.reviewer:
        words.append(f"by {entry.reviewer}".replace("<", "&lt;"))
    if entry.is_blinded:
        words.append("(blinded)")
    return " ".join(words)


def _agreed(found: Agreement | None) -> str:
    if found is None:
        return ""
    if not found.cases:
        return f"No case was read by both {found.readers[0]} and {found.readers[1]} yet."
    kappa = "" if math.isnan(found.kappa) else f" (kappa {found.kappa:.2f})"
    dice = ", ".join(f"label {label} {value:.3f}" for label, value in found.dice.items())
    words = f"{found.readers[0]} and {found.readers[1]} say the same of {found.same:.0%} of {len(found.cases)} cases{kappa}."
    return words + (f" Dice of their masks: {dice}." if dice else "")
