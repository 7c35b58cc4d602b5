"""Pictures of the worst: the slice of a case in which a label is most wrong, the reference as an outline and the prediction filled."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_seg3d.datasets import Case, Item, Problem, find_scans, pair_by_name, read_case_image, read_mask
from napari_seg3d.datasets.doctor.pictures import grey_levels, outline, radiological
from napari_seg3d.errors import Cancelled, Seg3dError
from napari_seg3d.evaluation.measure import are_pictures, on_one_grid, worst_slice
from napari_seg3d.evaluation.report import Evaluation, EvaluationRow
from napari_seg3d.evaluation.summary import badness
from napari_seg3d.volumes import Grid, Volume

#: Longest edge of a picture in pixels.
SIZE = 300
#: Which colours the legend of a page has to explain.
FOUND, TOO_MUCH, REFERENCE = (64, 156, 255), (255, 140, 40), (255, 255, 255)

_MARGIN, _LEAST = 0.35, 50.0  # around a label, in parts of its size; and how many mm are shown at least
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Picture:
    """A slice as a PNG.

    Parameters
    ----------
    png : bytes
        The file.
    size : (int, int)
        Width and height in pixels.
    plane : str
        ``axial``, ``coronal`` or ``sagittal``.
    index, count : int
        Which slice, counted from 0 to superior, anterior or right as the viewer does, and of how many.
    """

    png: bytes
    size: tuple[int, int]
    plane: str
    index: int
    count: int


def draw_worst(
    evaluation: Evaluation,
    images: str | Path | None = None,
    per_label: int = 3,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[dict[tuple[str, int], Picture], tuple[Problem, ...]]:
    """Draw the worst cases of each label; their files are read again.

    Parameters
    ----------
    evaluation : Evaluation
        From :func:`napari_seg3d.evaluation.evaluate_files`.
    images : path-like, optional
        Folder of the scans, put together with the references by name. Left out, the masks are drawn alone.
    per_label : int
        How many cases of each label.
    progress, cancelled : callable, optional
        Told (done, total) after each case, and asked before each.

    Returns
    -------
    dict of (str, int) to Picture
        By case and label.
    tuple of Problem
        Scans that are missing or do not fit; their masks are drawn without them.

    Raises
    ------
    DatasetError
        There are no scans in `images`.
    Cancelled
        `cancelled` returned True.
    """
    wanted: dict[str, list[int]] = {}
    for row in worst_rows(evaluation.rows, per_label):
        if row.case in evaluation.files:
            wanted.setdefault(row.case, []).append(row.label)
    scans = _scans(evaluation, Path(images)) if images is not None else {}
    drawn: dict[tuple[str, int], Picture] = {}
    problems: list[Problem] = []
    for done, (case, labels) in enumerate(wanted.items(), start=1):
        if cancelled is not None and cancelled():
            raise Cancelled("Drawing was stopped.")
        try:
            masks = [read_mask(path, overlapping=True) for path in evaluation.files[case]]
            predicted, reference = on_one_grid(masks[0], masks[1])
            scan = None
            if images is not None:
                scan, why = _scan_of(scans.get(case), reference)
                problems += [] if why is None else [replace(why, case=case)]
            for label in labels:
                drawn[case, label] = draw_slice(predicted, reference, label, scan)
        except Seg3dError as error:
            problems.append(Problem("warning", f"{case} was not drawn: {error.what}", error.fix, case))
        if progress is not None:
            progress(done, len(wanted))
    return drawn, tuple(problems)


def worst_rows(rows: Iterable[EvaluationRow], per_label: int) -> list[EvaluationRow]:
    """Return the rows of each label in which something is wrong, from the worst on: by Dice, then by HD95."""
    by_label: dict[int, list[EvaluationRow]] = {}
    for row in rows:
        if row.dice < 1:  # NaN, too, is nothing to be seen
            by_label.setdefault(row.label, []).append(row)
    return [
        row
        for _, of_label in sorted(by_label.items())
        for row in sorted(of_label, key=lambda row: (badness("dice", row.dice), badness("hd95", row.hd95)), reverse=True)[
            :per_label
        ]
    ]


def draw_slice(predicted: Volume, reference: Volume, label: int, image: Volume | None = None) -> Picture:
    """Draw the slice in which a label is most wrong, cut to the label, as radiologists look at it.

    The reference is outlined in white; the prediction is filled in blue where it is right, in orange where it is too much.

    Parameters
    ----------
    predicted, reference : Volume
        On the same voxels. The slice is an axial one, or the only one that there is.
    label : int
        Which label.
    image : Volume, optional
        The scan on the same voxels, of which the first channel is shown. Without one, other labels of the reference are grey.
    """
    found, there = (volume.grid.to_canonical((volume.data == label).any(axis=0)) for volume in (predicted, reference))
    grid = reference.grid.canonical()
    axis = 2 if grid.shape[2] > 1 else int(np.argmin(grid.shape))
    index = worst_slice(found.view(np.uint8), there.view(np.uint8), 1, axis)
    mine, theirs = (_slice(mask, index, axis) for mask in (found, there))
    if image is not None:
        shown = radiological(grey_levels(np.asarray(image.canonical().data[0].take(index, axis))))
    else:
        others = _slice(reference.grid.to_canonical((reference.data != 0).any(axis=0)), index, axis)
        shown = np.where(others, np.uint8(70), np.uint8(25))
    width, height = (step for number, step in enumerate(grid.spacing) if number != axis)
    window = _window(mine | theirs, (height, width))
    pixels = _painted(shown[window], mine[window], theirs[window], (height, width))
    kept = io.BytesIO()
    Image.fromarray(pixels).quantize(96).save(kept, "PNG", optimize=True)
    return Picture(kept.getvalue(), (pixels.shape[1], pixels.shape[0]), _PLANES[axis], index, grid.shape[axis])


def _slice(mask: NDArray[np.generic], index: int, axis: int) -> NDArray[np.bool_]:
    return np.asarray(radiological(np.asarray(mask.take(index, axis))), np.bool_)


def _painted(
    grey: NDArray[np.generic], found: NDArray[np.generic], there: NDArray[np.generic], steps: tuple[float, float]
) -> NDArray[np.uint8]:
    extent = np.multiply(grey.shape, steps)
    height, width = np.maximum(8, np.round(extent * SIZE / extent.max())).astype(int).tolist()

    def enlarged(plane: NDArray[np.generic], how: Image.Resampling) -> NDArray[np.uint8]:
        return np.array(Image.fromarray(plane.astype(np.uint8)).resize((width, height), how))

    base = enlarged(grey, Image.Resampling.BILINEAR)
    inside, wanted = (enlarged(plane, Image.Resampling.NEAREST) > 0 for plane in (found, there))
    pixels = np.repeat(base[..., np.newaxis], 3, axis=2).astype(np.float32)
    for where, colour in ((inside & wanted, FOUND), (inside & ~wanted, TOO_MUCH)):
        pixels[where] = 0.55 * pixels[where] + 0.45 * np.array(colour, np.float32)
    pixels[outline(wanted)] = REFERENCE
    return pixels.astype(np.uint8)


def _window(shown: NDArray[np.bool_], steps: tuple[float, float]) -> tuple[slice, slice]:
    """Return the rows and columns around what is shown; all where nothing is."""
    if not shown.any():
        return slice(None), slice(None)
    sides = []
    for axis, step in enumerate(steps):
        places = np.flatnonzero(shown.any(axis=1 - axis))
        first, last = int(places[0]), int(places[-1]) + 1
        wanted = max((last - first) * (1 + 2 * _MARGIN), _LEAST / step)
        margin = round((wanted - (last - first)) / 2)
        sides.append(slice(max(0, first - margin), min(shown.shape[axis], last + margin)))
    return sides[0], sides[1]


def _scans(evaluation: Evaluation, images: Path) -> Mapping[str, Case]:
    cases = {Item(case.images, case.id): case for case in find_scans([images])}
    wanted = [Item((reference,), name) for name, (_, reference) in evaluation.files.items()]
    pairing = pair_by_name(list(cases), wanted)
    return {pair.mask.name: cases[pair.image] for pair in pairing.pairs}


def _scan_of(case: Case | None, reference: Volume) -> tuple[Volume | None, Problem | None]:
    """Return the scan on the voxels of a reference, or why it is drawn without one."""
    if case is None:
        return None, Problem(
            "warning", "There is no scan of this case; its masks are drawn alone.", "Give it the name of its mask."
        )
    try:
        scan = read_case_image(case)
    except Seg3dError as error:
        return None, Problem("warning", error.what, error.fix, path=case.images[0])
    if are_pictures(scan, reference):
        return replace(scan, affine=reference.affine), None
    if _same_voxels(scan.grid, reference.grid):
        return scan, None
    what = f"{case.images[0].name} lies on another grid than its mask; the masks are drawn alone."
    return None, Problem("warning", what, "Choose the scans that the masks were drawn on.", path=case.images[0])


def _same_voxels(one: Grid, other: Grid) -> bool:
    return one.canonical().matches(other.canonical())
