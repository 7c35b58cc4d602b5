"""One mask out of what its files hold: a label map, a channel for each label, or a file for each label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.dataset import MaskPart
from napari_seg3d.datasets.placing import place_mask
from napari_seg3d.errors import GeometryError, LabelError
from napari_seg3d.volumes import Label, Volume, read_volume, smallest_integer

_Layer = tuple[int, NDArray[np.bool_]]  # a label value, and where it is


def read_mask(path: Path, merged: Mapping[int, int] | None = None, overlapping: bool = False) -> Volume:
    """Return the mask in a file, on its own grid.

    Labels with a channel each (``label_separated``, DICOM SEG) become one label map where no two of them overlap. A channel that
    is called background, as that of ``label_separated`` files which is exactly where no other is, is no label.

    Parameters
    ----------
    path : Path
        A file or a DICOM folder.
    merged : mapping of int to int, optional
        Value in the file -> the value that it counts as; 0 is background. Each value is looked up once.
    overlapping : bool
        Whether labels that overlap come as channels ``(C, I, J, K)``, of which channel c holds 0 and c + 1, instead of being
        refused.

    Raises
    ------
    ReadError
        The file cannot be read.
    LabelError
        Its values are no labels, it holds several volumes that are no labels of one mask, or labels that overlap.
    """
    mask = read_volume(path, "labels")
    count = mask.data.shape[0]
    if count == 1:
        return replace(mask, data=_renumbered(mask.data, merged or {}), labels=_names(mask, merged or {}))
    if mask.fourth != "channel" or any(int(mask.data[channel].max()) not in (0, channel + 1) for channel in range(count)):
        raise LabelError(
            f"{path.name} holds {count} volumes, not one mask.", "Join them to one mask with a value for each label."
        )
    background = next((value for value, label in mask.labels.items() if label.name.lower() == "background"), None)

    def layers() -> Iterator[_Layer]:
        for channel in range(count):
            if channel + 1 != background:
                yield channel + 1, mask.data[channel] != 0

    mask = replace(mask, labels={value: label for value, label in mask.labels.items() if value != background})
    data = _joined(
        layers, mask.data.shape[1:], range(1, count + 1), merged or {}, overlapping, lambda value: _called(mask, value), path.name
    )
    return replace(mask, data=data, labels=_names(mask, merged or {}))


def read_parts(parts: Sequence[MaskPart], merged: Mapping[int, int] | None = None, overlapping: bool = False) -> Volume:
    """Return the mask whose labels lie in a file each, on the grid of the first of them.

    Parameters
    ----------
    parts : sequence of MaskPart
        At least one. What is not 0 in its file is its label.
    merged, overlapping
        As for :func:`read_mask`.

    Raises
    ------
    ReadError
        A file cannot be read.
    LabelError
        A file holds no mask, or two labels overlap.
    GeometryError
        The parts lie on different grids.
    """
    first = read_mask(parts[0].path)

    def layers() -> Iterator[_Layer]:
        for part in parts:  # one at a time: a hundred organs of a whole body do not fit into memory
            volume = first if part is parts[0] else read_mask(part.path)
            try:
                yield part.value, place_mask(volume, first).data[0] != 0
            except GeometryError as error:
                raise GeometryError(
                    error.what, f"All masks of a case must lie on the grid of {parts[0].path.name}: resample the others."
                ) from error

    files = {part.value: part.path.name for part in parts}
    data = _joined(layers, first.data.shape[1:], files, merged or {}, overlapping, files.__getitem__, str(parts[0].path.parent))
    return replace(first, data=data, labels={})


def _joined(
    layers: Callable[[], Iterable[_Layer]],
    shape: tuple[int, ...],
    values: Iterable[int],
    merged: Mapping[int, int],
    overlapping: bool,
    name: Callable[[int], str],
    where: str,
) -> NDArray[np.integer]:
    """Return one label map ``(1, I, J, K)`` or, where labels overlap and may do so, channels ``(C, I, J, K)``."""
    highest = max(1, *(merged.get(value, value) for value in values))
    dtype = smallest_integer(0, highest)
    joined = np.zeros(shape, dtype)
    drawn: dict[int, int] = {}  # value that counts -> value in the files, which has the name
    for value, marked in layers():
        counts_as = merged.get(value, value)
        both = marked & (joined != 0) & (joined != counts_as)
        if both.any() and overlapping:
            return _channels(layers(), shape, highest, merged)
        if both.any():
            other = int(joined[both][0])
            raise LabelError(
                f"{where}: the labels {name(drawn.get(other, other))} and {name(value)} overlap in {int(both.sum())} voxels.",
                "Correct the masks; or train with Labels set to overlapping, which learns each label by itself.",
            )
        joined[marked] = counts_as
        drawn.setdefault(counts_as, value)
    return joined[np.newaxis]


def _channels(layers: Iterable[_Layer], shape: tuple[int, ...], highest: int, merged: Mapping[int, int]) -> NDArray[np.integer]:
    channels = np.zeros((highest, *shape), smallest_integer(0, highest))
    for value, marked in layers:
        counts_as = merged.get(value, value)
        if counts_as:
            channels[counts_as - 1][marked] = counts_as
    return channels


def _renumbered(data: NDArray[np.generic], merged: Mapping[int, int]) -> NDArray[np.generic]:
    wanted = {value: other for value, other in merged.items() if value != other}
    if not wanted:
        return data
    renumbered = data.astype(np.promote_types(data.dtype, smallest_integer(0, max(wanted.values()))))
    for value, other in wanted.items():
        renumbered[data == value] = other
    return renumbered


def _names(mask: Volume, merged: Mapping[int, int]) -> dict[int, Label]:
    return {value: label for value, label in mask.labels.items() if merged.get(value, value) == value}


def _called(mask: Volume, value: int) -> str:
    name = mask.labels[value].name if value in mask.labels else ""
    return f"{value} ({name})" if name else str(value)
