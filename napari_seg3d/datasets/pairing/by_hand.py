"""Pairs that a person puts together or takes apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_seg3d.datasets.dataset import Case, Dataset, files_of
from napari_seg3d.datasets.pairing.by_name import Item
from napari_seg3d.datasets.pairing.ids import unique_ids
from napari_seg3d.datasets.pairing.listing import scan_name
from napari_seg3d.datasets.pairing.orphans import pairing_problems
from napari_seg3d.datasets.subjects import subject_from_name
from napari_seg3d.errors import DatasetError

BY_HAND = "chosen by hand"


def with_pair(dataset: Dataset, image: str | Path | Case, mask: str | Path) -> Dataset:
    """Return the data set with a mask for one image, as a person chose it.

    Parameters
    ----------
    dataset : Dataset
        Stays as it is.
    image : str, Path or Case
        Id of a case, its case, or a file: one of a case, or one that becomes a case.
    mask : path-like
        Taken from the case that had it, if any; the mask that this case had is left over.

    Raises
    ------
    DatasetError
        There is no such case or file, or image and mask are the same file.
    """
    mask = Path(mask).expanduser().absolute()
    if not mask.exists():
        raise DatasetError(f"{mask} does not exist.", "Choose the file of the mask.")
    chosen = _find(dataset, image)
    if chosen is None:
        dataset, chosen = _with_case(dataset, image)
    if mask in [path.absolute() for path in chosen.images]:
        raise DatasetError(f"{mask} is the image itself.", "Choose the file of its mask.")
    before = dataset.cases
    cases = []
    for case in dataset.cases:
        if case.id == chosen.id:
            case = replace(case, mask=mask, parts=(), reason=BY_HAND, sureness=1.0)
        elif mask in [path.absolute() for path in _masks_of(case)]:
            left = tuple(part for part in case.parts if part.path.absolute() != mask)
            case = replace(case, mask=left[0].path, parts=left) if left else _without_mask(case)
        cases.append(case)
    return _changed(dataset, before, tuple(cases), chosen.id)


def without_pair(dataset: Dataset, case: str | Path | Case) -> Dataset:
    """Return the data set with the mask of one case left over; raises DatasetError where there is no such case."""
    chosen = _find(dataset, case)
    if chosen is None:
        raise DatasetError(f"There is no case {case}.", "Choose one of the data set.")
    cases = tuple(_without_mask(one) if one.id == chosen.id else one for one in dataset.cases)
    return _changed(dataset, dataset.cases, cases, chosen.id)


def _changed(dataset: Dataset, before: tuple[Case, ...], cases: tuple[Case, ...], case_id: str) -> Dataset:
    """Return the data set with other cases, what is left over listed anew, and disputes about what was decided settled."""
    used = {path for case in cases for path in _masks_of(case)}
    had = {path for case in before for path in _masks_of(case)}
    known = {path.absolute() for path in used}
    unused = tuple(sorted(path for path in {*dataset.unused_masks, *had} if path.absolute() not in known))
    old = set(pairing_problems(before, dataset.unused_masks))
    settled = {case_id} | {path.absolute() for case in cases if case.id == case_id for path in files_of(case)}
    kept = [
        problem
        for problem in dataset.problems
        if problem not in old
        and problem.case not in settled
        and (problem.path is None or problem.path.absolute() not in settled | set(unused))
    ]
    return replace(dataset, cases=cases, unused_masks=unused, problems=(*kept, *pairing_problems(cases, unused)))


def _masks_of(case: Case) -> tuple[Path, ...]:
    return files_of(case)[len(case.images) :]


def _without_mask(case: Case) -> Case:
    return replace(case, mask=None, parts=(), reason="", sureness=1.0)


def _find(dataset: Dataset, wanted: str | Path | Case) -> Case | None:
    """Return the case that has this id, or this image: by its path, or by a name that only one image has."""
    if isinstance(wanted, Case):
        wanted = wanted.id
    by_id = [case for case in dataset.cases if case.id == str(wanted)]
    path = Path(wanted).expanduser()
    by_path = [case for case in dataset.cases if path.absolute() in [image.absolute() for image in case.images]]
    by_name = [case for case in dataset.cases if str(wanted) in (image.name for image in case.images)]
    found = by_id or by_path or (by_name if not path.exists() else [])
    if len(found) > 1:
        raise DatasetError(f"Several images are called {wanted}.", f"Say which: {', '.join(case.id for case in found)}.")
    return found[0] if found else None


def _with_case(dataset: Dataset, image: str | Path | Case) -> tuple[Dataset, Case]:
    path = Path(str(image)).expanduser().absolute()
    if isinstance(image, Case) or not path.exists():
        raise DatasetError(f"There is no case or image {image}.", "Choose a case of the data set, or the file of an image.")
    items = [Item(case.images, case.id) for case in dataset.cases]
    own = Item((path,), scan_name(path), path.parent.name)
    name = unique_ids([*items, own])[own]
    case = Case(name, (path,), None, subject_from_name(name))
    return replace(dataset, cases=tuple(sorted((*dataset.cases, case), key=lambda one: one.id))), case
