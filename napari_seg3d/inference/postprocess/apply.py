"""`postprocessed`: rules carried out on a mask, label by label in its box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.editing.balls import closed
from napari_seg3d.editing.boxes import boxes_of
from napari_seg3d.editing.pieces import holes_of, pieces_of
from napari_seg3d.errors import Cancelled
from napari_seg3d.inference.postprocess.rules import Rule, Rules
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.volumes import Volume

# Whoever says 0.5 ml means pieces of 0.5 ml to stay, whatever the last digit of a spacing is.
_HAIR = 1e-9


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
        if value > 0 and not rules.of(value).is_empty
    ]
    for step in (_Part.close, _Part.drop, _Part.fill):
        for part in parts:
            if cancelled is not None and cancelled():
                raise Cancelled("The post-processing was cancelled.")
            step(part)
    return result, [f"{part.name}: {part.told}." for part in parts if part.told]


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
        holes = self.rule.holes
        if holes != "no":
            # Along an axis with a single slice nothing can be closed.
            across = {axis for axis, voxels in enumerate(self.mask.grid.shape) if voxels == 1}
            across |= {AXIS[holes]} if holes != "3D" else set()
            self._take(holes_of(self.data, self.value, across), "in holes filled")

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


def kept(sizes: NDArray[np.integer], least: float, largest: bool) -> NDArray[np.bool_]:
    """Return which pieces stay, given their voxels."""
    stays = sizes >= least
    if largest and len(sizes):
        stays &= np.arange(len(sizes)) == np.argmax(sizes)
    return stays
