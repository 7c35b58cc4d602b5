"""The Predict dock: a model, a scan, one button; the mask appears over the scan, ready to be corrected and saved."""

from __future__ import annotations

import weakref
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QMenu, QPushButton, QToolButton

from napari_seg3d.errors import Seg3dError
from napari_seg3d.inference import EngineName, ModelSpec, Prediction, PredictOptions, read_spec
from napari_seg3d.inference.memory import planned_memory
from napari_seg3d.training import Run, find_runs
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.region import drawn_region
from napari_seg3d.viewer.saving import join_labels, layer_to_volume
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import GRID_SUFFIXES, free_memory, volume_name, write_label_files, write_volume
from napari_seg3d.widgets.cockpit import gigabytes
from napari_seg3d.widgets.parts import (
    Dock,
    Notice,
    ProgressRow,
    choose_file,
    choose_folder,
    choose_new_file,
    duration,
    narrow_combo,
)
from napari_seg3d.widgets.predict_choices import PredictChoices
from napari_seg3d.widgets.predict_folder import PredictFolder

if TYPE_CHECKING:
    from napari import Viewer

_SAVE_AS = (
    "Masks (*.nii.gz *.nii *.nrrd *.mha *.mhd)",
    "DICOM segmentation (*.dcm)",
    "MATLAB (*.mat)",
    "NumPy (*.npy)",
    "Picture, of radiographs (*.png)",
)
_PER_LABEL = "One file for each label (*.nii.gz *.nrrd *.mha)"
_MOST_MODELS = 30
_MOST_VOLUMES = 12


class PredictDock(Dock):
    """Predicts the scan in a layer with a trained model.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where the scans are, and where the masks appear.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Predict")
        self._viewer = napari_viewer
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._model, self._watch, self._stage = session.prediction, session.watch, session.stage
        self._folder_model = session.folder_prediction
        self._extra_models: list[Path] = []
        self._specs: dict[Path, ModelSpec | None] = {}

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        models = QHBoxLayout()
        self.models = narrow_combo("<p>The models that were trained on this machine, the newest first.</p>")
        other = QToolButton()
        other.setText("…")
        other.setToolTip("<p>Choose a model from elsewhere. It is read as numbers only: nothing in it can run.</p>")
        menu = QMenu(other)
        menu.addAction("A file: checkpoint or MONAI bundle…", self._choose_model)
        menu.addAction("A folder: run, MONAI bundle or nnU-Net results…", self._choose_model_folder)
        other.setMenu(menu)
        other.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        other.setStyleSheet("QToolButton::menu-indicator { image: none; }")  # there is no room for an arrow beside three dots
        models.addWidget(self.models, 1)
        models.addWidget(other)
        form.addRow("Model", models)
        self.images = narrow_combo("<p>The scan to predict: any image layer.</p>")
        form.addRow("Scan", self.images)
        self.body.addLayout(form)
        self.about = Notice()
        self.body.addWidget(self.about)
        self.memory = Notice()
        self.memory.setToolTip(
            "<p>An estimate of the most memory that the prediction holds at a time, beside the scan and the weights, on a CPU.</p>"
        )
        self.body.addWidget(self.memory)

        self.choices = PredictChoices()
        self.choices.drawRequested.connect(self._draw_region)
        self.choices.changed.connect(self._plan_memory)
        self.body.addWidget(self.choices)

        self.folder = PredictFolder(session.folder_prediction)
        self.folder.requested.connect(self._predict_folder)

        self.run_button = QPushButton("Predict")
        self.run_button.setToolTip("<p>Puts the mask that the model sees over the scan, as a layer that can be painted in.</p>")
        self.run_button.clicked.connect(self._predict)
        self.body.addWidget(self.run_button)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._model.cancel)
        self.body.addWidget(self.progress)
        self.notice = Notice()
        self.body.addWidget(self.notice)
        self.save_button = QPushButton("Save mask…")
        self.save_button.setToolTip(
            "<p>Writes the selected mask onto its scan's own grid: same shape, axis order and place in the patient. The scan itself is "
            "never overwritten.</p>"
        )
        self.save_button.clicked.connect(self._save)
        self.body.addWidget(self.save_button)
        self.body.addWidget(self.folder)
        self.body.addStretch(1)

        self.models.currentIndexChanged.connect(self._describe_model)
        for combo in (self.models, self.images):
            combo.currentIndexChanged.connect(self._enable)
        self._model.changed.connect(self._synchronise)
        self._folder_model.changed.connect(self._enable)
        self._model.progressed.connect(lambda done, total: self.progress.step("Patch", done, total))
        self._model.predicted.connect(self._predicted)
        self._watch.eventsArrived.connect(self._look_for_models)
        self._watch.runChanged.connect(self._fill_models)
        layers = napari_viewer.layers
        heard = [
            (event, self.reset_choices) for event in (layers.events.inserted, layers.events.removed, layers.events.reordered)
        ]
        heard.append((layers.selection.events.changed, self._enable))
        for event, answer in heard:
            event.connect(answer)
        # Qt forgets the slots of a widget that is gone; napari does not.
        self.destroyed.connect(lambda: [event.disconnect(answer) for event, answer in heard])
        self._fill_models()
        self.reset_choices()
        self._synchronise()
        if self._model.told is not None and self._model.told[0]() in layers:
            self.notice.say(self._model.told[1])

    def reset_choices(self, event: object = None) -> None:
        """Offer the image layers that there are now; the choice stays where it can."""
        chosen = self.images.currentData()
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        self.images.blockSignals(True)
        self.images.clear()
        for layer in images:
            self.images.addItem(layer.name, layer)
        # A scan that was just opened is the one that the user means.
        self.images.setCurrentIndex(images.index(chosen) if chosen in images else len(images) - 1)
        self.images.blockSignals(False)
        self.choices.set_regions([layer for layer in self._viewer.layers if isinstance(layer, Shapes)])
        self._enable()

    # -- what the user wants -------------------------------------------------------------------------------------------------------

    def _choose_model(self) -> None:
        path = choose_file(self, "Choose a model", "Models (*.pt *.zip)")
        if path is not None:
            self.add_model(path)

    def _choose_model_folder(self) -> None:
        path = choose_folder(self, "Choose a model")
        if path is not None:
            self.add_model(Run(path).best if (path / "run.yaml").exists() else path)

    def add_model(self, path: Path) -> None:
        """Offer a checkpoint file, a MONAI bundle or an nnU-Net folder, and choose it."""
        self._extra_models.insert(0, path)
        self._fill_models()
        self.models.setCurrentIndex(self.models.findData(str(path)))

    def chosen(self) -> tuple[list[Path], PredictOptions, EngineName] | None:
        """Return the models, how they are asked, and what computes; None where no model is chosen."""
        if self.models.currentData() is None:
            return None
        return self._chosen_models(), self.choices.options(), self.choices.engine.currentData()

    def _predict(self) -> None:
        self.notice.say("")
        self._model.predict(
            self._chosen_models(),
            self.images.currentData(),
            self.choices.options(),
            self.choices.region,
            self.choices.engine.currentData(),
        )

    def _chosen_models(self) -> list[Path]:
        return [Path(self.models.currentData()), *self.choices.models]

    def _predict_folder(self) -> None:
        output = self.folder.output()
        if output is None:
            return
        models, engine = self._chosen_models(), self.choices.engine.currentData()
        options = self.choices.options()
        scans = Path(self.folder.scans.text().strip())
        self._folder_model.begin(partial(self._model.predictor, models, engine), models, scans, output, options)

    def _draw_region(self) -> None:
        image: Image | None = self.images.currentData()
        axes = {"ndim": image.ndim, "units": image.units, "axis_labels": image.axis_labels} if image is not None else {"ndim": 3}
        layer = self._viewer.add_shapes(name="region", face_color="transparent", edge_color="#ffd166", edge_width=1.5, **axes)
        layer.mode = "add_rectangle"
        self.choices.choose_region(layer)
        self.notice.say("Draw a rectangle on the scan, then press Predict.")

    def _save(self) -> None:
        layer = self._mask_to_save()
        if layer is None:
            return
        native = native_of(layer)
        source = native.source.path if native and native.source else None
        ending = next((ending for ending in GRID_SUFFIXES if source and source.name.lower().endswith(ending)), ".nii.gz")
        name = f"{volume_name(source) if source else layer.name}_seg{ending}"
        chosen = choose_new_file(self, "Save the mask", name, [*_SAVE_AS, _PER_LABEL])
        if chosen is not None:
            path, kind = chosen
            self.save_to(layer, path, is_per_label=kind == _PER_LABEL)

    def save_to(self, layer: Labels, path: Path, is_per_label: bool = False) -> None:
        """Write a mask onto its scan's grid, or each of its labels; the dialog has asked before a file is replaced."""
        layers = self._model.layers_with(layer)
        try:
            mask = join_labels([layer_to_volume(one, self._viewer.layers) for one in layers])
        except Seg3dError as error:
            self.notice.say_error(error)
            return
        mask = mask.with_data(mask.data.copy())  # whoever goes on painting does not paint into the file
        untouched = [self._stage.checksum(one) for one in layers]

        def write(_job: Job) -> str:
            if is_per_label:
                files = write_label_files(mask, path)  # the dialog has asked about another name
                return f"{', '.join(file.name for file in files)} in {path.parent}"
            return str(write_volume(mask, path, overwrite=True))

        def say(written: str) -> None:
            for one, checksum in zip(layers, untouched, strict=True):
                self._stage.mark_saved(one, checksum)
            self.notice.say(f"Saved {', '.join(one.name for one in layers)} as {written}.")

        self.notice.say(f"Saving {layer.name}…")
        start_job(write, returned=say, failed=self.notice.say_error)

    def _mask_to_save(self) -> Labels | None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Labels) and self._model.is_whole(active):
            return active
        masks = [
            layer for layer in self._viewer.layers if isinstance(layer, Labels) and layer.visible and self._model.is_whole(layer)
        ]
        return masks[-1] if masks else None

    # -- what there is to see ------------------------------------------------------------------------------------------------------

    def _fill_models(self) -> None:
        chosen = self.models.currentData()
        self._specs.clear()
        self.models.blockSignals(True)
        self.models.clear()
        for path in self._extra_models:
            self.models.addItem(path.name, str(path))
        for run in [run for run in find_runs() if run.best.exists()][:_MOST_MODELS]:
            self.models.addItem(_model_name(run, run.best.stat().st_mtime_ns), str(run.best))
        self.models.setCurrentIndex(max(0, self.models.findData(chosen)) if self.models.count() else -1)
        for row in range(self.models.count()):
            self.models.setItemData(row, self.models.itemData(row), Qt.ItemDataRole.ToolTipRole)
        self.models.setPlaceholderText("train one first, or choose a file")
        self.models.blockSignals(False)
        self._describe_model()
        self._enable()

    def _describe_model(self) -> None:
        """Say what the model sees and finds, and offer the modes by the names that fit it."""
        path = self.models.currentData()
        spec = self._spec(Path(path)) if path is not None else None
        self.choices.set_model(spec)
        rows = range(self.models.count())
        self.choices.set_models(
            {Path(self.models.itemData(row)): self.models.itemText(row) for row in rows if self.models.itemData(row) != path}
        )
        if spec is None:
            self.about.say("What it finds is known when it is loaded." if path is not None else "")
            self._plan_memory()
            return
        more = ", …" if len(spec.labels) > _MOST_VOLUMES else ""
        overlapping = ", which may overlap" if spec.targets == "overlapping" and len(spec.labels) > 1 else ""
        labels = ", ".join(name for _, name in sorted(spec.labels.items())[:_MOST_VOLUMES])
        self.about.say(f"Finds {labels}{more}{overlapping}. Sees {spec.what_it_sees}.")
        self._plan_memory()

    def _spec(self, path: Path) -> ModelSpec | None:
        if path not in self._specs:
            self._specs[path] = read_spec(path)
        return self._specs[path]

    def _plan_memory(self) -> None:
        """Say how much memory the prediction needs, where the model says of itself what it is, and the scan where it lies."""
        image: Image | None = self.images.currentData()
        native = native_of(image) if image is not None else None
        specs = [self._spec(path) for path in self._chosen_models()] if self.models.currentData() is not None else []
        known = [spec for spec in specs if spec is not None]
        if image is None or native is None or not known or len(known) < len(specs):
            self.memory.say("")
            return
        options, region = self.choices.options(), self.choices.region
        try:
            if region is not None and len(region.data):
                options = replace(options, region=drawn_region(region, image, native.grid))
            needed, free = planned_memory(known, native.grid, options=options), free_memory()
        except Seg3dError:
            self.memory.say("")  # what is wrong is told when Predict is pressed
            return
        if needed > free:
            advice = "choose patches as the mode, limit the region, or close other programs."
            self.memory.say(f"Needs about {gigabytes(needed)} of memory, and {gigabytes(free)} are free: {advice}", "warning")
        else:
            self.memory.say(f"Needs about {gigabytes(needed)} of memory; {gigabytes(free)} are free.")

    def _look_for_models(self, events: list[dict[str, object]]) -> None:
        if any(event["kind"] == "checkpoint" for event in events):
            self._fill_models()

    def _enable(self, event: object = None) -> None:
        # One at a time: both want all cores, and the one model that is kept warm.
        idle = self._model.job is None and self._folder_model.job is None
        model = self.models.currentData()
        is_there = model is not None and Path(model).exists()
        if model is not None and not is_there:
            self.about.say(f"{Path(model).name} was deleted or moved: choose another model.", "warning")
        self.folder.enable(idle and is_there)
        self.run_button.setEnabled(idle and is_there and self.images.currentData() is not None)
        self._plan_memory()
        self.save_button.setEnabled(self._mask_to_save() is not None)

    def _synchronise(self) -> None:
        if self._model.job is not None:
            self.progress.begin("Loading the model…")
        else:
            self.progress.hide()
            if self._model.error is not None:
                self.notice.say_error(self._model.error)
        self._enable()

    def _predicted(self, layer: Labels, prediction: Prediction, engine: str) -> None:
        mask, millilitres = prediction.labels, prediction.labels.grid.voxel_volume / 1000
        named = list(mask.labels.items())[:_MOST_VOLUMES]
        volumes = [f"{label.name} {(mask.data == value).sum() * millilitres:.1f} ml" for value, label in named]
        told = f"Predicted in {duration(prediction.seconds)} by {engine}: {', '.join(volumes)}."
        told = " ".join([told, *prediction.notes])
        self.notice.say(told)
        self._model.told = weakref.ref(layer), told


@lru_cache(maxsize=4 * _MOST_MODELS)
def _model_name(run: Run, written: int) -> str:
    """Return what to call a run's best model; its events are read again only after that was `written` anew."""
    dice = run.best_dice()
    return f"Dice {dice:.3f}, {run.name}" if dice is not None else run.name
