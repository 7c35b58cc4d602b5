"""`CorrectSteps`: from one place worth a look to the next: slices with the label, labels, uncertain spots, differences."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.correct_model import CorrectModel
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.label_look import style_of
from napari_seg3d.viewer.review_model import ReviewModel

if TYPE_CHECKING:
    from napari import Viewer

#: How the maps of a prediction are named that say where it is not sure.
UNCERTAINTY = "uncertainty"
_SPOT_MM = 10.0  # two places nearer to each other are one spot
_MOST_SPOTS = 200
_SHARE_OF_HIGHEST = 0.1  # what is less uncertain is not worth a jump


class CorrectSteps:
    """Moves the views.

    Parameters
    ----------
    viewer : napari.Viewer
        The first view; the others follow it.
    model : CorrectModel
        Whose mask and label are looked for, and who says what was found.
    review : ReviewModel
        Whose comparison has the differences.
    """

    def __init__(self, viewer: Viewer, model: CorrectModel, review: ReviewModel) -> None:
        self._viewer, self._model, self._review = viewer, model, review
        self._spots: tuple[weakref.ref[Image], list[tuple[int, ...]]] | None = None
        self._at = -1
        self._job: Job | None = None

    @property
    def is_looking(self) -> bool:
        """Whether the uncertain spots are being looked for."""
        return self._job is not None

    def slice(self, model: ViewerModel, step: int) -> None:
        """Show the next slice that has the selected label, in the plane of a view; with step -1 the one before."""
        try:
            part = self._model.scene.shown(model)
            across, index = part.slice_of(model)
        except Seg3dError as error:
            self._model.say(str(error), "warning")
            return
        if across is None or index is None:
            return
        found = slice_with(part.mask, self._model.scene.label, across, index, step)
        if found is None:
            end = "after" if step > 0 else "before"
            self._model.say(f"{self._name()} is in no slice {end} this one.")
            return
        place = [0.0] * part.mask.ndim
        place[across] = float(found)
        dims = model.dims
        dims.set_point(dims.ndim - part.mask.ndim + across, part.position(place)[across - part.mask.ndim])

    def label(self, step: int) -> None:
        """Select the next label of the mask; with step -1 the one before."""
        values = [row.value for row in self._model.scene.labels.rows if row.voxels is None or row.voxels or row.style.name]
        if not values or self._model.scene.layer is None:
            self._model.say("The mask has no labels yet: paint one.")
            return
        above = [value for value in values if (value - self._model.scene.label) * step > 0]
        chosen = (min(above) if step > 0 else max(above)) if above else (min(values) if step > 0 else max(values))
        self._model.scene.labels.select(chosen)
        self._model.say(f"{self._name()} is selected.")

    def uncertain(self, step: int) -> None:
        """Go to the next spot that the prediction was not sure of, the most uncertain first; with step -1 to the one before."""
        image = self._uncertainty()
        if image is None:
            self._model.say("There is no map of uncertainty: predict with More choices, Show: uncertainty.", "warning")
            return
        if self._spots is not None and self._spots[0]() is image:
            self._go_to_spot(image, step)
            return
        if self._job is not None:
            return
        data, spacing = np.asarray(image.data), tuple(abs(float(side)) for side in image.scale)

        def returned(spots: list[tuple[int, ...]]) -> None:
            self._spots, self._at = (weakref.ref(image), spots), -1
            self._go_to_spot(image, step)

        def ended() -> None:
            self._job = None

        self._job = start_job(
            lambda _job: spots_of(data, spacing),
            returned=returned,
            failed=lambda error: self._model.say(str(error), "error"),
            ended=ended,
        )

    def difference(self, step: int) -> None:
        """Go to the next smaller piece in which the two masks of the Review dock differ; with step -1 to the next larger one."""
        comparison = self._review.comparison
        if not comparison.is_on:
            self._model.say("No masks are compared: press Compare in the Review dock.", "warning")
            return
        comparison.jump(step)

    def _go_to_spot(self, image: Image, step: int) -> None:
        assert self._spots is not None
        spots = self._spots[1]
        if not spots:
            self._model.say("The prediction was sure everywhere.")
            return
        self._at = (self._at + step) % len(spots) if self._at >= 0 else (0 if step > 0 else len(spots) - 1)
        go_to(self._viewer, image.data_to_world(spots[self._at]))
        value = float(np.asarray(image.data)[spots[self._at]])
        self._model.say(f"Uncertain spot {self._at + 1} of {len(spots)} ({value:.2f}).")

    def _uncertainty(self) -> Image | None:
        layer = self._model.scene.layer
        found = [
            one
            for one in reversed(self._viewer.layers)
            if isinstance(one, Image) and one.name.endswith(UNCERTAINTY) and not one.multiscale
        ]
        return next((one for one in found if layer is None or one.data.shape == layer.data.shape), None)

    def _name(self) -> str:
        layer = self._model.scene.layer
        name = style_of(layer, self._model.scene.label).name if layer is not None else ""
        return name or f"Label {self._model.scene.label}"


def slice_with(mask: NDArray[np.integer], label: int, across: int, index: int, step: int) -> int | None:
    """Return the nearest slice after `index` (with a negative step, before it) that has a label; None where there is none."""
    stop = mask.shape[across] if step > 0 else -1
    for at in range(index + step, stop, step):
        if (mask[(slice(None),) * across + (at,)] == label).any():
            return at
    return None


def spots_of(uncertainty: NDArray[np.floating], spacing: tuple[float, ...]) -> list[tuple[int, ...]]:
    """Return the voxels that are the most uncertain within some millimetres, from the most uncertain on.

    Looked at is one voxel of each block of 10 mm, so that a large map takes one pass.

    Parameters
    ----------
    uncertainty : array
        In any number of axes.
    spacing : tuple of float
        The mm of each axis.
    """
    from scipy import ndimage

    steps = [max(1, round(_SPOT_MM / side)) if side > 0 else 1 for side in spacing]
    blocks = tuple(-(-size // step) for size, step in zip(uncertainty.shape, steps, strict=True))
    highest = np.zeros(blocks, np.float64)
    where = np.zeros(blocks, np.int64)
    for block in np.ndindex(blocks):
        box = tuple(slice(at * step, (at + 1) * step) for at, step in zip(block, steps, strict=True))
        values = np.nan_to_num(uncertainty[box])
        best = int(values.argmax())
        inside = np.unravel_index(best, values.shape)
        highest[block] = values[inside]
        where[block] = np.ravel_multi_index(
            tuple(int(at) + side.start for at, side in zip(inside, box, strict=True)), uncertainty.shape
        )
    peaks = (highest == ndimage.maximum_filter(highest, size=3)) & (highest > highest.max(initial=0.0) * _SHARE_OF_HIGHEST)
    order = np.argsort(-highest[peaks], kind="stable")[:_MOST_SPOTS]
    return [tuple(int(at) for at in np.unravel_index(place, uncertainty.shape)) for place in where[peaks][order]]


def go_to(viewer: ViewerModel, place: tuple[float, ...]) -> None:
    """Show a place of the display, in the middle of the view."""
    dims, camera = viewer.dims, viewer.scene.camera
    dims.set_point(range(dims.ndim - len(place), dims.ndim), place)
    shown = [dims.point[axis] for axis in dims.displayed]
    camera.center = (*camera.center[: 3 - len(shown)], *shown)
