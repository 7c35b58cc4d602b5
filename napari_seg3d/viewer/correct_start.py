"""What can be put into the mask that is corrected as a whole: a prediction to begin with, and a version of it from before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_seg3d.editing import Change, Limits
from napari_seg3d.editing.change import whole
from napari_seg3d.editing.versions import Version, list_versions, read_version, save_version, versions_beside
from napari_seg3d.errors import GeometryError, LabelError, Seg3dError
from napari_seg3d.inference import EngineName, PredictOptions
from napari_seg3d.viewer.correct_model import CorrectModel
from napari_seg3d.viewer.jobs import Job
from napari_seg3d.viewer.label_look import set_styles, style_of
from napari_seg3d.viewer.layers import at_time, native_of
from napari_seg3d.viewer.mask_part import MaskPart
from napari_seg3d.viewer.prediction_model import PredictionModel
from napari_seg3d.viewer.review_model import ReviewModel
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.viewer.stage import Picture
from napari_seg3d.viewer.undo import note_kept, tools_used
from napari_seg3d.volumes import Label, Volume

if TYPE_CHECKING:
    from napari import Viewer


class CorrectStart:
    """Puts predictions and versions into the mask of a `CorrectModel`; each is one level of undo.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    model : CorrectModel
        Whose mask it is, and who says what happened.
    prediction : PredictionModel
        Who keeps the networks warm.
    review : ReviewModel
        Where versions are kept of a mask that belongs to a case of its worklist.
    """

    def __init__(self, viewer: Viewer, model: CorrectModel, prediction: PredictionModel, review: ReviewModel) -> None:
        self._viewer, self._model, self._prediction, self._review = viewer, model, prediction, review

    # -- a prediction --------------------------------------------------------------------------------------------------------------

    def predict(self, models: Sequence[Path], options: PredictOptions, engine: EngineName, only_empty: bool) -> None:
        """Predict the image under the mask, and put what is found into the mask.

        Parameters
        ----------
        models : sequence of Path
            One model, or several that answer together.
        options, engine
            As for `PredictionModel.predict`.
        only_empty : bool
            Whether only background is filled; else the mask becomes the prediction. Locked labels stay in any case.
        """
        if self._model.scene.layer is None:
            self._model.new_mask()
        try:
            part = self._model.scene.shown()
            if part.image is None:
                raise Seg3dError("There is no image under the mask.", "Open the scan that the mask belongs to.")
            scan = at_time(layer_to_volume(part.image), part.time or 0)
        except Seg3dError as error:
            self._model.say(str(error), "error")
            return
        native = native_of(part.image)
        frame = native.placement.frame if native is not None else None

        def work(job: Job) -> tuple[NDArray[np.integer], dict[int, Label], list[Picture]]:
            predictor = self._prediction.predictor(models, engine)
            found = predictor.predict(scan, options, job.progress, job.is_cancelled)
            mask = found.labels
            if mask.data.shape[0] > 1:  # labels that overlap: in one mask the highest counts
                mask = mask.with_data(mask.data.max(axis=0, keepdims=True))
            maps = (
                []
                if found.uncertainty is None
                else [Picture.of(found.uncertainty, f"{part.layer.name} uncertainty", frame=frame)]
            )
            names = {**{value: Label(text) for value, text in predictor.stored_labels.items()}, **found.labels.labels}
            return np.asarray(Picture.of(mask, "prediction", frame=frame).layers[0][0]), names, maps

        def take(result: tuple[NDArray[np.integer], dict[int, Label], list[Picture]]) -> None:
            values, names, maps = result
            if not self._is_there(part):
                return
            if only_empty:
                values = np.where(part.mask == 0, values, part.mask)
            number = self._put(part, values, part.limits, "prediction")
            self._name(part.layer, names)
            for picture in maps if part.image in self._viewer.layers else ():
                self._stage_maps(part.image, picture)
            where = "empty voxels" if only_empty else "the mask"
            self._model.say(f"The prediction is in {where}: {number} voxels changed. Undo takes it back.")

        self._model.work_on("Predicting", work, take)

    # -- versions ------------------------------------------------------------------------------------------------------------------

    def versions(self) -> list[Version]:
        """Return the versions of the mask, the oldest first."""
        case, folder = self._case(), self._folder()
        if case is not None:
            return self._review.corrections_of(case)
        return [] if folder is None else list_versions(folder)

    @property
    def reviewer(self) -> str | None:
        """Who keeps versions of the mask, where it belongs to a case of the worklist that is open; else None."""
        return self._review.worklist.who if self._review.worklist is not None and self._case() is not None else None

    def keep(self, author: str, comment: str = "") -> None:
        """Keep the mask as it is now as a version: in the review that it belongs to, else beside its scan; never over either."""
        case, folder, layer = self._case(), self._folder(), self._model.scene.layer
        if case is not None and layer is not None:
            self._keep_in_review(case, layer)
            return
        if folder is None or layer is None:
            self._model.say("The mask and its scan come from no file: save one of them first.", "warning")
            return
        try:
            mask = layer_to_volume(layer, self._viewer.layers)
        except Seg3dError as error:
            self._model.say(str(error), "error")
            return
        mask = mask.with_data(mask.data.copy())  # whoever goes on painting does not paint into the file
        used = tools_used(layer)

        def kept(version: Version) -> None:
            note_kept(layer, used)
            self._model.say(f"Kept as {version.path.name} in {version.path.parent}.")

        self._model.work_on("Keeping a version", lambda _job: save_version(folder, mask, author, tuple(used), comment), kept)

    def go_back(self, version: Version) -> None:
        """Put a version into the mask; what was there is taken back by undo, and was not written over."""
        try:
            part = self._model.scene.shown()
        except Seg3dError as error:
            self._model.say(str(error), "error")
            return
        native = native_of(part.layer) or (native_of(part.image) if part.image is not None else None)
        frame = native.placement.frame if native is not None else None

        def work(_job: Job) -> tuple[NDArray[np.integer], Volume]:
            volume = read_version(version)
            return np.asarray(Picture.of(volume, "version", frame=frame).layers[0][0]), volume

        def take(result: tuple[NDArray[np.integer], Volume]) -> None:
            values, volume = result
            if self._is_there(part):
                self._put(part, values, Limits(), "version")
                self._name(part.layer, volume.labels)
                self._model.say(f"This is {version.path.name} of {version.author or 'somebody'} again. Undo takes it back.")

        self._model.work_on("Reading the version", work, take)

    # -- how -----------------------------------------------------------------------------------------------------------------------

    def _case(self) -> str | None:
        layer = self._model.scene.layer
        return None if layer is None else self._review.case_of(layer, self._model.scene.image)

    def _keep_in_review(self, case: str, layer: Labels) -> None:
        def kept() -> None:
            versions = self._review.corrections_of(case)
            if versions:
                self._model.say(f"Kept as {versions[-1].path.name} in {versions[-1].path.parent}.")
            else:
                self._model.say(f"Nothing was changed in the mask of {case} yet.")

        self._review.keep(case, layer, kept, lambda error: self._model.say(str(error), "error"))

    def _folder(self) -> Path | None:
        layer, image = self._model.scene.layer, self._model.scene.image
        for one in (layer, image):
            native = native_of(one) if one is not None else None
            if native is not None and native.source is not None:
                return versions_beside(native.source.path)
        return None

    def _is_there(self, part: MaskPart) -> bool:
        if part.layer in self._viewer.layers:
            return True
        self._model.say(f"{part.layer.name} was closed meanwhile.", "warning")
        return False

    def _put(self, part: MaskPart, values: NDArray[np.integer], limits: Limits, tool: str) -> int:
        mask = part.mask
        values = values.reshape(mask.shape) if values.size == mask.size and values.ndim != mask.ndim else values
        if values.shape != mask.shape:
            raise GeometryError(
                f"It has {values.shape} voxels, and the mask has {mask.shape}.",
                "Open the scan that it belongs to, with a new mask.",
            )
        span = np.iinfo(mask.dtype)
        if values.size and (int(values.max()) > span.max or int(values.min()) < span.min):
            raise LabelError(
                f"It has labels up to {int(values.max())}, and the numbers of the mask ({mask.dtype}) end at {span.max}.",
                "Convert the layer to a larger number type: right-click it, Convert data type.",
            )
        return self._model.put(part, Change(whole(mask), values.astype(mask.dtype, copy=False)), limits, tool)

    def _name(self, layer: Labels, names: Mapping[int, Label]) -> None:
        new = {value: replace(style_of(layer, value), name=label.name) for value, label in names.items() if value and label.name}
        unnamed = {value: style for value, style in new.items() if style_of(layer, value).name in ("", f"label {value}")}
        if unnamed:
            set_styles(layer, unnamed)

    def _stage_maps(self, image: Image, picture: Picture) -> None:
        selected = set(self._viewer.layers.selection)
        self._model.scene.add_maps(image, picture)
        self._viewer.layers.selection = selected
