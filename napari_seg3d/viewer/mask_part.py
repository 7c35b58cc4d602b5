"""`MaskPart`: what tools see of a mask layer: two or three axes, the image under it, spacing, limits; and the slice that a view shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_seg3d.editing import Change, Limits
from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.label_locks import limits_of
from napari_seg3d.viewer.layers import native_of

_MOST_AXES = 3
_FOUR_DIGITS = 999.5  # from here on


@dataclass(frozen=True)
class MaskPart:
    """A mask, of a time series the one at one time, as tools of `editing` take it.

    Parameters
    ----------
    layer : Labels
        The mask; 2D, 3D, or 4D with the time in front.
    image : Image or None
        The image under it, of the same shape.
    time : int or None
        Which time of a series.
    """

    layer: Labels
    image: Image | None
    time: int | None = None

    @classmethod
    def shown(cls, layer: Labels, image: Image | None, model: ViewerModel) -> MaskPart:
        """Return what a view shows of a mask.

        Raises
        ------
        Seg3dError
            The mask lies on the disk, or has more axes than tools know.
        """
        if not isinstance(layer.data, np.ndarray):
            raise Seg3dError(
                f"The mask {layer.name} lies on the disk and cannot be edited.",
                "Duplicate it into memory: right-click the layer, Duplicate.",
            )
        if not 2 <= layer.ndim <= _MOST_AXES + 1:
            raise Seg3dError(f"The mask {layer.name} has {layer.ndim} axes.", "Choose one with two, three, or three and time.")
        if layer.ndim <= _MOST_AXES:
            return cls(layer, image)
        at = round(layer.world_to_data(model.dims.point[-layer.ndim :])[0])
        return cls(layer, image, min(max(at, 0), layer.data.shape[0] - 1))

    @property
    def mask(self) -> NDArray[np.integer]:
        """The voxels; a view, not a copy."""
        data: NDArray[np.integer] = self.layer.data
        return data if self.time is None else data[self.time]

    @property
    def voxels(self) -> NDArray[np.integer | np.floating] | None:
        """Those of the image; read from the disk where it lies there."""
        if self.image is None:
            return None
        data = self.image.data[0] if self.image.multiscale else self.image.data
        return np.asarray(self._of_time(data))

    @property
    def spacing(self) -> tuple[float, ...]:
        """The mm of each axis."""
        return tuple(abs(float(step)) for step in self.layer.scale[-self.mask.ndim :])

    @property
    def limits(self) -> Limits:
        """What may be touched."""
        limits = limits_of(self.layer)
        if self.time is None or limits.image is None:
            return limits
        return replace(limits, image=self._of_time(limits.image))

    @property
    def volume(self) -> tuple[float, str]:
        """How large a voxel is, and the unit of that: ml, or cm² for a mask of one slice."""
        edges = [step for step, side in zip(self.spacing, self.mask.shape, strict=True) if side > 1]
        return (float(np.prod(self.spacing)) / 1000, "ml") if len(edges) == _MOST_AXES else (float(np.prod(edges)) / 100, "cm²")

    @property
    def affine(self) -> NDArray[np.float64]:
        """4x4 matrix from voxels of `mask` to RAS+ mm; of three axes."""
        native = native_of(self.layer) or (native_of(self.image) if self.image is not None else None)
        affine = np.eye(4) if native is None else native.placement.frame.to_patient.copy()
        display = np.eye(4)  # voxels run along z, y and x, the display along x, y and z
        display[:3, :3] = np.diag(self.layer.scale[-3:])[::-1]
        display[:3, 3] = self.layer.translate[-3:][::-1]
        return np.asarray(affine @ display)

    def size_of(self, voxels: int) -> str:
        """Return how large so many voxels are, as a person writes it: ``27.7 ml``; number and unit stay on one line."""
        size, unit = self.volume
        amount = voxels * size
        number = f"{amount:.3g}" if amount < _FOUR_DIGITS else f"{amount:,.0f}".replace(",", "\u202f")
        return f"{number}\u00a0{unit}"

    def place(self, position: Sequence[float]) -> tuple[float, ...]:
        """Return a place of the display in voxels of `mask`; it may lie outside."""
        found = self.layer.world_to_data(tuple(position)[-self.layer.ndim :])
        return tuple(float(at) for at in found[-self.mask.ndim :])

    def position(self, place: Sequence[float]) -> tuple[float, ...]:
        """Return where in the display a voxel of `mask` lies, along the axes of `layer`."""
        before = () if self.time is None else (float(self.time),)
        return tuple(float(at) for at in self.layer.data_to_world((*before, *place)))

    def slice_of(self, model: ViewerModel) -> tuple[int | None, int | None]:
        """Return the slice that a view shows: the axis across it, and its number; None and None of a mask in two dimensions.

        Raises
        ------
        Seg3dError
            The view shows no slice, or none of the mask.
        """
        if self.mask.ndim < _MOST_AXES:
            return None, None
        extra = model.dims.ndim - self.mask.ndim
        shown = [axis - extra for axis in model.dims.displayed]
        across = [axis for axis in range(self.mask.ndim) if axis not in shown]
        if model.dims.ndisplay != 2 or len(across) != 1 or min(shown) < 0:
            raise Seg3dError("No slice is shown in this view.", "Switch to 2D, or use the axial, coronal or sagittal view.")
        index = round(self.place(model.dims.point)[across[0]])
        if not 0 <= index < self.mask.shape[across[0]]:
            raise Seg3dError("The slice that is shown lies outside of the mask.", "Scroll to a slice of the mask.")
        return across[0], index

    def in_layer(self, change: Change) -> Change:
        """Return a change of `mask` as one of the layer's array."""
        if self.time is None:
            return change
        size = 1 if change.values.size else 0
        return Change((slice(self.time, self.time + size), *change.box), change.values[None][:size])

    def _of_time(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        return array if self.time is None else array[self.time]


def images_under(layer: Labels, layers: Sequence[object]) -> list[Image]:
    """Return the images that lie under a mask voxel by voxel, the next one below it first, hidden ones last."""
    layers = list(layers)
    at = layers.index(layer) if layer in layers else 0
    found = [one for one in (*reversed(layers[:at]), *layers[at + 1 :]) if _lies_under(one, layer)]
    return sorted(found, key=lambda image: not image.visible)


def masks_beside(layer: Labels, layers: Sequence[object]) -> list[Labels]:
    """Return the other masks of the same shape, whose labels tools can look at."""
    return [
        one
        for one in layers
        if isinstance(one, Labels)
        and one is not layer
        and isinstance(one.data, np.ndarray)
        and one.data.shape == layer.data.shape
    ]


def _lies_under(one: object, mask: Labels) -> bool:
    if not isinstance(one, Image) or one.rgb:
        return False
    data = one.data[0] if one.multiscale else one.data
    if tuple(data.shape) != tuple(mask.data.shape):
        return False
    tolerance = 1e-3 * float(np.abs(mask.scale).min())
    return bool(np.allclose(one.scale, mask.scale, atol=tolerance) and np.allclose(one.translate, mask.translate, atol=tolerance))
