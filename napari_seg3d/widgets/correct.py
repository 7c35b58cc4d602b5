"""The Correct dock: the mask, the label and what may be painted; the tools; undo; what a dead viewer left; versions."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QInputDialog,
    QLabel,
    QMainWindow,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_seg3d.editing.tools import tool
from napari_seg3d.errors import Seg3dError
from napari_seg3d.inference import EngineName, PredictOptions
from napari_seg3d.review import account
from napari_seg3d.training import find_runs
from napari_seg3d.viewer.correct_keys import actions
from napari_seg3d.viewer.label_look import LabelStyle, history_of, style_of
from napari_seg3d.viewer.label_table_model import LabelTableModel
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.windows import is_in_hu
from napari_seg3d.widgets.correct_fields import ToolFields, fill_labels, label_combo, short_row
from napari_seg3d.widgets.correct_palette import KeySheet, ToolPalette
from napari_seg3d.widgets.correct_versions import VersionsDialog
from napari_seg3d.widgets.parts import Dock, Notice, ProgressRow, choose_file
from napari_seg3d.widgets.predict import PredictDock
from napari_seg3d.widgets.recovery import RecoveryPanel
from napari_seg3d.widgets.setting_fields import NumberBox

if TYPE_CHECKING:
    from napari import Viewer

_MOST = 1e7  # of intensities
_THIS_MASK = "this mask"
_NARROW = "QAbstractSpinBox { min-width: 46px; max-width: 58px; padding: 1px 2px; }"  # napari's style asks for more


class CorrectDock(Dock):
    """Shows `CorrectModel` and tells it what the user wants.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where masks are corrected.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Correct")
        self._viewer = napari_viewer
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._session = session
        self._model, self._hand, self._start = session.correct, session.correct_hand, session.correct_start
        self._labels: LabelTableModel = session.labels
        self._author = account()
        self._sheet: KeySheet | None = None
        self._is_heard = False

        self.body.setSpacing(4)
        self.recovery = RecoveryPanel(napari_viewer)
        self.recovery.said.connect(self._model.say)
        self.body.addWidget(self.recovery)
        self.body.addLayout(self._mask_rows())
        self.body.addLayout(self._range_row())
        self.locks = Notice()
        self.body.addWidget(self.locks)
        self.palette_ = ToolPalette()
        self.palette_.pressed.connect(self._press)
        self.body.addWidget(self.palette_)
        self.body.addWidget(self._tool_box())
        self.body.addStretch(1)
        foot = self.add_foot()
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._model.cancel)
        foot.addWidget(self.progress)
        self.notice = Notice()
        foot.addWidget(self.notice)
        self.again_button = self._button("Run again", "Run it on the mask as it is now.", self._model.run_again)
        foot.addWidget(self.again_button)
        foot.addLayout(self._last_row())

        self._model.changed.connect(self._synchronise)
        self._model.drawn.connect(self._show_tool)
        self._model.progressed.connect(self._show_progress)
        layers = napari_viewer.layers
        heard = [(event, self._synchronise) for event in (layers.events.inserted, layers.events.removed)]
        session.autosave.changed.connect(self._synchronise)
        for event, answer in heard:
            event.connect(answer)
        labels, hand = self._labels, self._hand
        shown = object()  # a model that knows the dock would keep it
        labels.set_shown(shown, True)

        def gone() -> None:
            for event, answer in heard:
                event.disconnect(answer)
            labels.set_shown(shown, False)
            hand.stop()

        self.destroyed.connect(gone)
        self._synchronise()

    def showEvent(self, event: QShowEvent) -> None:
        """Listen to mouse and keys from the first time on that it is in a window."""
        super().showEvent(event)
        window = self.window()
        if isinstance(window, QMainWindow) and not self._is_heard:
            self._is_heard = True
            whom = weakref.ref(self)  # who listens must not keep the dock, and with it the viewer

            def show_keys() -> None:
                dock = whom()
                if dock is not None:
                    dock.show_keys()

            self._hand.listen(window, actions(self._model, self._session.correct_steps, show_keys))

    # -- parts ---------------------------------------------------------------------------------------------------------------------

    def _mask_rows(self) -> QFormLayout:
        form = QFormLayout()
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.masks = _combo("<p>The mask that is corrected: the selected layer.</p>")
        self.masks.activated.connect(self._choose_mask)
        self.new_button = self._button("New mask", "An empty mask over the scan that is shown.", self._model.new_mask)
        form.addRow("Mask", short_row(self.masks, self.new_button, stretch=(1,)))
        self.images = _combo("<p>The scan under the mask, that tools look at and that limits what may be painted.</p>")
        self.images.setPlaceholderText("none on the grid of the mask")
        self.images.activated.connect(lambda _index: self._model.set_image(self.images.currentData()))
        form.addRow("Image", self.images)
        self.labels = label_combo()
        self.labels.setToolTip(
            "<p>The label that tools paint, smooth, grow, … ( . and , choose the next and the previous one).</p>"
        )
        self.labels.activated.connect(self._choose_label)
        add = QToolButton()
        add.setText("+")
        add.setToolTip("<p>A new label, selected at once. Name and colour are given in the Look dock.</p>")
        add.clicked.connect(self._add_label)
        form.addRow("Label", short_row(self.labels, add, stretch=(1,)))
        return form

    def _range_row(self) -> QVBoxLayout:
        self.limit = QCheckBox("Paint only between")
        self.limit.setToolTip(
            "<p>Only voxels whose intensity lies in this range change, whichever tool is used, napari's own brush among them.</p>"
        )
        self.low, self.high = NumberBox(-_MOST, _MOST), NumberBox(-_MOST, _MOST)
        for box, which in ((self.low, "lowest"), (self.high, "highest")):
            box.setToolTip(f"<p>The {which} intensity that may be painted.</p>")
            box.setKeyboardTracking(False)
            box.setButtonSymbols(NumberBox.ButtonSymbols.NoButtons)
            box.setStyleSheet(_NARROW)
            box.valueChanged.connect(self._limit)
        self.unit = QLabel("HU")
        self.limit.toggled.connect(self._limit)
        column = QVBoxLayout()
        column.addLayout(short_row(self.limit, self.low, QLabel("and"), self.high, self.unit, stretch=(1,)))
        return column

    def _tool_box(self) -> QWidget:
        box = QWidget()
        column = QVBoxLayout(box)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(3)
        self.tool_title = QLabel()
        self.tool_title.setWordWrap(True)
        self.tool_title.setTextFormat(Qt.TextFormat.RichText)
        column.addWidget(self.tool_title)
        self.sources = _combo("<p>The mask whose labels are meant: this one, or another of the same scan.</p>")
        self.sources.activated.connect(lambda _index: self._model.scene.set_source(self.sources.currentData()))
        self._source_row = QWidget()
        form = QFormLayout(self._source_row)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Labels of", self.sources)
        column.addWidget(self._source_row)
        self.fields = ToolFields()
        self.fields.changed.connect(self._take_values)
        column.addWidget(self.fields)
        self.centres_button = self._button(
            "Centres from CSV…",
            "Paint the nodules at all centres of a table: columns x, y and z in mm towards left, back and head, as DICOM and LUNA count; "
            "of several CTs with a column series_uid.",
            self._choose_centres,
        )
        column.addWidget(self.centres_button)
        self.apply_button = self._button("Apply", "Use the tool on the whole label (Enter).", self._apply)
        column.addWidget(self.apply_button)
        self._box = box
        return box

    def _last_row(self) -> QVBoxLayout:
        self.undo_button = self._button(
            "Undo", "Take the last edit back, whoever made it: our tools or napari's (Ctrl+Z).", self._model.undo
        )
        self.redo_button = self._button("Redo", "Do it again (Ctrl+Shift+Z).", self._model.redo)
        keys = self._button("Keys…", "All keys on one sheet (F1).", self.show_keys)
        self.predict_button = QPushButton("Start from a prediction")
        self.predict_button.setToolTip("<p>Let the model of the Predict dock, else the newest one, make a mask to correct.</p>")
        menu = QMenu(self.predict_button)
        menu.addAction("As the mask", lambda: self.predict(False))
        menu.addAction("Into empty voxels only", lambda: self.predict(True))
        self.predict_button.setMenu(menu)
        self.versions_button = QPushButton("Versions")
        self.versions_button.setToolTip("<p>Keep the mask as it is now beside its scan, or go back to one that was kept.</p>")
        more = QMenu(self.versions_button)
        more.addAction("Keep a version…", self._keep_version)
        more.addAction("Go back to a version…", self._choose_version)
        self.versions_button.setMenu(more)
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addLayout(short_row(self.predict_button, self.versions_button, stretch=(2, 1)))
        column.addLayout(short_row(self.undo_button, self.redo_button, keys, stretch=(1, 1, 1)))
        return column

    def _button(self, text: str, tooltip: str, action: object) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(f"<p>{tooltip}</p>")
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the keys go on to the scan
        button.clicked.connect(lambda _on=False: action())  # type: ignore[operator]
        return button

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def show_keys(self) -> None:
        """Show the sheet of keys."""
        if self._sheet is None:
            self._sheet = KeySheet(self)
        self._sheet.show()
        self._sheet.raise_()

    def predict(self, only_empty: bool) -> None:
        """Put a prediction into the mask, made as the Predict dock says."""
        docks = self.window().findChildren(PredictDock)
        chosen = docks[0].chosen() if docks else None
        last = self._session.prediction.last
        models: list[Path] = []
        options, engine = PredictOptions(), "auto"
        if chosen is not None:
            models, options, engine = chosen
        elif last is not None:
            models, engine = list(last[0]), last[1]
        else:
            models = [run.best for run in find_runs() if run.best.exists()][:1]
        if not models:
            self._model.say("There is no model: train one, or choose one in the Predict dock.", "warning")
            return
        kind: EngineName = engine  # type: ignore[assignment]
        self._start.predict(models, options, kind, only_empty)

    def _press(self, name: str) -> None:
        spec = tool(name)
        if spec.gesture == "slice" and self._model.tool is spec:
            self._model.finish()
        elif self._model.tool is spec:
            self._model.put_down()
        else:
            self._model.take(name)
        self._show_tool()
        self._hand.focus()

    def _apply(self) -> None:
        self._model.finish()
        self._hand.focus()

    def _choose_centres(self) -> None:
        file = choose_file(self, "Centres of nodules", "Tables (*.csv)")
        if file is not None:
            self._model.use_centres(file)

    def _take_values(self) -> None:
        if self._model.tool is not None:
            self._model.set_values(self._model.tool, self.fields.value())

    def _choose_mask(self, _index: int) -> None:
        self._viewer.layers.selection.active = self.masks.currentData()

    def _choose_label(self, _index: int) -> None:
        value = self.labels.currentData()
        if value is not None:
            self._labels.select(value)

    def _add_label(self) -> None:
        try:
            self._labels.add()
        except Seg3dError as error:
            self._model.say(str(error), "error")

    def _limit(self, _value: object = None) -> None:
        if not self.limit.isChecked():
            self._model.set_range(None)
            return
        low, high = self.low.value(), self.high.value()
        self._model.set_range((min(low, high), max(low, high)))

    def _keep_version(self) -> None:
        if self._start.reviewer is not None:
            self._start.keep(self._start.reviewer)
            return
        author, is_meant = QInputDialog.getText(self, "Keep a version", "Your name, which is noted with it:", text=self._author)
        if is_meant:
            self._author = author.strip() or account()
            self._start.keep(self._author)

    def _choose_version(self) -> None:
        versions = self._start.versions()
        if not versions:
            self._model.say("No version of this mask was kept yet.")
            return
        dialog = VersionsDialog(self, versions, {value: style.name for value, style in self._styles().items()})
        if dialog.exec() and (chosen := dialog.chosen()) is not None:
            self._start.go_back(chosen)

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _styles(self) -> dict[int, LabelStyle]:
        layer = self._model.scene.layer
        if layer is None:
            return {}
        values = {row.value for row in self._labels.rows} | ({self._model.scene.label} - {0})
        return {value: style_of(layer, value) for value in sorted(values)}

    def _synchronise(self, event: object = None) -> None:
        model, layer = self._model, self._model.scene.layer
        masks = self._session.correct.scene.masks
        _fill(self.masks, [(one.name, one) for one in masks], layer)
        _fill(self.images, [(one.name, one) for one in model.scene.images], model.scene.image)
        with QSignalBlocker(self.labels):
            self.labels.clear()
            if layer is not None:
                self.labels.addItem("0 background (erases)", 0)
                fill_labels(self.labels, self._styles())
            self.labels.setCurrentIndex(self.labels.findData(model.scene.label))
        self._show_range()
        locked = [style.name or str(value) for value, style in self._styles().items() if style.locked]
        self.locks.say(f"Locked: {', '.join(locked)}" if locked else "")
        self._show_tool()
        if model.job is None:
            self.progress.hide()
        elif not self.progress.isVisible():
            self.progress.begin(f"{model.doing}…")
        problem = self._session.autosave.problem
        if problem is not None and model.notice[1] != "error":
            self.notice.say_error(problem)
        else:
            self.notice.say(*model.notice)
        self.again_button.setVisible(model.can_run_again)
        done, undone = history_of(layer)[:2] if layer is not None else (0, 0)
        for button, text, number in ((self.undo_button, "Undo", done), (self.redo_button, "Redo", undone)):
            button.setText(f"{text} ({number})" if number else text)
            button.setEnabled(bool(number))
        for widget in (self.masks, self.images, self.labels, self.versions_button):
            widget.setEnabled(layer is not None)
        for widget in (self.limit, self.low, self.high):
            widget.setEnabled(layer is not None and model.scene.image is not None)
        self.predict_button.setEnabled(model.job is None)

    def _show_progress(self, done: int, total: int) -> None:
        self.progress.step(self._model.doing, done, total)

    def _show_range(self) -> None:
        model, intensities = self._model, self._model.scene.range
        image = model.scene.image
        self.unit.setText("HU" if image is None or is_in_hu(image) else "")
        key = "none" if image is None else f"{image.name} {image.data.shape}"
        with QSignalBlocker(self.limit), QSignalBlocker(self.low), QSignalBlocker(self.high):
            self.limit.setChecked(intensities is not None)
            if intensities is not None:
                shown = intensities
            elif key != self.limit.property("image"):
                shown = model.scene.usual_range()
            else:
                return
            self.limit.setProperty("image", key)
            for box, number in zip((self.low, self.high), shown, strict=True):
                if not box.hasFocus():
                    box.setValue(number)

    def _show_tool(self) -> None:
        model, spec = self._model, self._model.tool
        self.palette_.show_tool(spec.id if spec is not None else None, model.scene.layer is not None)
        self._box.setVisible(spec is not None)
        if spec is None:
            self.fields.show_tool(None, {}, {})
            return
        self.tool_title.setText(f"<b>{spec.title}</b>: {spec.tooltip}")
        self._source_row.setVisible(spec.takes_source and bool(model.scene.sources))
        _fill(self.sources, [(_THIS_MASK, None), *((one.name, one) for one in model.scene.sources)], model.scene.source)
        self.fields.show_tool(spec, model.values(spec), self._styles(), model.scene.is_flat)
        is_applied = spec.gesture in ("label", "slice", "polygon", "clicks")
        self.apply_button.setVisible(is_applied)
        self.centres_button.setVisible(spec.id == "nodule" and not model.scene.is_flat)
        self.apply_button.setEnabled(model.job is None)
        self.apply_button.setText(_APPLY.get(spec.gesture, "Apply"))


_APPLY = {"polygon": "Close the polygon", "clicks": "Split between the clicks"}


def _combo(tooltip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tooltip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    return combo


def _fill(combo: QComboBox, items: list[tuple[str, object]], chosen: object) -> None:
    """Offer other layers, where they are others."""
    with QSignalBlocker(combo):
        if [(combo.itemText(at), id(combo.itemData(at))) for at in range(combo.count())] != [
            (text, id(data)) for text, data in items
        ]:
            combo.clear()
            for text, data in items:
                combo.addItem(text, data)
        combo.setCurrentIndex(next((at for at, (_, data) in enumerate(items) if data is chosen), -1))
