"""`postprocessed`: rules carried out on a mask, label by label in its box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled
from napari_seg3d.inference.postprocess.rules import Holes, Rule, Rules
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.volumes import Box, Volume

#: Voxels that share a face, an edge or a corner belong to one piece.
TOUCHING = np.ones((3, 3, 3), dtype=bool)
# Whoever says 0.5 ml means pieces of 0.5 ml to stay, whatever the last digit of a spacing is.
_HAIR = 1e-9
# Beyond these values a table of boxes by value would be larger than the mask.
_MOST_IN_TABLE = 1 << 16


def postprocessed(labels: Volume, rules: Rules, cancelled: Callable[[], bool] | None = None) -> tuple[Volume, list[str]]:
    """Return a mask after its rules, and what they changed.

    First the gaps of all labels are closed, then the pieces of all are dropped, then the holes of all are filled; labels come by rising
    value. Closing and filling take background only, so that no label loses a voxel to another; where two labels overlap, the background of
    one is what it does not hold itself.

    Parameters
    ----------
    labels : Volume
        A label map ``(1, I, J, K)``, or ``(C, I, J, K)`` with 0 and c + 1 in channel c, in any voxel order. It is not changed.
    rules : Rules
        What happens to which label.
    cancelled : callable, optional
        Asked before each step.

    Returns
    -------
    Volume
        On the same grid, with the same number type.
    list of str
        A sentence for each label that was changed, for people.

    Raises
    ------
    Cancelled
        `cancelled` returned True.
    """
    if rules.is_empty:
        return labels, []
    result = labels.with_data(labels.data.copy())
    # Along R, A and S, so that the result does not depend on the voxel order; a view, in which the voxels of the result change.
    seen = result.canonical()
    parts = [
        _Part(value, channel[box], rules.of(value), seen)
        for channel in seen.data
        for value, box in sorted(boxes_of(channel).items())
        if not rules.of(value).is_empty
    ]
    for step in (_Part.close, _Part.drop, _Part.fill):
        for part in parts:
            if cancelled is not None and cancelled():
                raise Cancelled("The post-processing was cancelled.")
            step(part)
    return result, [f"{part.name}: {part.told}." for part in parts if part.told]


def boxes_of(channel: NDArray[np.generic]) -> dict[int, Box]:
    """Return the box of each value above 0 in an array ``(I, J, K)``."""
    from scipy import ndimage

    if int(channel.max(initial=0)) < _MOST_IN_TABLE:
        found = ndimage.find_objects(channel)
        return {value: box for value, box in enumerate(found, start=1) if box is not None}
    values, numbers = np.unique(channel, return_inverse=True)
    boxes = ndimage.find_objects(numbers.reshape(channel.shape) + 1)
    return {int(value): box for value, box in zip(values, boxes, strict=True) if value > 0}


@dataclass
class _Part:
    """One label in its box; what is done to it is told in `done`."""

    value: int
    data: NDArray[np.generic]  # a view of the result: nothing else of the mask is looked at, or changed
    rule: Rule
    mask: Volume
    done: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        label = self.mask.labels.get(self.value)
        return label.name if label is not None and label.name else f"label {self.value}"

    @property
    def told(self) -> str:
        return ", ".join(self.done)

    def close(self) -> None:
        """Close the gaps; nothing reaches beyond the box, because the closing of a shape has its own box."""
        if self.rule.closing_mm is None:
            return
        spacing = self.mask.spacing
        if self.rule.closing_mm < min(spacing):
            self.done.append(f"no gap is narrower than {self.rule.closing_mm:g} mm, because no side of a voxel is")
            return
        gaps = closed(self.data == self.value, self.rule.closing_mm, spacing) & (self.data == 0)
        self._take(gaps, "in gaps closed")

    def drop(self) -> None:
        """Drop the pieces that are too small, or all but the largest."""
        least = self._least()
        if least <= 1 and not self.rule.largest:
            return
        pieces, sizes = pieces_of(self.data == self.value)
        stays = kept(sizes, least, self.rule.largest)
        if stays.all():
            return
        self.data[(pieces > 0) & ~np.concatenate([[True], stays])[pieces]] = 0
        count, voxels = int((~stays).sum()), int(sizes[~stays].sum())
        pieces_said = "1 piece" if count == 1 else f"{count} pieces"
        self.done.append(f"{pieces_said} dropped ({self._millilitres(voxels)}){'' if stays.any() else ', and nothing is left'}")

    def fill(self) -> None:
        """Fill the holes."""
        if self.rule.holes != "no":
            flat = [axis for axis, voxels in enumerate(self.mask.grid.shape) if voxels == 1]
            self._take(holes_in(self.data, self.value, self.rule.holes, flat), "in holes filled")

    def _take(self, where: NDArray[np.bool_], how: str) -> None:
        if voxels := int(np.count_nonzero(where)):
            self.data[where] = self.value
            self.done.append(f"{self._millilitres(voxels)} {how}")

    def _least(self) -> float:
        return least_voxels(self.rule, self.mask.grid.voxel_volume)

    def _millilitres(self, voxels: int) -> str:
        return f"{voxels * self.mask.grid.voxel_volume / 1000:.3g} ml"


def least_voxels(rule: Rule, voxel_volume: float) -> float:
    """Return how many voxels, of `voxel_volume` in mm³, a piece needs to stay."""
    if rule.smallest_ml is not None:
        return rule.smallest_ml * 1000 / voxel_volume * (1 - _HAIR)
    return rule.smallest_voxels or 0


def pieces_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the number of the piece that each voxel belongs to (0 for none), and the voxels of piece 1, 2, …."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask, structure=TOUCHING)
    return pieces, np.bincount(pieces.ravel(), minlength=count + 1)[1:]


def kept(sizes: NDArray[np.integer], least: float, largest: bool) -> NDArray[np.bool_]:
    """Return which pieces stay, given their voxels."""
    stays = sizes >= least
    if largest and len(sizes):
        stays &= np.arange(len(sizes)) == np.argmax(sizes)
    return stays


def closed(mask: NDArray[np.bool_], radius: float, spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Return the morphological closing of a mask by a ball of `radius` in mm; around the mask there is nothing."""
    reach = [int(radius / side) for side in spacing]
    i, j, k = np.ogrid[tuple(slice(-voxels, voxels + 1) for voxels in reach)]
    ball = np.sqrt((i * spacing[0]) ** 2 + (j * spacing[1]) ** 2 + (k * spacing[2]) ** 2) <= radius
    margin = [(voxels + 1,) * 2 for voxels in reach]
    inside = tuple(slice(before, -after) for before, after in margin)
    grown = _dilated(np.pad(mask, margin), ball)
    return ~_dilated(~grown, ball)[inside] | mask


def _dilated(mask: NDArray[np.bool_], ball: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask grown by a ball, which is odd and smaller than the mask along each axis.

    The ball is a bundle of lines along the last axis: the mask is stretched by each length once, and moved to each line of that length. What
    scipy has takes the same voxels one by one, or distances in 64 bits, and 15 times as long for an organ in a CT.
    """
    grown, stretched = np.zeros_like(mask), np.zeros_like(mask)
    lengths = (ball.sum(axis=2) + 1) // 2  # 1 for a line of a single voxel, 2 for one of three
    for length in range(1, lengths.max() + 1):
        _add(stretched, mask, (0, 0, length - 1))
        _add(stretched, mask, (0, 0, 1 - length))
        for i, j in (np.argwhere(lengths == length) - np.array(lengths.shape) // 2).tolist():
            _add(grown, stretched, (i, j, 0))
    return grown


def _add(mask: NDArray[np.bool_], other: NDArray[np.bool_], steps: tuple[int, int, int]) -> None:
    """Add another mask of the same shape, moved by some voxels."""
    sides = list(zip(steps, mask.shape, strict=True))
    to = tuple(slice(max(step, 0), voxels + min(step, 0)) for step, voxels in sides)
    mask[to] |= other[tuple(slice(max(-step, 0), voxels - max(step, 0)) for step, voxels in sides)]


def holes_in(data: NDArray[np.generic], value: int, holes: Holes, flat: list[int]) -> NDArray[np.bool_]:
    """Return the background of a label's box that the label encloses and touches.

    Parameters
    ----------
    data : array of shape (i, j, k)
        The box of the label, along R, A and S.
    value : int
        The label.
    holes : {"3D", "axial", "coronal", "sagittal"}
        In which directions a hole must be closed.
    flat : list of int
        Axes along which the mask is a single slice: nothing can be closed there.
    """
    from scipy import ndimage

    across = set(flat) if holes == "3D" else {AXIS[holes], *flat}
    faces = ndimage.generate_binary_structure(3, 1)
    for axis in across:
        np.moveaxis(faces, axis, 0)[[0, 2]] = False
    around, _ = ndimage.label(data != value, structure=faces)
    open_ = np.zeros(around.max(initial=0) + 1, dtype=bool)
    open_[0] = True  # the label itself
    for axis in set(range(3)) - across:
        ends = np.moveaxis(around, axis, 0)
        open_[ends[0]] = open_[ends[-1]] = True
    enclosed = ~open_[around] & (data == 0)
    # A speck inside a tumour inside a liver belongs to the tumour: a hole is its label's that touches it.
    specks, count = ndimage.label(enclosed, structure=faces)
    touched = np.zeros(count + 1, dtype=bool)
    touched[specks[ndimage.binary_dilation(data == value, structure=faces)]] = True
    touched[0] = False
    return touched[specks]  # type: ignore[no-any-return]
