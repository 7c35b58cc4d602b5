"""The Transforms dock: the steps before the network, and what each of them does to the case in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QHideEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMenu,
    QPushButton,
    QSpinBox,
    QTabBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_seg3d.errors import ConfigError, Seg3dError
from napari_seg3d.transforms import (
    Pipeline,
    Step,
    TransformInfo,
    catalogue,
    check_augmentation,
    check_preprocessing,
    load_preset,
    presets,
)
from napari_seg3d.viewer.recipe_model import KINDS, Kind
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.transforms_model import QUICK_EDGES
from napari_seg3d.widgets.histogram import Histogram
from napari_seg3d.widgets.parts import Dock, Notice, choose_file, choose_new_file
from napari_seg3d.widgets.sample_strip import SampleStrip
from napari_seg3d.widgets.step_form import StepForm
from napari_seg3d.widgets.step_list import StepList

if TYPE_CHECKING:
    from napari import Viewer

_TITLES: dict[Kind, str] = {"preprocessing": "Preprocessing", "augmentation": "Augmentation"}
_TOOLTIPS: dict[Kind, str] = {
    "preprocessing": "<p>Done once to every scan, in training and in prediction alike. Nothing here is random.</p>",
    "augmentation": "<p>Done anew to every sample of the training, at random, so that few cases teach more. Prediction does none of it.</p>",
}
_WORKING = "Working…"
_PATIENCE_MS = 400
_FILES = "Transforms (*.yaml *.yml)"


class TransformsDock(Dock):
    """Edits preprocessing and augmentation, and previews them.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose selected image is the example.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Transforms")
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._model = session.transforms
        self._recipe = self._model.recipe
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(_PATIENCE_MS)
        self._patience.timeout.connect(lambda: self.notice.say(_WORKING))
        self._add_files()
        self._add_preview_bar()
        self._add_lists()
        self._add_looks()
        self.body.addStretch(1)
        self._recipe.changed.connect(self._show_recipe)
        self._recipe.configChanged.connect(self._show_recipe)
        self._model.changed.connect(self._synchronise)
        self._model.sampleMade.connect(self.strip.add)
        self.tabs.setCurrentIndex(KINDS.index(self._model.settings.kind))
        self._show_recipe()
        self._choose_tab(self.tabs.currentIndex())
        self._synchronise()

    # -- parts ---------------------------------------------------------------------------------------------------------------------

    def _add_files(self) -> None:
        self.name_label = QLabel()
        self.name_label.setWordWrap(True)
        self.body.addWidget(self.name_label)
        row = QHBoxLayout()
        self.preset_button = QToolButton()
        self.preset_button.setText("Preset…")
        self.preset_button.setToolTip("<p>Take steps that come with the program in place of those below.</p>")
        self.preset_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.preset_button)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(lambda: self._fill_presets(menu))
        self.preset_button.setMenu(menu)
        row.addWidget(self.preset_button)
        for text, tooltip, action in (
            ("Import…", "Take the steps in a YAML file in place of those below.", self._import),
            ("Export…", "Write the steps to a YAML file, for the command line or a colleague.", self._export),
        ):
            button = QPushButton(text)
            button.setToolTip(f"<p>{tooltip}</p>")
            button.clicked.connect(action)
            row.addWidget(button, 1)
        self.body.addLayout(row)
        self.training_button = QPushButton("Use for training")
        self.training_button.clicked.connect(self._hand_over)
        self.body.addWidget(self.training_button)
        self.file_notice = Notice()
        self.body.addWidget(self.file_notice)

    def _add_preview_bar(self) -> None:
        row = QHBoxLayout()
        self.preview_button = QPushButton("Preview")
        self.preview_button.setCheckable(True)
        self.preview_button.setToolTip(
            "<p>Show the case in view before and after the steps, side by side, in place of the canvas. Your layers are not touched, and are "
            "back as you left them when the preview ends.</p>"
        )
        self.preview_button.toggled.connect(self._switch_preview)
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setKeyboardTracking(False)
        self.seed.setMinimumWidth(70)
        self.seed.setToolTip("<p>Start of all random numbers: the same seed makes the same sample again.</p>")
        self.seed.valueChanged.connect(lambda seed: self._model.look(seed=seed))
        self.roll_button = QPushButton("Roll")
        self.roll_button.setToolTip("<p>Draw another sample.</p>")
        self.roll_button.clicked.connect(self._model.roll)
        self.pin_box = QCheckBox("Pin")
        self.pin_box.setToolTip(
            "<p>Keep the seed while you change steps, so that only your change is seen. Without it, every change draws another sample.</p>"
        )
        self.pin_box.toggled.connect(lambda on: self._model.look(pinned=on))
        row.addWidget(self.preview_button, 1)
        row.addWidget(QLabel("Seed"))
        row.addWidget(self.seed)
        row.addWidget(self.roll_button)
        row.addWidget(self.pin_box)
        self.body.addLayout(row)
        self.notice = Notice()
        self.body.addWidget(self.notice)

    def _add_lists(self) -> None:
        self.tabs = QTabBar()
        self.tabs.setExpanding(False)
        self.tabs.setUsesScrollButtons(False)
        self.lists: dict[Kind, StepList] = {}
        self.forms: dict[Kind, StepForm] = {}
        self._pages: dict[Kind, QWidget] = {}
        self.body.addWidget(self.tabs)
        for at, kind in enumerate(KINDS):
            self.tabs.addTab(_TITLES[kind])
            self.tabs.setTabToolTip(at, _TOOLTIPS[kind])
            page = QWidget()
            column = QVBoxLayout(page)
            column.setContentsMargins(0, 0, 0, 0)
            steps, form = StepList(_offered(kind)), StepForm(with_probability=kind == "augmentation")
            column.addWidget(steps)
            column.addWidget(form)
            steps.changed.connect(lambda kind=kind: self._take_list(kind))
            steps.selected.connect(lambda row, kind=kind: self._select(kind, row))
            form.changed.connect(lambda kind=kind: self._take_form(kind))
            self.lists[kind], self.forms[kind], self._pages[kind] = steps, form, page
            self.body.addWidget(page)
        self.tabs.currentChanged.connect(self._choose_tab)

    def _add_looks(self) -> None:
        heading = QLabel("<b>What the preview shows</b>")
        self.body.addWidget(heading)
        row = QHBoxLayout()
        self.edge = QComboBox()
        for edge in QUICK_EDGES:
            self.edge.addItem(f"Quick: {edge} x {edge} x {edge} voxels", edge)
        self.edge.addItem("The whole scan", None)
        self.edge.setToolTip(
            "<p>Quick: only a block around the place you look at is transformed, which answers at once also for a large scan; click "
            "elsewhere in the picture to move it. Augmentation works on a block of the preprocessed scan, as training does.</p>"
        )
        self.edge.currentIndexChanged.connect(lambda _at: self._model.look(edge=self.edge.currentData()))
        row.addWidget(self.edge, 1)
        self.body.addLayout(row)
        boxes = QVBoxLayout()
        boxes.setSpacing(2)
        self.network_box = _box(
            boxes,
            "Exactly what the network sees",
            "The patch that training would cut from this case, after preprocessing, cropping and augmentation, in the values that the "
            "network is given. The patch size is that of the Train dock.",
            lambda on: self._model.look(network=on),
        )
        self.difference_box = _box(
            boxes,
            "What changed",
            "Show the difference in place of the result: orange where it became brighter, blue where darker. After preprocessing, a mere "
            "stretch of all values is left out.",
            lambda on: self._model.look(difference=on),
        )
        self.masks_box = _box(boxes, "Mask", "Draw the outline of the mask in both views.", lambda on: self._model.look(masks=on))
        self.upto_box = _box(
            boxes,
            "Only up to the selected step",
            "Leave out the steps below the selected one.",
            lambda on: self._model.look(upto=on),
        )
        self.always_box = _box(
            boxes,
            "Always apply the selected step",
            "Show what the selected step does whatever its probability. The small pictures and training keep to the probability.",
            lambda on: self._model.look(always=on),
        )
        self.body.addLayout(boxes)
        self.histogram = Histogram()
        self.body.addWidget(self.histogram)
        self.strip = SampleStrip()
        self.strip.countChanged.connect(lambda count: self._model.look(samples=count))
        self.strip.chosen.connect(lambda seed: self._model.look(seed=seed))
        self.body.addWidget(self.strip)

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> Kind:
        """The list in front."""
        return KINDS[max(self.tabs.currentIndex(), 0)]

    def _choose_tab(self, _index: int) -> None:
        for kind, page in self._pages.items():
            page.setVisible(kind == self.kind)
        self._model.look(kind=self.kind, row=self.lists[self.kind].rows.currentRow())

    def _select(self, kind: Kind, row: int) -> None:
        steps = self.lists[kind].value()
        self.forms[kind].set_value(steps[row] if 0 <= row < len(steps) else None)
        if kind == self.kind:
            self._model.look(row=row)

    def _take_list(self, kind: Kind) -> None:
        self._recipe.set_steps(kind, self.lists[kind].value())

    def _take_form(self, kind: Kind) -> None:
        try:
            step = self.forms[kind].value()
        except ConfigError:
            return  # the form shows it; the preview keeps the last step that could be used
        self.lists[kind].replace(self.lists[kind].rows.currentRow(), step)
        self._take_list(kind)

    def _switch_preview(self, is_on: bool) -> None:
        if not is_on:
            self._model.stop()
            return
        window = self.window()
        assert isinstance(window, QMainWindow)
        self._model.start(window)

    def _fill_presets(self, menu: QMenu) -> None:
        menu.clear()
        default = menu.addAction("As by default", self._recipe.take_default)
        default.setToolTip("<p>What training does by itself, with the spacing of the data set that is open.</p>")
        menu.addSeparator()
        for name in presets():
            action = menu.addAction(name, lambda name=name: self._try(lambda: self._recipe.take_preset(name)))
            try:
                action.setToolTip(f"<p>{load_preset(name).description}</p>")
            except ConfigError:
                action.setEnabled(False)

    def _import(self) -> None:
        path = choose_file(self, "Import transforms", _FILES)
        if path is not None:
            self._try(lambda: self._recipe.load(path))

    def _export(self) -> None:
        chosen = choose_new_file(self, "Export transforms", f"{self._recipe.name or 'transforms'}.yaml", ["Transforms (*.yaml)"])
        if chosen is not None:
            self._try(lambda: self._recipe.save(chosen[0]), f"Written to {chosen[0].name}.")

    def _hand_over(self) -> None:
        self._try(self._recipe.hand_over, "The Train dock has these steps now. Start a training there.")

    def _try(self, action: object, done: str = "") -> None:
        try:
            action()  # type: ignore[operator]
        except Seg3dError as error:
            self.file_notice.say_error(error)
        else:
            self.file_notice.say(done)

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _show_recipe(self) -> None:
        for kind in KINDS:
            steps: tuple[Step, ...] = self._recipe.steps(kind)
            if self.lists[kind].value() != steps:
                self.lists[kind].set_value(steps)
        are_default = [self._recipe.is_default(kind) for kind in KINDS]
        name = self._recipe.name
        if all(are_default):
            text = "<b>As by default</b>: what training does by itself."
        elif any(are_default):
            own = _TITLES[KINDS[are_default.index(False)]].lower()
            text = f"<b>{name or 'Your own'}</b>: {own} changed, the rest as by default."
        else:
            text = f"<b>{name or 'Your own steps'}</b>"
        self.name_label.setText(text)
        self.name_label.setToolTip(f"<p>{self._recipe.description}</p>" if self._recipe.description else "")
        is_taken = self._recipe.is_handed_over
        self.training_button.setEnabled(not is_taken)
        self.training_button.setText("Training uses these steps" if is_taken else "Use for training")
        self.training_button.setToolTip(
            "<p>The next training that you start in the Train dock does exactly what the preview shows.</p>"
            if not is_taken
            else "<p>The Train dock has these steps.</p>"
        )

    def _synchronise(self) -> None:
        """Show what the model holds now."""
        model, now = self._model, self._model.settings
        for widget, value in (
            (self.preview_button, model.is_on),
            (self.pin_box, now.pinned),
            (self.network_box, now.network),
            (self.difference_box, now.difference),
            (self.masks_box, now.masks),
            (self.upto_box, now.upto),
            (self.always_box, now.always),
        ):
            widget.blockSignals(True)
            widget.setChecked(value)
            widget.blockSignals(False)
        for field in (self.seed, self.edge):
            field.blockSignals(True)
        self.seed.setValue(now.seed)
        self.edge.setCurrentIndex(self.edge.findData(now.edge))
        for field in (self.seed, self.edge):
            field.blockSignals(False)
        self.preview_button.setText("End preview" if model.is_on else "Preview")
        is_random = now.what != "preprocessing"
        for control in (self.seed, self.roll_button, self.pin_box, self.always_box):
            control.setEnabled(is_random)
        for control in (self.edge, self.upto_box):
            control.setEnabled(not now.network)
        self.strip.set_count(now.samples)
        self.strip.setVisible(is_random and model.is_on)
        self.histogram.setVisible(model.is_on and model.compared is not None)
        if not model.samples:
            self.strip.clear()
        self._show_outcome()

    def _show_outcome(self) -> None:
        model, compared = self._model, self._model.compared
        self._patience.stop()
        if model.is_on and not model.is_settled:
            if compared is None:
                self.notice.say(_WORKING)
            else:
                self._patience.start()  # most previews are there before anybody could read that they are being made
            return
        for kind, steps in self.lists.items():
            steps.clear_remarks()
            for timing in compared.timings if compared is not None and compared.what == kind else ():
                steps.remark(timing.index, _time(timing.seconds) if timing.applied else "not this time")
        if model.error is not None:
            self.notice.say_error(model.error)
        elif compared is None:
            self.notice.say("")
        else:
            made = [f"Made in {_time(compared.seconds)}."] if compared.timings else []
            self.notice.say(" ".join([*compared.notes, *made]))
            self.histogram.show_counts(*compared.histograms)

    def hideEvent(self, event: QHideEvent) -> None:
        """End preview when the dock is closed; another tab in front of it is no end."""
        super().hideEvent(event)
        if not event.spontaneous():
            QTimer.singleShot(0, self._end_if_closed)

    def _end_if_closed(self) -> None:
        if self._model.is_on and self.is_closed():
            self._model.stop()


def _box(layout: QVBoxLayout, text: str, tooltip: str, action: object) -> QCheckBox:
    box = QCheckBox(text)
    box.setToolTip(f"<p>{tooltip}</p>")
    box.toggled.connect(action)
    layout.addWidget(box)
    return box


def _offered(kind: Kind) -> dict[str, TransformInfo]:
    """Return the transforms that may stand in a list."""
    check = check_preprocessing if kind == "preprocessing" else check_augmentation
    found = {}
    for name, about in catalogue().items():
        try:
            check(Pipeline((Step(name),)))
        except ConfigError:
            continue
        found[name] = about
    return found


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
