"""Understand a folder: where its images and masks lie. Names are looked at, and few headers, so that a large folder opens at once."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from napari_seg3d.datasets.dataset import Case, Dataset, MaskPart, Problem
from napari_seg3d.datasets.layouts import decathlon
from napari_seg3d.datasets.pairing.by_name import Item, Pair, Pairing, pair_by_name
from napari_seg3d.datasets.pairing.ids import unique_ids
from napari_seg3d.datasets.pairing.listing import is_whole, list_folder, scan_name, without_pictures
from napari_seg3d.datasets.pairing.names import Role, folder_role, name_role, token_role, tokens
from napari_seg3d.datasets.pairing.orphans import TEST_IMAGE, lone_image, lone_mask
from napari_seg3d.datasets.pairing.parts import Parts, find_parts, label_files_beside
from napari_seg3d.datasets.subjects import FILE_NAME as SUBJECTS_FILE
from napari_seg3d.datasets.subjects import read_subjects, subject_from_name
from napari_seg3d.errors import DatasetError
from napari_seg3d.volumes import GRID_SUFFIXES

#: Deepest folder that is looked into; a whole disk chosen by mistake must not be searched.
DEPTH = 5
_NO_LABEL = ("background", "bg")
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class Found:
    """A volume in a data set, and what the folders that it lies in say about it."""

    item: Item
    role: Role | None
    is_test: bool


def open_folder(root: Path, mask_root: Path | None = None, subjects: Path | None = None) -> Dataset:
    """Find the cases of a data set by the names of its folders and files; see :func:`napari_seg3d.datasets.open_dataset`.

    Parameters
    ----------
    root : Path
        The data set, or its images.
    mask_root : Path, optional
        The masks, when they do not lie in `root` under a name that says so.
    subjects : Path, optional
        CSV with the columns ``case`` and ``subject``. Left out, a ``subjects.csv`` in `root` counts, else the names.

    Raises
    ------
    DatasetError
        There are no images, or ``dataset.json`` or the table of subjects is broken.
    """
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
        images = [one for one in volumes_in(root) if one.role != "mask" and not _lies_in(one.item.path, inside)]
        taken = {found.item.path.resolve() for found in images}
        mask_items = [one.item for one in volumes_in(mask_root) if one.role != "image" and one.item.path.resolve() not in taken]
        in_mask_folder = True
    if not images:
        raise _no_images(root, mask_items)
    test_images = {found.item.path for found in images if found.is_test}
    image_items = _join_channels([found.item for found in images], mask_items, description, problems)
    if not image_items:
        raise DatasetError(f"{root} holds no complete case. {problems[-1].what}", problems[-1].fix)
    to_train = [item for item in image_items if item.path not in test_images]
    ids = unique_ids(image_items)
    parts = find_parts(to_train, mask_items)
    labels = description.labels if description else {}
    if parts:
        labels = _label_values(parts, labels)
        in_parts = {item for one in parts for item in one.masks.values()}
        lone_masks = unused = tuple(item for item in mask_items if item not in in_parts)
        masks_of = {one.image: _case_in_parts(ids[one.image], one, labels) for one in parts}
    else:
        pairing = _pair(to_train, mask_items, in_mask_folder, description, problems)
        paired = {pair.mask for pair in pairing.pairs}
        lone_masks, unused = pairing.lone_masks, tuple(item for item in mask_items if item not in paired)
        masks_of = {pair.image: _case(ids[pair.image], pair.image, pair) for pair in pairing.pairs}
        disputed = set(to_train) - set(pairing.lone_images) - set(masks_of)
        to_train = [item for item in to_train if item not in disputed]
    cases = [masks_of.get(item) or _case(ids[item], item, is_test=item.path in test_images) for item in image_items]
    if mask_items:
        problems += [lone_image(item.path) for item in to_train if item not in masks_of]
        problems += [lone_mask(item.path) for item in lone_masks]
    if description is not None and description.cases not in (None, len(masks_of)):
        problems.append(
            Problem(
                "warning",
                f"{decathlon.FILE_NAME} speaks of {description.cases} training cases, and there are {len(masks_of)}.",
                "Copy the missing ones, or correct the number.",
                path=root,
            )
        )
    case_of = {path: ids[item] for item in image_items for path in item.paths}
    problems = [_with_case(problem, case_of) for problem in problems]
    dataset_cases = tuple(sorted(cases, key=lambda case: case.id))
    table = subjects if subjects is not None else root / SUBJECTS_FILE
    subjects_known = subjects is not None or table.is_file()
    if subjects_known:
        dataset_cases = read_subjects(table, dataset_cases)
    return Dataset(
        root=root,
        cases=dataset_cases,
        labels=labels,
        problems=tuple(problems),
        mask_root=mask_root,
        unused_masks=tuple(item.path for item in unused),
        subjects_known=subjects_known,
        title=description.name if description else "",
        modality=description.modality if description else "",
        channels=description.channels if description else (),
    )


def find_masks(folder: str | Path) -> list[Item]:
    """Return the masks in a folder: those of a data set, or else all its volumes. Their names are unique, as case ids are.

    Raises
    ------
    DatasetError
        The folder is missing or holds no volumes.
    """
    root = existing_folder(folder)
    if is_whole(root):
        return [Item((root,), scan_name(root))]
    found = volumes_in(root)
    if not found:
        raise _no_images(root, [])
    images, masks, in_mask_folder = _split_by_role(root, [])
    is_dataset = in_mask_folder or pair_by_name([one.item for one in images], masks, in_mask_folder).pairs
    items = masks if is_dataset else [one.item for one in found]
    return [Item(item.paths, name) for item, name in unique_ids(items).items()]


def existing_folder(folder: str | Path) -> Path:
    """Return a folder as an absolute path; raises DatasetError where it is none."""
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


def volumes_in(root: Path) -> list[Found]:
    """Return the volumes in and below a folder, as few levels down as data sets have."""
    found: list[Found] = []
    _collect(root, (), found)
    left: set[Path] = set()
    images = [one.item.path for one in found if one.role != "mask"]
    for role in ("image", "mask", None):
        paths = [one.item.path for one in found if one.role == role]
        left.update(without_pictures(paths, images if role is None else ()))
    return sorted((one for one in found if one.item.path in left), key=lambda one: (one.item.group, one.item.path.name))


def _collect(folder: Path, parts: tuple[str, ...], found: list[Found]) -> None:
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
        found.append(Found(item, "mask" if path in listing.segmentations else role, is_test))
    if len(parts) < DEPTH:
        for entry in listing.folders:
            _collect(entry, (*parts, entry.name), found)


def _split_by_role(root: Path, problems: list[Problem]) -> tuple[list[Found], list[Item], bool]:
    """Return the images, the masks, and whether a folder says that they are masks."""
    found = volumes_in(root)
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
    if not named:
        beside_labels = set(label_files_beside([one.item for one in others]))
        named = [one for one in others if one.item in beside_labels]
    return [one for one in others if one not in named], [one.item for one in named], False


def _is_mask_beside(item: Item, others: Sequence[Found]) -> bool:
    parts = tokens(item.name)
    names = {tokens(other.item.name) for other in others}
    return any(
        parts[:length] in names and any(token_role(part) == "mask" for part in parts[length:]) for length in range(1, len(parts))
    )


def _unused(found: Sequence[Found]) -> list[Problem]:
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
    cases_share_a_name = len(numbered) == 1 and not has_own_masks and (description is None or not description.channels)
    if cases_share_a_name:  # scan_0000, scan_0001, …: cases that somebody counted from zero
        return list(images)
    declared = len(description.channels) if description is not None else 0
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
            listed.append(Pair(image, mask, f"listed in {decathlon.FILE_NAME}", 1.0))
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


def _case(case_id: str, item: Item, pair: Pair | None = None, is_test: bool = False) -> Case:
    return Case(
        id=case_id,
        images=item.paths,
        mask=pair.mask.path if pair is not None else None,
        subject=subject_from_name(case_id, item.group),
        reason=pair.reason if pair is not None else TEST_IMAGE if is_test else "",
        sureness=pair.sureness if pair is not None else 1.0,
    )


def _label_values(parts: Sequence[Parts], named: Mapping[int, str]) -> dict[int, str]:
    """Return a value for each label that has files: that of ``dataset.json`` where this knows the name, else by alphabet."""
    values = {name.lower(): value for value, name in named.items()}
    names = sorted({name for one in parts for name in one.masks if name.lower() not in _NO_LABEL}, key=str.lower)
    free = (value for value in count(1) if value not in named)
    return dict(sorted({values.get(name.lower()) or next(free): name for name in names}.items()))


def _case_in_parts(case_id: str, parts: Parts, labels: Mapping[int, str]) -> Case:
    values = {name: value for value, name in labels.items()}
    files = sorted(MaskPart(values[name], item.path) for name, item in parts.masks.items() if name in values)
    case = _case(case_id, parts.image)
    return replace(case, mask=files[0].path, parts=tuple(files), reason=parts.reason, sureness=parts.sureness)


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
