"""`PredictionModel`: the network that a viewer keeps warm, and the prediction that is made with it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Layer, Shapes
from qtpy.QtCore import QObject, Signal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.inference import EngineName, Ensemble, Prediction, PredictOptions, Predictor, load_models, model_files
from napari_seg3d.viewer.half_made import HalfMade, masks_of
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.layers import at_time, native_of
from napari_seg3d.viewer.region import drawn_region
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.viewer.stage import Picture, Stage
from napari_seg3d.volumes import Label

if TYPE_CHECKING:
    from napari import Viewer


class PredictionModel(QObject):
    """The model that is kept warm, and the prediction that is made."""

    #: A prediction began or ended.
    changed = Signal()
    progressed = Signal(int, int)
    #: A prediction is in the viewer: its layer (of overlapping labels, that of the last one), the `Prediction`, and what computed it.
    predicted = Signal(object, object, str)

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        super().__init__()
        self._viewer, self._stage = viewer, stage
        self.error: Seg3dError | None = None
        self.job: Job | None = None
        #: The mask that was predicted last, and what was said of it: for a dock that is opened again.
        self.told: tuple[weakref.ref[Labels], str] | None = None
        #: The models that were asked last, and what computed them: for whoever wants to ask them again.
        self.last: tuple[tuple[Path, ...], EngineName] | None = None
        self._half_made: HalfMade | None = None
        self._selected: set[Layer] = set()  # when the prediction began
        self._warm: tuple[tuple[tuple[tuple[Path, float], ...], EngineName], Predictor | Ensemble] | None = None
        self._results: weakref.WeakKeyDictionary[Image, list[Labels]] = weakref.WeakKeyDictionary()
        self._maps: weakref.WeakKeyDictionary[Image, list[Image]] = weakref.WeakKeyDictionary()

    def predict(
        self,
        models: Sequence[Path],
        layer: Image,
        options: PredictOptions,
        region: Shapes | None = None,
        engine: EngineName = "auto",
    ) -> None:
        """Predict the scan in a layer; the mask appears over it with the first part that is known.

        Parameters
        ----------
        models : sequence of Path
            A model; or several of the same labels, which answer together.
        layer : Image
            The scan.
        options : PredictOptions
            How.
        region : Shapes, optional
            Only what lies in the box around what is drawn there.
        engine : {"torch", "openvino", "auto"}
            What computes on a CPU.
        """
        try:
            # Taken here, in the window's thread: the layer may change while the network computes.
            scan = at_time(layer_to_volume(layer), round(self._viewer.dims.point[0]))
            if region is not None:
                options = replace(options, region=drawn_region(region, layer, scan.grid))
        except Seg3dError as error:
            self.error = error
            self.changed.emit()
            return

        self.last = (tuple(models), engine)
        name = f"{layer.name} prediction"
        native = native_of(layer)
        frame = native.placement.frame if native is not None else None
        half_made = self._half_made = HalfMade(self._viewer, self._stage, layer, scan, name, frame)
        self._selected = set(self._viewer.layers.selection)

        def work(job: Job) -> tuple[Prediction, list[Picture], list[Picture], str]:
            predictor = self.predictor(models, engine)
            labels = {value: Label(text) for value, text in predictor.stored_labels.items()}
            prediction = predictor.predict(
                scan, options, job.progress, job.is_cancelled, lambda box, values: half_made.take(box, values, labels)
            )
            masks = [Picture.of(mask, layer_name, frame=frame) for _, layer_name, mask in masks_of(prediction.labels, name)]
            maps = [
                Picture.of(volume, f"{layer.name} {what}", frame=frame)
                for what, volume in (("probability", prediction.probabilities), ("uncertainty", prediction.uncertainty))
                if volume is not None
            ]
            return prediction, masks, maps, predictor.engine

        self.error = None
        self.job = start_job(
            work,
            progressed=self.progressed.emit,
            returned=lambda result: self._show(layer, *result),
            failed=self._failed,
            ended=self._ended,
        )
        self.changed.emit()

    def cancel(self) -> None:
        """Stop the prediction that is made."""
        if self.job is not None:
            self.job.cancel()
            self._remove_half_made()

    def predictor(self, models: Sequence[Path], engine: EngineName) -> Predictor | Ensemble:
        """Return a model, or several as one, kept warm; to be called in a job."""
        # A run that goes on writes its best model anew, and what lies beside a model decides, too.
        files = tuple((path, path.stat().st_mtime if path.exists() else 0.0) for path in model_files(models))
        asked = (files, engine)
        if self._warm is None or self._warm[0] != asked:
            self._warm = None  # two models at a time may not fit
            self._warm = (asked, load_models(models, engine=engine))
        return self._warm[1]

    def layers_with(self, mask: Labels) -> list[Labels]:
        """Return the layers of the viewer that are one mask: those of overlapping labels that were predicted together, else one."""
        together = next((layers for layers in self._results.values() if mask in layers), [mask])
        return [layer for layer in together if layer in self._viewer.layers]

    def is_whole(self, mask: Labels) -> bool:
        """Return whether a mask is not one that is just being made."""
        return self._half_made is None or mask not in self._half_made

    def _show(self, image: Image, prediction: Prediction, pictures: list[Picture], maps: list[Picture], engine: str) -> None:
        if image not in self._viewer.layers:
            self.error = Seg3dError(
                f"The layer {image.name} was closed before its prediction was ready.", "Open it and predict again."
            )
            return
        assert self._half_made is not None
        selection = set(self._viewer.layers.selection)
        is_elsewhere = selection != self._selected or self._stage.user_is_drawing()
        uncorrected = [last for last in self._results.pop(image, []) if not self._stage.is_edited(last)]
        self._stage.remove_all([*uncorrected, *self._maps.pop(image, [])])
        self._maps[image] = [layer for picture in maps for layer in self._stage.add_maps(image, picture)]
        layers = self._half_made.finish(pictures)
        for layer, value in zip(layers, prediction.labels.labels, strict=False):
            layer.selected_label = value  # what is painted in a layer is its own label
        self._results[image] = layers
        marked = next((picture for picture in pictures if picture.centre is not None), pictures[0])
        for layer in layers:
            self._stage.bring_forward(image, layer, marked)
        # The mask is ready to be corrected, unless the user has turned to something else.
        still_there = {layer for layer in selection if layer in self._viewer.layers}
        self._viewer.layers.selection = still_there if is_elsewhere and still_there else {layers[-1]}
        self.predicted.emit(layers[-1], prediction, engine)

    def _failed(self, error: Seg3dError) -> None:
        self.error = error

    def _remove_half_made(self) -> None:
        if self._half_made is not None:
            self._half_made.remove()
            self._half_made = None

    def _ended(self) -> None:
        self._remove_half_made()
        self.job = None
        self.changed.emit()
