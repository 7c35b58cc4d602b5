"""Compare folders of predicted masks with reference masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Item, Problem, find_masks, pair_by_name, place_mask, read_mask
from napari_seg3d.errors import DatasetError, Seg3dError
from napari_seg3d.evaluation.counts import Counts, count_labels
from napari_seg3d.evaluation.report import Evaluation, EvaluationRow
from napari_seg3d.volumes import Grid, Volume, lattice_offset, place_on, volume_name

_MOST_GROWTH = 8


def evaluate_files(
    predictions: str | Path,
    references: str | Path,
    labels: Mapping[int, str] | Iterable[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare predicted masks with reference masks, on the voxels of the references.

    Parameters
    ----------
    predictions, references : path-like
        Two files, or two folders whose files are put together by name as a data set's images and masks are. A data set's own
        folder may serve as references: its masks are taken. Labels of a file may overlap, in a channel each.
    labels : mapping of int to str, or iterable of int, optional
        Which labels to compare, with their names if they have any. Left out, all that any of the masks holds. The background (0)
        is never compared.
    progress : callable, optional
        Called after each case with the number of cases done and of all.

    Returns
    -------
    Evaluation
        Files that could not be compared are in its problems, with the fix; the others count.

    Raises
    ------
    DatasetError
        A folder is missing or empty, or no prediction belongs to a reference.
    """
    pairs, problems = _pairs(Path(predictions), Path(references))
    names = {int(label): "" for label in labels} if labels is not None else None
    if isinstance(labels, Mapping):
        names = {int(label): str(name) for label, name in labels.items()}
    measured: dict[str, dict[int, EvaluationRow]] = {}
    as_stored: list[Path] = []
    for done, (case, prediction, reference) in enumerate(pairs, start=1):
        try:
            predicted, wanted_mask = read_mask(prediction, overlapping=True), read_mask(reference, overlapping=True)
            measured[case] = _compare(case, predicted, wanted_mask, names)
            if _are_pictures(predicted, wanted_mask) and not predicted.grid.matches(wanted_mask.grid):
                as_stored.append(prediction)
        except Seg3dError as error:
            problems.append(Problem("error", error.what, error.fix, case, prediction))
        if progress is not None:
            progress(done, len(pairs))
    problems += _compared_as_stored(as_stored)
    wanted = set(names) if names is not None else {label for rows in measured.values() for label in rows}
    rows = [
        found.get(label, EvaluationRow(case, label, (names or {}).get(label, "") or f"label {label}", float("nan"), 0.0, 0.0))
        for case, found in measured.items()
        for label in sorted(wanted - {0})
    ]
    return Evaluation(tuple(rows), tuple(problems))


def _pairs(predictions: Path, references: Path) -> tuple[list[tuple[str, Path, Path]], list[Problem]]:
    for path in (predictions, references):
        if not path.exists():
            raise DatasetError(f"{path} does not exist.", "Check the path.")
    if predictions.is_file() and references.is_file():
        return [(volume_name(references), predictions, references)], []
    predicted, wanted = _items(predictions), _items(references)
    pairing = pair_by_name(wanted, predicted)
    if not pairing.pairs:
        raise DatasetError(
            f"No prediction in {predictions} ({len(predicted)}, such as {predicted[0].path.name}) belongs to a reference in "
            f"{references} ({len(wanted)}, such as {wanted[0].path.name}).",
            "Give each prediction the name of its reference.",
        )
    problems = list(pairing.problems)
    problems += [
        Problem("error", f"{item.path.name} has no reference.", "Give it the name of its reference, or move it.", path=item.path)
        for item in pairing.lone_masks
    ]
    if pairing.lone_images:
        first = pairing.lone_images[0].path
        what = f"{len(pairing.lone_images)} references (such as {first.name}) have no prediction and were not compared."
        problems.append(Problem("warning", what, "Predict them as well, if they are part of the test.", path=first))
    return [(pair.image.name, pair.mask.path, pair.image.path) for pair in pairing.pairs], problems


def _items(path: Path) -> list[Item]:
    return [Item((path,), volume_name(path))] if path.is_file() else find_masks(path)


def _compared_as_stored(predictions: Sequence[Path]) -> list[Problem]:
    if not predictions:
        return []
    first = predictions[0]
    others = f" and {len(predictions) - 1} more" if len(predictions) > 1 else ""
    return [
        Problem(
            "warning",
            f"{first.name}{others}: prediction and reference were compared row by row as they are stored, and millimetres are those "
            "of the reference, because one of them does not say where it lies.",
            "Look at one of them over its scan, if they come from different programs.",
            path=first,
        )
    ]


def _compare(case: str, prediction: Volume, reference: Volume, names: Mapping[int, str] | None) -> dict[int, EvaluationRow]:
    predicted, wanted = _on_one_grid(prediction, reference)
    labels = (
        names if names is not None else {label: _name(label, wanted, predicted) for label in _labels(predicted) | _labels(wanted)}
    )
    found = _counts(predicted.data, wanted.data, sorted(set(labels) - {0}))
    volume = wanted.grid.voxel_volume
    return {
        label: EvaluationRow.of(case, label, labels[label] or f"label {label}", counts, volume) for label, counts in found.items()
    }


def _counts(predicted: NDArray[np.generic], wanted: NDArray[np.generic], labels: Sequence[int]) -> dict[int, Counts]:
    """Compare masks ``(C, I, J, K)``: a label map each, or, where labels overlap, a channel c with 0 and c + 1 for each label."""
    if len(predicted) == len(wanted):
        return count_labels(predicted, wanted, labels)
    return {label: count_labels(_layer(predicted, label), _layer(wanted, label), [1])[1] for label in labels}


def _layer(mask: NDArray[np.generic], label: int) -> NDArray[np.bool_]:
    layer: NDArray[np.bool_] = np.any(mask == label, axis=0)
    return layer


def _on_one_grid(predicted: Volume, wanted: Volume) -> tuple[Volume, Volume]:
    """Return prediction and reference voxel for voxel; each may be a DICOM SEG that leaves out slices without content."""
    if _are_pictures(predicted, wanted):
        return replace(predicted, affine=wanted.affine), wanted
    if wanted.source is not None and wanted.source.format == "dicom":
        wanted = place_on(wanted, _covering(wanted.grid, predicted.grid))
    return place_mask(predicted, wanted), wanted


def _are_pictures(predicted: Volume, wanted: Volume) -> bool:
    """Return whether two masks are of one slice and one size, and one of them does not say how it lies."""
    is_unsaid = not (predicted.is_oriented and wanted.is_oriented)
    return is_unsaid and predicted.grid.shape == wanted.grid.shape and wanted.grid.shape[2] == 1


def _covering(grid: Grid, other: Grid) -> Grid:
    """Return the smallest grid on the voxels of `grid` that holds both; `grid` where the voxels of `other` are not its own."""
    one, part = grid.canonical(), other.canonical()
    offset = lattice_offset(part, one)
    if offset is None:
        return grid
    first = np.minimum(offset, 0)
    shape = np.maximum(np.add(offset, part.shape), one.shape) - first
    if np.prod(shape, dtype=float) > _MOST_GROWTH * (np.prod(one.shape) + np.prod(part.shape)):
        return grid  # parts of different scans, far from each other
    affine = one.affine.copy()
    affine[:3, 3] = one.to_world(first[np.newaxis])[0]
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _name(label: int, *masks: Volume) -> str:
    return next((mask.labels[label].name for mask in masks if label in mask.labels), "")


def _labels(mask: Volume) -> set[int]:
    return {int(label) for label in np.unique(mask.data)}
