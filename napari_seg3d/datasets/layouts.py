"""Understand a folder: where its images and masks lie. Names are looked at, and few headers, so that a large folder opens at once."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_seg3d.datasets import decathlon
from napari_seg3d.datasets.dataset import Case, Dataset, Problem
from napari_seg3d.datasets.ids import unique_ids
from napari_seg3d.datasets.listing import is_whole, list_folder, scan_name, without_pictures
from napari_seg3d.datasets.manifest import load_dataset, manifest_in
from napari_seg3d.datasets.names import Role, folder_role, name_role, token_role, tokens
from napari_seg3d.datasets.orphans import lone_image, lone_mask
from napari_seg3d.datasets.pairing import Item, Pair, Pairing, pair_by_name
from napari_seg3d.datasets.subjects import FILE_NAME as SUBJECTS_FILE
from napari_seg3d.datasets.subjects import read_subjects, subject_from_name
from napari_seg3d.errors import DatasetError
from napari_seg3d.volumes import GRID_SUFFIXES

#: Deepest folder that is looked into; a whole disk chosen by mistake must not be searched.
DEPTH = 5
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class _Found:
    item: Item
    role: Role | None  # what its folders say
    is_test: bool


def open_dataset(folder: str | Path, masks: str | Path | None = None, subjects: str | Path | None = None) -> Dataset:
    """Find the cases of a data set by the names of its folders and files.

    Understood are the decathlon's and nnU-Net's ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``dataset.json``;
    ``<mode>/Img`` and ``<mode>/Mask``; ``images`` and ``labels``, ``img`` and ``seg`` and their like; images with masks beside
    them (``scan.nii.gz``, ``scan_seg.nii.gz``), in one folder or one per patient; images without masks; and any two folders. A
    folder with the slices of a DICOM series is one image, called by its name; pictures and arrays beside scans are none.

    Parameters
    ----------
    folder : path-like
        The data set, its ``dataset.yaml``, or its images. A folder that holds a ``dataset.yaml`` opens as that says.
    masks : path-like, optional
        The masks, when they do not lie in `folder` under a name that says so.
    subjects : path-like, optional
        CSV with the columns ``case`` and ``subject``. Left out, a ``subjects.csv`` in `folder` counts, else the names.

    Returns
    -------
    Dataset
        Whatever could be paired, and what could not as problems. No voxel was read, and of DICOM folders a few headers.

    Raises
    ------
    DatasetError
        A folder is missing or holds no images, or ``dataset.json`` or the table of subjects is broken.
    """
    manifest = manifest_in(Path(folder).expanduser()) if masks is None else None
    if manifest is not None:
        dataset = load_dataset(manifest)
        if subjects is None:
            return dataset
        return replace(dataset, cases=read_subjects(Path(subjects), dataset.cases), subjects_known=True)
    root = _existing_folder(folder)
    mask_root = _existing_folder(masks) if masks is not None else None
    if mask_root is not None and mask_root.resolve() == root.resolve():
        mask_root = None
    problems: list[Problem] = []
    description = _description(root, mask_root)
    if description is not None:
        problems += description.problems
    if mask_root is None:
        images, mask_items, in_mask_folder = _split_by_role(root, problems)
    else:
        # One folder may hold the other.
        inside = mask_root.resolve() if mask_root.resolve().is_relative_to(root.resolve()) else None
        images = [one for one in _volumes(root) if one.role != "mask" and not _lies_in(one.item.path, inside)]
        taken = {found.item.path.resolve() for found in images}
        mask_items = [one.item for one in _volumes(mask_root) if one.role != "image" and one.item.path.resolve() not in taken]
        in_mask_folder = True
    if not images:
        raise _no_images(root, mask_items)
    test_images = {found.item.path for found in images if found.is_test}
    image_items = _join_channels([found.item for found in images], mask_items, description, problems)
    if not image_items:
        raise DatasetError(f"{root} holds no complete case. {problems[-1].what}", problems[-1].fix)
    to_train = [item for item in image_items if item.path not in test_images]
    pairing = _pair(to_train, mask_items, in_mask_folder, description, problems)
    ids = unique_ids(image_items)
    masks_of = {pair.image: pair for pair in pairing.pairs}
    cases = [_case(ids[item], item, masks_of.get(item)) for item in image_items]
    if mask_items:
        problems += [lone_image(item.path) for item in pairing.lone_images]
        problems += [lone_mask(item.path) for item in pairing.lone_masks]
    case_of = {path: ids[item] for item in image_items for path in item.paths}
    problems = [_with_case(problem, case_of) for problem in problems]
    dataset_cases = tuple(sorted(cases, key=lambda case: case.id))
    table = Path(subjects) if subjects is not None else root / SUBJECTS_FILE
    subjects_known = subjects is not None or table.is_file()
    if subjects_known:
        dataset_cases = read_subjects(table, dataset_cases)
    return Dataset(
        root=root,
        cases=dataset_cases,
        labels=description.labels if description else {},
        problems=tuple(problems),
        mask_root=mask_root,
        unused_masks=tuple(item.path for item in pairing.lone_masks),
        subjects_known=subjects_known,
    )


def find_masks(folder: str | Path) -> list[Item]:
    """Return the masks in a folder: those of a data set, or else all its volumes. Their names are unique, as case ids are.

    Raises
    ------
    DatasetError
        The folder is missing or holds no volumes.
    """
    root = _existing_folder(folder)
    if is_whole(root):
        return [Item((root,), scan_name(root))]
    found = _volumes(root)
    if not found:
        raise _no_images(root, [])
    images, masks, in_mask_folder = _split_by_role(root, [])
    is_dataset = in_mask_folder or pair_by_name([one.item for one in images], masks, in_mask_folder).pairs
    items = masks if is_dataset else [one.item for one in found]
    return [Item(item.paths, name) for item, name in unique_ids(items).items()]


def _existing_folder(folder: str | Path) -> Path:
    path = Path(folder).expanduser().absolute()
    if not path.exists():
        raise DatasetError(f"{path} does not exist.", "Check the path; is the disk connected?")
    if not path.is_dir():
        raise DatasetError(f"{path} is a file, not a folder.", "Choose the folder that the scans lie in.")
    return path


def _lies_in(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder)


def _description(root: Path, mask_root: Path | None) -> decathlon.Description | None:
    file = root / decathlon.FILE_NAME
    if not file.is_file() and mask_root is not None and mask_root.parent == root.parent:
        file = root.parent / decathlon.FILE_NAME  # imagesTr and labelsTr of a task, chosen one by one
    return decathlon.read_description(file) if file.is_file() else None


def _volumes(root: Path) -> list[_Found]:
    found: list[_Found] = []
    _collect(root, (), found)
    left: set[Path] = set()
    images = [one.item.path for one in found if one.role != "mask"]
    for role in ("image", "mask", None):
        paths = [one.item.path for one in found if one.role == role]
        left.update(without_pictures(paths, images if role is None else ()))
    return sorted((one for one in found if one.item.path in left), key=lambda one: (one.item.group, one.item.path.name))


def _collect(folder: Path, parts: tuple[str, ...], found: list[_Found]) -> None:
    listing = list_folder(folder)
    roles = [folder_role(part) for part in parts]
    role = next((role for role, _ in reversed(roles) if role is not None), None)
    is_test = any(is_test for _, is_test in roles)
    groups = [part for part, (part_role, _) in zip(parts, roles, strict=True) if part_role is None]
    for path in listing.volumes:
        # A series is called by its own folder, so that only those above it are its group.
        is_named_by_folder = path == folder and bool(roles) and roles[-1][0] is None
        group = "/".join(groups[:-1] if is_named_by_folder else groups)
        item = Item((path,), scan_name(path), group)
        found.append(_Found(item, "mask" if path in listing.segmentations else role, is_test))
    if len(parts) < DEPTH:
        for entry in listing.folders:
            _collect(entry, (*parts, entry.name), found)


def _split_by_role(root: Path, problems: list[Problem]) -> tuple[list[_Found], list[Item], bool]:
    """Return the images, the masks, and whether a folder says that they are masks."""
    found = _volumes(root)
    images = [one for one in found if one.role == "image"]
    # Masks of the test part judge a finished model; nobody trains on them.
    masks = [one.item for one in found if one.role == "mask" and not one.is_test]
    others = [one for one in found if one.role is None]
    if images and masks:
        problems += _unused(others)
        return images, masks, True
    if masks:
        return others, masks, True
    if images:
        beside = [one for one in images if _is_mask_beside(one.item, images)]  # scans/a.nii.gz, scans/a_seg.nii.gz
        named = [one for one in others if name_role(one.item.name) == "mask"]
        problems += _unused([one for one in others if one not in named])
        return [one for one in images if one not in beside], [one.item for one in (*named, *beside)], False
    named = [one for one in others if name_role(one.item.name) == "mask" or _is_mask_beside(one.item, others)]
    return [one for one in others if one not in named], [one.item for one in named], False


def _is_mask_beside(item: Item, others: Sequence[_Found]) -> bool:
    parts = tokens(item.name)
    names = {tokens(other.item.name) for other in others}
    return any(
        parts[:length] in names and any(token_role(part) == "mask" for part in parts[length:]) for length in range(1, len(parts))
    )


def _unused(found: Sequence[_Found]) -> list[Problem]:
    if not found:
        return []
    folder = found[0].item.path.parent
    return [
        Problem(
            "warning",
            f"{len(found)} volumes (such as {found[0].item.path.name} in {folder}) were left out: "
            "they lie neither with the images nor with the masks.",
            "If they belong to the data set, move them to its images or masks, or choose the two folders yourself.",
            path=folder,
        )
    ]


def _join_channels(
    images: Sequence[Item], masks: Sequence[Item], description: decathlon.Description | None, problems: list[Problem]
) -> list[Item]:
    """Return the images with ``x_0000`` and ``x_0001`` joined to one item ``x`` where these are channels and not cases."""
    numbered: dict[tuple[str, str], dict[int, Item]] = defaultdict(dict)
    for image in images:
        match = _CHANNEL.fullmatch(image.name)
        if match:
            numbered[image.group, match[1]][int(match[2])] = image
    complete = Counter(frozenset(channels) for channels in numbered.values() if set(channels) == set(range(len(channels))))
    if not complete or sum(len(channels) for channels in numbered.values()) != len(images):
        return list(images)
    mask_names = {mask.name for mask in masks}
    has_own_masks = any(base in mask_names for _, base in numbered)
    cases_share_a_name = len(numbered) == 1 and not has_own_masks and (description is None or description.channels is None)
    if cases_share_a_name:  # scan_0000, scan_0001, …: cases that somebody counted from zero
        return list(images)
    declared = description.channels if description is not None else None
    count = declared or len(complete.most_common(1)[0][0])
    joined = []
    for (group, base), channels in sorted(numbered.items()):
        missing = sorted(set(range(count)) - set(channels))
        further = sorted(set(channels) - set(range(count)))
        if missing or further:
            what = f"lacks channel {missing[0]:04d}" if missing else f"has a channel {further[0]:04d} that others have not"
            first = channels[min(channels)]
            problems.append(
                Problem(
                    "error",
                    f"{base} {what}; it was left out.",
                    f"Give every case the same {count} channel files.",
                    path=first.path,
                )
            )
            continue
        joined.append(Item(tuple(channels[number].path for number in range(count)), base, group))
    return joined


def _pair(
    images: Sequence[Item],
    masks: Sequence[Item],
    in_mask_folder: bool,
    description: decathlon.Description | None,
    problems: list[Problem],
) -> Pairing:
    """Pair what ``dataset.json`` lists, then the rest by name."""
    listed: list[Pair] = []
    by_path = {item.path: item for item in (*images, *masks)}
    # nnU-Net lists x.nii.gz for the channel files x_0000.nii.gz, …
    by_path.update({_without_channel(item): item for item in images if item.name != scan_name(item.path)})
    for entry in description.pairs if description is not None else ():
        image, mask = (by_path.get(path) for path in entry)
        absent = [path for path, item in zip(entry, (image, mask), strict=True) if item is None and not path.is_file()]
        if image is not None and mask is not None:
            listed.append(Pair(image, mask, f"listed in {decathlon.FILE_NAME}"))
        elif absent:
            what = f"{decathlon.FILE_NAME} lists {absent[0]}, which does not exist."
            problems.append(Problem("error", what, "Copy the file into the data set, or remove its entry.", path=absent[0]))
    taken = {item for pair in listed for item in (pair.image, pair.mask)}
    rest = pair_by_name(
        [item for item in images if item not in taken], [item for item in masks if item not in taken], in_mask_folder
    )
    problems += rest.problems
    return Pairing((*listed, *rest.pairs), rest.lone_images, rest.lone_masks, rest.problems)


def _without_channel(item: Item) -> Path:
    ending = item.path.name[len(scan_name(item.path)) :]
    return item.path.with_name(item.name + ending)


def _case(case_id: str, item: Item, pair: Pair | None) -> Case:
    return Case(
        id=case_id,
        images=item.paths,
        mask=pair.mask.path if pair is not None else None,
        subject=subject_from_name(case_id, item.group),
        reason=pair.reason if pair is not None else "",
    )


def _with_case(problem: Problem, case_of: Mapping[Path, str]) -> Problem:
    if problem.path is None or problem.case is not None or problem.path not in case_of:
        return problem
    return Problem(problem.severity, problem.what, problem.fix, case_of[problem.path], problem.path)


def _no_images(root: Path, masks: Sequence[Item]) -> DatasetError:
    if masks:
        return DatasetError(
            f"{root} holds {len(masks)} masks (such as {masks[0].path.name}) and no images.",
            "Choose the folder above it, or the folder of the images and the masks apart.",
        )
    return DatasetError(
        f"{root} holds no volumes.", f"Choose a folder with files that end in {', '.join(GRID_SUFFIXES)}, or with DICOM series."
    )
