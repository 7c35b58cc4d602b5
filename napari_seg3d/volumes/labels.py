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
    if data.dtype.kind not in "iuf":
        raise LabelError(f"{name} holds {data.dtype} values, which are no labels.", "Choose a mask with whole numbers.")
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise LabelError(f"{name} holds values that are not finite (NaN or infinity).", "Write it again with whole numbers.")
        fractional = data != np.rint(data)
        if fractional.any():
            example = data[fractional].flat[0]
            raise LabelError(
                f"{name} holds fractional values (such as {example:.4g}, {int(fractional.sum())} voxels), so it is no mask.",
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
    if data.dtype.kind == "f" and not (np.isfinite(volume).all() and (volume == np.rint(volume)).all()):
        return False
    named = bool(_MASK_WORDS.search(name.lower()))
    if volume.min() < 0 or volume.max() > np.iinfo(np.int64).max:
        return False
    if volume.max() == volume.min():
        return named or bool(volume.max() == 0 and data.dtype.kind != "f")
    # An image has thousands of values: look at a part first, so that a large scan is not sorted whole.
    if len(np.unique(volume[:: max(1, volume.shape[0] // 8)])) > _MOST_LABELS or len(np.unique(volume)) > _MOST_LABELS:
        return False
    if named and np.count_nonzero(volume) < _NEARLY_EMPTY * volume.size:
        return True  # single painted voxels have no neighbours
    return _share_of_like_neighbours(volume) > (_NAMED_SHARE if named else _UNNAMED_SHARE)


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
