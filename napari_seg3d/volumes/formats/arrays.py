"""Arrays of numbers without a word about what their axes are: which one is meant, and how it becomes a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError, WriteError
from napari_seg3d.volumes.formats import unplaced
from napari_seg3d.volumes.grid import FloatArray
from napari_seg3d.volumes.labels import smallest_integer
from napari_seg3d.volumes.volume import Label, Volume

#: The name under which masks are stored with a channel for each label: height x width x labels, each 0 or 1.
SEPARATED = "label_separated"
#: How a library counts: numpy from the slowest axis (slices, rows, columns), MATLAB from the rows (rows, columns, slices).
Order = Literal["numpy", "matlab"]

_PREFERRED = (SEPARATED, "image", "img", "volume", "vol", "scan", "data", "labels", "label", "mask", "seg", "segmentation")
_MOST_CHANNELS = 16
_MOST_SEPARATED = 255
_MEANING = {"x": "columns", "y": "rows", "z": "slices", "c": "channels"}


@dataclass(frozen=True)
class Stored:
    """One array in a file, before it is read."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.name} ({'x'.join(map(str, self.shape))})"


def choose(path: Path, found: Sequence[Stored], wanted: str | None) -> tuple[Stored, tuple[str, ...]]:
    """Return the array to read, by name or by shape, and a note that says which it was where there are several.

    Raises
    ------
    ReadError
        None is called `wanted`, or none could be a scan.
    """
    names = ", ".join(str(one) for one in found) or "nothing"
    if wanted is not None:
        named = [one for one in found if one.name == wanted] or [one for one in found if one.name.lower() == wanted.lower()]
        if not named:
            raise ReadError(f"{path} holds no array {wanted}; it holds {names}.", "Choose one of these.")
        return named[0], ()
    usable = [one for one in found if one.dtype.kind in "biuf" and sum(n > 1 for n in one.shape) >= 2]
    if not usable:
        raise ReadError(f"{path} holds no array that could be a scan; it holds {names}.", "Export the scan itself into it.")
    preferred = [one for name in _PREFERRED for one in usable if one.name.lower() == name]
    chosen = preferred[0] if preferred else max(usable, key=lambda one: math.prod(one.shape))
    others = ", ".join(str(one) for one in usable if one is not chosen)
    said = f"The array {chosen} was read" + (
        f", by its {'name' if preferred else 'size'}; others are {others}." if others else "."
    )
    return chosen, (said,)


def to_volume(
    path: Path,
    format_name: str,
    array: NDArray[np.generic],
    order: Order,
    *,
    name: str = "",
    notes: tuple[str, ...] = (),
    affine: FloatArray | None = None,
) -> Volume:
    """Return the volume that an array is.

    Its axes are those of its library (`Order`). The last one counts channels where it is short and the others are long, and in
    MATLAB where it is the fourth. Channels that hold nothing but 0 and 1, and everything called :data:`SEPARATED`, are labels
    that may overlap.

    Parameters
    ----------
    path, format_name : Path, str
        Where it came from.
    array : array
        Two to four axes longer than one.
    order : {"numpy", "matlab"}
        How the axes are counted.
    name : str
        What it is called in its file.
    notes : tuple of str
        What was said about it so far.
    affine : array of shape (4, 4), optional
        Where it lies, if the file says so: column, row and slice, counted from 0, to RAS+ millimetres.
    """
    is_separated = name.lower() == SEPARATED
    axes = _axes(path, array.shape, order, is_separated)
    meaning = " x ".join(_MEANING[axis] for axis in axes)
    notes += (f"Its axes were read as {meaning} ({'x'.join(map(str, array.shape))}).",)
    pages = np.transpose(array, [axes.index(axis) for axis in "czyx" if axis in axes])
    if "z" not in axes:
        pages = np.expand_dims(pages, -3)
    if "c" not in axes:
        pages = pages[np.newaxis]
    labels: dict[int, Label] = {}
    is_separated |= axes.endswith("c") and axes.startswith("yx") and "z" not in axes and _is_binary(pages)
    if is_separated:
        pages, labels, more = _separate(pages)
        notes += more
    kind: Literal["labels", "image"] = "labels" if is_separated else "image"
    volume = unplaced.volume(path, format_name, pages, kind=kind, notes=notes, labels=labels)
    if affine is None:
        return volume
    return Volume(volume.data, affine, kind, volume.source, notes, labels)


def separated(path: Path, volume: Volume) -> NDArray[np.bool_]:
    """Return the labels of a mask of one slice as ``(rows, columns, labels)``: channel c is label c + 1.

    Raises
    ------
    WriteError
        The label values are not the small positive numbers that channels can stand for.
    """
    flat = volume.data[:, :, :, 0]
    if flat.shape[0] > 1:
        return np.transpose(np.asarray(flat, bool), (2, 1, 0))
    low, high = int(flat.min()), max(int(flat.max()), *volume.labels.keys(), 1)
    if low < 0 or high > _MOST_SEPARATED:
        raise WriteError(
            f"{path} would need a channel for each label, and the labels go from {low} to {high}.",
            "Renumber them from 1, or save as .nii.gz or .png.",
        )
    return np.stack([value == flat[0].T for value in range(1, high + 1)], axis=-1)


def _axes(path: Path, shape: tuple[int, ...], order: Order, is_separated: bool) -> str:
    """Return what each axis is, by its letter."""
    if len(shape) == 2:
        return "yx"
    short_last = shape[-1] <= _MOST_CHANNELS and min(shape[:-1]) >= max(32, 4 * shape[-1])
    if len(shape) == 3:
        if is_separated or short_last:
            return "yxc"
        return "yxz" if order == "matlab" else "zyx"
    if len(shape) == 4:
        if order == "matlab":
            return "yxzc"
        return "zyxc" if is_separated or short_last else "czyx"
    raise ReadError(f"{path} holds an array of {len(shape)} axes.", "Export volumes of two to four axes.")


def _is_binary(pages: NDArray[np.generic]) -> bool:
    return pages.dtype.kind == "b" or bool(((pages == 0) | (pages == 1)).all())


def _separate(pages: NDArray[np.generic]) -> tuple[NDArray[np.generic], dict[int, Label], tuple[str, ...]]:
    """Return channels that hold 0 and c + 1, with notes about what was not clear."""
    painted = np.greater(pages, 0.5)
    values = np.arange(1, len(pages) + 1, dtype=smallest_integer(0, len(pages))).reshape(-1, 1, 1, 1)
    notes: tuple[str, ...] = (f"Each of the {len(pages)} channels was read as a label of its own; they may overlap.",)
    if not _is_binary(pages):
        odd = int(((pages != 0) & (pages != 1)).sum())
        notes += (
            f"{odd} values are neither 0 nor 1 (from {np.nanmin(pages):.3g} to {np.nanmax(pages):.3g}): "
            "all above 0.5 was read as the label.",
        )
    labels = {}
    counts = painted.sum(axis=0, dtype=values.dtype) if len(pages) > 1 else np.zeros(1)
    if (counts > 0).all():
        # Where no two labels overlap, each is exactly where no other is: the background is the largest of them.
        alone = [channel for channel in range(len(pages)) if (counts[painted[channel]] == 1).all() and painted[channel].any()]
        background = max(alone, key=lambda channel: np.count_nonzero(painted[channel]), default=None)
        if background is not None:
            labels[background + 1] = Label("background")
            notes += (f"Label {background + 1} is where no other is, and all are everywhere: it was named background.",)
    return np.where(painted, values, 0).astype(values.dtype), labels, notes
