"""How a mask lies on its image: beside it, over air, or the wrong way round; and what rounding would make of its values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.doctor.findings import Remedy
from napari_seg3d.errors import Seg3dError
from napari_seg3d.volumes import Grid, Volume, read_volume

#: The fix of masks whose values `rounding` accepts.
ROUND = "Round to whole numbers: they lie within 0.01 of one, or it is a map of probabilities, whose boundary is at 0.5."

_NEAR = 0.01
_MOST_VALUES = 256
_COVERS_IMAGE, _COVERS_MASK = 0.8, 0.5  # shares that a mask of the same scan shares with its image
_SAMPLE = 100_000  # voxels
_RIM = 3  # voxels around the labels that are compared with them
_MOST_VOXELS = 2_000_000  # in the region that is looked at


def rounding(case: Case, path: Path) -> Remedy | None:
    """Return the remedy for a mask with fractional values, where rounding invents no label.

    That is where all lie within 0.01 of a whole number, or all between 0 and 1 (probabilities of one label, cut at 0.5).
    Interpolated label maps are neither: between the labels 1 and 3 they hold a 2 that nobody drew.
    """
    if case.parts:
        return None
    try:
        data = read_volume(path, "image").data
    except Seg3dError:
        return None
    if data.shape[0] != 1 or data.dtype.kind != "f" or not np.isfinite(data).all() or data.min() < -_NEAR:
        return None
    near = all(np.abs(plane - np.rint(plane)).max() <= _NEAR for plane in data[0])
    return Remedy("round_labels", (case.id,)) if data.max() <= 1 + _NEAR or (near and data.max() < _MOST_VALUES) else None


@dataclass(frozen=True)
class Lie:
    """How a mask lies that has another grid than its image."""

    words: str
    can_be_resampled: bool


def how_it_lies(mask: Volume, image: Volume) -> Lie:
    """Return how much of a mask lies on an image with another grid, and whether it can be brought onto it.

    It can where both say how they lie in the patient, and cover about the same part of the patient: the mask of another scan would only
    be hidden by resampling.
    """
    if not mask.is_oriented or not image.is_oriented:
        return Lie("", False)
    covered, of_mask = _share_inside(image.grid, mask.grid), _share_inside(mask.grid, image.grid)
    labelled = np.argwhere(mask.data.any(axis=0))
    labelled = labelled[:: max(1, len(labelled) // _SAMPLE)]
    outside = 1 - float(_inside(mask.grid.to_world(labelled), image.grid).mean()) if len(labelled) else 0.0
    words = f" {outside:.0%} of what it labels lies outside the image." if outside > 0.005 else ""
    if covered < _COVERS_IMAGE or of_mask < _COVERS_MASK:
        return Lie(f"{words} It does not cover the same part of the patient: it is likely the mask of another scan.", False)
    return Lie(words, True)


def suspicions(labels: NDArray[np.generic], image: Volume, name: str) -> list[tuple[str, str, str]]:
    """Return what looks wrong with labels ``(I, J, K)`` on an image of the same grid: kind, what, and fix of each.

    Only what can be told surely: more than half of the labels where the image is empty, or labels that tell tissues apart far
    better with left and right exchanged.
    """
    found = []
    data = image.data[0]
    inside = data[labels != 0][:: max(1, np.count_nonzero(labels) // _SAMPLE)]
    lowest = data.min()
    empty = float((inside == lowest).mean())
    if empty > 0.5 and lowest < data.max():
        found.append(
            (
                "mask over air",
                f"{empty:.0%} of what {name} labels lies where the image is empty ({lowest:g}, its lowest value).",
                "Look at it in the viewer: the mask may be shifted, or belong to another scan.",
            )
        )
    canonical, values = image.grid.to_canonical(labels), image.canonical().data[0]
    as_drawn, turned = _fit(canonical, values), _fit(canonical[::-1], values)
    if turned > 0.3 and turned > 4 * as_drawn:
        found.append(
            (
                "mirrored mask",
                f"{name} fits its image far better with left and right exchanged "
                f"(it explains {turned:.0%} of the differences in intensity around it, as it is {as_drawn:.0%}).",
                "Look at it in the viewer, and export the mask again if left and right were exchanged.",
            )
        )
    return found


def overlaps(mask: Volume) -> str:
    """Return in words how labels with a channel each overlap."""
    several = np.count_nonzero(mask.data, axis=0) > 1
    first, second = np.flatnonzero(mask.data[(slice(None), *np.argwhere(several)[0])])[:2] + 1
    names = [
        f"{value} ({mask.labels[value].name})" if value in mask.labels and mask.labels[value].name else str(value)
        for value in (int(first), int(second))
    ]
    both = int(np.count_nonzero((mask.data[first - 1] != 0) & (mask.data[second - 1] != 0)))
    others = "" if both == several.sum() else f"; in all, labels overlap in {int(several.sum())} voxels"
    return f"the labels {names[0]} and {names[1]} overlap in {both} voxels{others}"


def _fit(labels: NDArray[np.generic], image: NDArray[np.generic]) -> float:
    """Return the share of the variance of the intensities in and around labels that they explain (eta squared)."""
    from scipy.ndimage import binary_dilation

    places = [np.flatnonzero(labels.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    box = tuple(slice(max(0, int(one[0]) - _RIM), int(one[-1]) + _RIM + 1) for one in places)
    stride = int(np.ceil((labels[box].size / _MOST_VOXELS) ** (1 / 3)))
    coarse = (slice(None, None, stride),) * 3
    region, values = labels[box][coarse], image[box][coarse].astype(np.float32)
    near = binary_dilation(region != 0, iterations=_RIM) & np.isfinite(values)
    around, groups = values[near], np.unique(region[near], return_inverse=True)[1]
    total = float(((around - around.mean()) ** 2).sum()) if around.size else 0.0
    if total <= 0:
        return 0.0
    counts = np.bincount(groups)
    means = np.bincount(groups, weights=around) / counts
    return float((counts * (means - around.mean()) ** 2).sum() / total)


def _share_inside(one: Grid, other: Grid) -> float:
    """Return the share of the volume of `one` that lies within `other`."""
    steps = [np.linspace(0, length - 1, min(length, 24)) for length in one.shape]
    points = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return float(_inside(one.to_world(points), other).mean())


def _inside(points: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_]:
    inverse = np.linalg.inv(grid.affine)
    voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
    inside: NDArray[np.bool_] = ((voxels > -1) & (voxels < np.array(grid.shape))).all(axis=1)
    return inside
