"""Compare folders of predicted masks with reference masks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from napari_seg3d.datasets import Item, Problem, find_masks, open_dataset, pair_by_name, read_mask
from napari_seg3d.errors import DatasetError, Seg3dError
from napari_seg3d.evaluation.measure import are_pictures, measure_masks, named
from napari_seg3d.evaluation.report import Evaluation, EvaluationRow
from napari_seg3d.evaluation.surfaces import Surface, check_surface, check_tolerance
from napari_seg3d.volumes import volume_name

_DESCRIPTIONS = ("dataset.yaml", "dataset.json")


def evaluate_files(
    predictions: str | Path,
    references: str | Path,
    labels: Mapping[int, str] | Iterable[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    tolerance_mm: float = 1.0,
    surface: Surface | None = "voxels",
) -> Evaluation:
    """Compare predicted masks with reference masks, on the voxels of the references.

    Parameters
    ----------
    predictions, references : path-like
        Two files, or two folders whose files are put together by name as a data set's images and masks are. A data set's own
        folder may serve as references: its masks are taken. Labels of a file may overlap, in a channel each.
    labels : mapping of int to str, or iterable of int, optional
        Which labels to compare, with their names if they have any. Left out, all that any of the masks holds. The background (0)
        is never compared. Names that neither this nor a mask gives are those of the data set that the references lie in.
    progress : callable, optional
        Called after each case with the number of cases done and of all.
    tolerance_mm : float
        What the NSD forgives.
    surface : {"voxels", "areas"} or None
        Which definition of a surface the distances follow, see :mod:`napari_seg3d.evaluation.surfaces`. None measures no distances, which
        take most of the time.

    Returns
    -------
    Evaluation
        Files that could not be compared are in its problems, with the fix; the others count.

    Raises
    ------
    DatasetError
        A folder is missing or empty, or no prediction belongs to a reference.
    ConfigError
        The tolerance is no length, or there is no such definition of a surface.
    """
    check_tolerance(tolerance_mm)
    check_surface(surface or "voxels")
    pairs, problems = _pairs(Path(predictions), Path(references))
    names = named(labels) if labels is not None else None
    described = _described(Path(references))
    measured: dict[str, dict[int, EvaluationRow]] = {}
    as_stored: list[Path] = []
    for done, (case, prediction, reference) in enumerate(pairs, start=1):
        try:
            predicted, wanted_mask = read_mask(prediction, overlapping=True), read_mask(reference, overlapping=True)
            rows = measure_masks(
                predicted, wanted_mask, names, tolerance_mm, surface is not None, surface=surface or "voxels", case=case
            )
            measured[case] = {row.label: _called(row, described) for row in rows}
            if are_pictures(predicted, wanted_mask) and not predicted.grid.matches(wanted_mask.grid):
                as_stored.append(prediction)
        except Seg3dError as error:
            problems.append(Problem("error", error.what, error.fix, case, prediction))
        if progress is not None:
            progress(done, len(pairs))
    problems += _compared_as_stored(as_stored)
    wanted = set(names) if names is not None else {label for rows in measured.values() for label in rows}
    filled = [
        found.get(
            label,
            _called(EvaluationRow(case, label, (names or {}).get(label, "") or _unnamed(label), math.nan, 0.0, 0.0), described),
        )
        for case, found in measured.items()
        for label in sorted(wanted - {0})
    ]
    return Evaluation(
        tuple(filled),
        tuple(problems),
        tolerance_mm if surface is not None else math.nan,
        surface,
        {case: (prediction, reference) for case, prediction, reference in pairs if case in measured},
    )


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


def _described(references: Path) -> dict[int, str]:
    """Return the names that the description of a data set gives to its labels; none where references lie in no such data set."""
    for folder in (references, references.parent):
        if any((folder / name).is_file() for name in _DESCRIPTIONS):
            with contextlib.suppress(Seg3dError):  # masks can be compared without names
                return dict(open_dataset(folder).labels)
    return {}


def _called(row: EvaluationRow, described: Mapping[int, str]) -> EvaluationRow:
    is_known = row.name == _unnamed(row.label) and described.get(row.label)
    return row._replace(name=described[row.label]) if is_known else row


def _unnamed(label: int) -> str:
    return f"label {label}"


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
