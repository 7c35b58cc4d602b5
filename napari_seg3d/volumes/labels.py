"""What counts as a mask: whole numbers, kept in the smallest integer type that holds them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import LabelError

_INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)
_MASK_WORDS = re.compile(
    r"(^|[^a-z])(mask|masks|seg|segs|segmentation|segmentations|label|labels|labelmap|gt|groundtruth|annotation|lesion_seg|labelstr|labelsts)([^a-z]|$)"
)
_MOST_LABELS = 256
# So many voxels tell a mask from an image; looking at all of a large volume would take longer than reading it.
_SAMPLED_VOXELS = 1_000_000
# So few are enough to see that most images have negative values, or more values than a mask can.
_GLANCED_VOXELS = 10_000
# How many labelled voxels must have a like neighbour. Measured: images 0.03 to 0.10, masks 0.65 (grey matter in nine thick
# slices) to 0.99.
_UNNAMED_SHARE, _NAMED_SHARE = 0.6, 0.25
# No scan of tissue leaves so many of its voxels at 0.
_NEARLY_EMPTY = 0.05


def smallest_integer(minimum: int, maximum: int) -> np.dtype[np.integer]:
    """Return the smallest integer type that holds `minimum` to `maximum`, unsigned first."""
    for candidate in _INTEGERS:
        info = np.iinfo(candidate)
        if info.min <= minimum and maximum <= info.max:
            return np.dtype(candidate)
    raise LabelError(f"Label values from {minimum:.4g} to {maximum:.4g} do not fit 64 bits.", "Renumber the labels.")


def as_labels(data: NDArray[np.generic], name: str = "The mask") -> NDArray[np.integer]:
    """Return `data` as integers of the smallest type that holds them.

    NIfTI and MAT writers often store masks as floating point: whole numbers are taken, anything else is refused, because
    rounding would invent a boundary that nobody drew.

    Parameters
    ----------
    data : array
        Any shape and any number type.
    name : str
        What to call it in an error, such as the path of its file.

    Raises
    ------
    LabelError
        A value is fractional, not finite, or not a number at all.
    """
    if data.dtype == np.bool_:
        return data.astype(np.uint8)
    if data.size == 0:
        raise LabelError(f"{name} holds no voxels.", "Choose another file.")
    if data.dtype == np.uint8:
        return data.astype(np.uint8, copy=False)
    if data.dtype.kind not in "iuf":
        raise LabelError(f"{name} holds {data.dtype} values, which are no labels.", "Choose a mask with whole numbers.")
    if data.dtype.kind == "f":
        broken = [slab[slab != np.rint(slab)] for slab in _slabs(data)]  # NaN differs from itself
        if any(not np.isfinite(slab).all() for slab in _slabs(data)):
            raise LabelError(f"{name} holds values that are not finite (NaN or infinity).", "Write it again with whole numbers.")
        fractional = np.concatenate(broken)
        if fractional.size:
            raise LabelError(
                f"{name} holds fractional values (such as {fractional[0]:.4g}, {fractional.size} voxels), so it is no mask.",
                "If it is a probability map, threshold it; if it was resampled, do that again with nearest neighbour.",
            )
    try:
        smallest = smallest_integer(int(data.min()), int(data.max()))
    except LabelError as error:
        raise LabelError(f"{name}: {error.what}", error.fix) from error
    return data.astype(smallest, copy=False)


def looks_like_labels(data: NDArray[np.generic], name: str = "") -> bool:
    """Return whether an array read from a file called `name` is more likely a mask than an image.

    The numbers decide: whole, not negative, and few different ones that lie in patches (most labelled voxels have a neighbour
    of the same value; in an image of tissue they do not). A name such as ``liver_seg`` or a folder such as ``labelsTr`` lowers
    the bar, for masks so thin or so empty that they cannot show it.
    """
    if data.ndim != 4 or data.shape[0] != 1 or data.dtype.kind not in "biuf" or data.size == 0:
        return False
    volume = data[0]
    sample = _sample(volume)
    glance = sample.flat[:: max(1, sample.size // _GLANCED_VOXELS)]
    if glance.min() < 0 or len(np.unique(glance)) > _MOST_LABELS:
        return False  # most images are told so, which keeps opening them as fast as decoding them
    if data.dtype.kind == "f" and not (np.isfinite(sample).all() and (sample == np.rint(sample)).all()):
        return False
    if len(np.unique(sample)) > _MOST_LABELS:
        return False
    low, high = volume.min(), volume.max()
    if not (low >= 0 and high <= np.iinfo(np.int64).max):
        return False
    named = bool(_MASK_WORDS.search(name.lower()))
    if low == high:
        return named or bool(high == 0 and data.dtype.kind != "f")
    if not sample.any():
        sample = volume  # so few voxels are marked that all of it must be looked at
    if data.dtype.kind == "f" and any((slab != np.rint(slab)).any() for slab in _slabs(volume)):
        return False
    if named and np.count_nonzero(volume) < _NEARLY_EMPTY * volume.size:
        return True  # single painted voxels have no neighbours
    return _share_of_like_neighbours(sample) > (_NAMED_SHARE if named else _UNNAMED_SHARE)


def _sample(volume: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the whole of a small volume ``(I, J, K)``, and pairs of neighbouring slices all along a large one."""
    if volume.size <= _SAMPLED_VOXELS:
        return volume
    # A single slice has no neighbours; the axis of a radiograph that is one voxel long may have the longest stride.
    axis = max((axis for axis in range(3) if volume.shape[axis] > 1), key=lambda axis: abs(volume.strides[axis]))
    slices = np.moveaxis(volume, axis, 0)
    pairs = max(4, _SAMPLED_VOXELS // (2 * slices[0].size))
    first = np.unique(np.linspace(0, len(slices) - 2, pairs).astype(int))
    sample: NDArray[np.generic] = slices[np.unique([first, first + 1])]
    return sample


def _slabs(data: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """Return views of parts of `data` that lie together in memory, so that looking at them takes little of it."""
    axis = int(np.argmax(np.abs(data.strides)))
    return np.array_split(data, min(data.shape[axis], max(1, data.size // _SAMPLED_VOXELS)), axis)


def _share_of_like_neighbours(volume: NDArray[np.generic]) -> float:
    shares = []
    for axis in range(3):
        if volume.shape[axis] < 2:
            continue
        first = np.moveaxis(volume, axis, 0)[:-1]
        second = np.moveaxis(volume, axis, 0)[1:]
        labelled = first != 0
        if labelled.any():
            shares.append(float((first == second)[labelled].mean()))
    return max(shares, default=1.0)
