"""Compare folders of predicted masks with reference masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from napari_seg3d.datasets import Item, Problem, find_masks, pair_by_name
from napari_seg3d.errors import DatasetError, GeometryError, ReadError, Seg3dError
from napari_seg3d.evaluation.dice import dice_per_label
from napari_seg3d.evaluation.report import Evaluation, EvaluationRow
from napari_seg3d.volumes import Volume, read_volume, volume_name


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
        folder may serve as references: its masks are taken.
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
    for done, (case, prediction, reference) in enumerate(pairs, start=1):
        try:
            measured[case] = _compare(case, prediction, reference, names)
        except Seg3dError as error:
            problems.append(Problem("error", error.what, error.fix, case, prediction))
        if progress is not None:
            progress(done, len(pairs))
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


def _compare(case: str, prediction: Path, reference: Path, names: Mapping[int, str] | None) -> dict[int, EvaluationRow]:
    predicted, wanted = _mask(prediction), _mask(reference)
    difference = wanted.grid.difference(predicted.grid)
    if difference:
        raise GeometryError(
            f"{prediction.name} lies on another grid than its reference {reference.name}: {difference}.",
            "Bring the prediction onto the grid of the reference (nearest neighbour), or choose the reference of this scan.",
        )
    labels = names if names is not None else dict.fromkeys(_labels(predicted) | _labels(wanted), "")
    scores = dice_per_label(predicted.data, wanted.data, sorted(set(labels) - {0}))
    millilitres = wanted.grid.voxel_volume / 1000
    return {
        label: EvaluationRow(
            case,
            label,
            labels[label] or f"label {label}",
            score,
            int(np.count_nonzero(wanted.data == label)) * millilitres,
            int(np.count_nonzero(predicted.data == label)) * millilitres,
        )
        for label, score in scores.items()
    }


def _mask(path: Path) -> Volume:
    mask = read_volume(path, "labels")
    if mask.data.shape[0] > 1:
        raise ReadError(f"{path.name} holds {mask.data.shape[0]} volumes, not one mask.", "Compare single masks.")
    return mask


def _labels(mask: Volume) -> set[int]:
    return {int(label) for label in np.unique(mask.data)}
