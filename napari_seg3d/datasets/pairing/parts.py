"""Masks with a file for each label: which image and which label each of them belongs to, by names alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from napari_seg3d.datasets.pairing.by_name import Item, images_by_folder
from napari_seg3d.datasets.pairing.names import core, token_role, tokens
from napari_seg3d.errors import Seg3dError
from napari_seg3d.volumes import read_volume

# What a scan is called that lies in a folder with the masks of its labels, and what no label is called.
_SCAN = re.compile(
    r"ct|cta|cbct|mra?|mri|pet|pt|t[12](w|s|c|ce|gd)?|flair|dwi|adc|bold|pd|swi|us|image|img|scan|volume|vol|data|orig"
)
_NO_LABEL = re.compile(
    r"(auto|automatic|rater|reader|observer|expert|annotator|consensus|staple|corrected|final|old|new|backup|copy|v|version|"
    r"resampled|denoised|normali[sz]ed|registered|cropped)\d*"
)
_ENOUGH = 0.8  # share of the masks that a layout must explain; the rest may be left over from something else


@dataclass(frozen=True)
class Parts:
    """The masks of one image, by label, and why they belong together."""

    image: Item
    masks: dict[str, Item]
    reason: str
    sureness: float


@dataclass(frozen=True)
class _Claim:
    image: Item
    label: str


def find_parts(images: Sequence[Item], masks: Sequence[Item], is_alone_enough: bool = True) -> list[Parts]:
    """Return the masks of each image where each label has a file of its own, or nothing where they are not laid out so.

    Understood are a folder of labels per case (``s01/ct`` and ``s01/segmentations/liver``, ``images/s01`` and
    ``masks/s01/liver``), a folder of cases per label (``masks/liver/s01``), and the label behind the name (``s01_liver``).

    Parameters
    ----------
    images, masks : sequence of Item
        Of the whole data set.
    is_alone_enough : bool
        Whether one case may show such a layout; otherwise a label has to come up in two cases at least.
    """
    by_folder = images_by_folder(images)
    layouts: tuple[tuple[Callable[[Item], _Claim | None], str, float], ...] = (
        (lambda mask: _of_its_folder(mask, by_folder), "in the folder of the case", 0.8),
        (_of_label_folders(images), "in a folder for each label, same name", 0.85),
        (_of_longer_names(images), "same name with the label behind it", 0.7),
    )
    for claim, where, sureness in layouts:
        claims = {mask: found for mask in masks if (found := claim(mask)) is not None and _is_label(found.label)}
        is_named = len(claims) >= _ENOUGH * len(masks) and len(set(claims.values())) == len(claims)
        of_image: dict[Item, dict[str, Item]] = defaultdict(dict)
        for mask, found in claims.items():
            of_image[found.image][found.label] = mask
        used = Counter(found.label for found in claims.values())
        is_shared = len(of_image) > 1 and max(used.values()) > 1
        has_several = any(len(labels) > 1 for labels in of_image.values())
        if is_named and has_several and (is_shared or (is_alone_enough and len(of_image) == 1 and sureness == 0.8)):
            return [
                Parts(image, dict(sorted(labels.items())), f"{len(labels)} masks, one for each label, {where}", sureness)
                for image, labels in of_image.items()
            ]
    return []


def label_files_beside(items: Sequence[Item]) -> list[Item]:
    """Return which of the volumes that lie together are masks of one label each, where no folder and no word says so.

    Such as ``case1/ct``, ``case1/liver``, ``case1/spleen``, or ``case1``, ``case1_liver``, ``case1_spleen``. Because other things
    lie like this as well, one of them is opened to see whether it is a mask.
    """
    by_group: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_group[item.group].append(item)
    scans = [_scan_among(group) for group in by_group.values()]
    longer = [item for group in by_group.values() for item in group if _starts_with_another(item, group)]
    guesses = [[item for item in items if item not in scans]] if all(scan is not None for scan in scans) else []
    for masks in (*guesses, longer):
        left = [item for item in items if item not in masks]
        parts = find_parts(left, masks, is_alone_enough=False) if masks and left else []
        if sum(len(one.masks) for one in parts) == len(masks) > 0 and _is_mask(masks[0]):
            return masks
    return []


def _of_its_folder(mask: Item, by_folder: dict[str, list[Item]]) -> _Claim | None:
    scans = by_folder.get(mask.group, []) if mask.group else []
    if len(scans) != 1:
        return None
    for said in (core(scans[0].name), tokens(_steps(mask.group)[-1])):  # p01/p01_liver is the liver
        if said and tokens(mask.name)[: len(said)] == said and len(tokens(mask.name)) > len(said):
            rest = tokens(mask.name)[len(said) :]
            return _Claim(scans[0], _label(rest, "_".join(rest)))
    return _Claim(scans[0], _label(tokens(mask.name), mask.name))


def _of_label_folders(images: Sequence[Item]) -> Callable[[Item], _Claim | None]:
    """Return what finds the image of ``masks/<label>/<name of the image>``, at whichever depth the label stands."""
    by_place: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Item]] = defaultdict(list)
    for image in images:
        by_place[_steps(image.group), core(image.name)].append(image)
    known = {step for image in images for step in _steps(image.group)}

    def claim(mask: Item) -> _Claim | None:
        steps = _steps(mask.group)
        for index, step in enumerate(steps):
            found = by_place.get((steps[:index] + steps[index + 1 :], core(mask.name)), [])
            if step not in known and len(found) == 1 and core(mask.name):
                return _Claim(found[0], _label(tokens(step), step))
        return None

    return claim


def _of_longer_names(images: Sequence[Item]) -> Callable[[Item], _Claim | None]:
    by_name: dict[tuple[str, tuple[str, ...]], list[Item]] = defaultdict(list)
    for image in images:
        by_name[image.group, core(image.name)].append(image)
        by_name["", core(image.name)] += [image] if image.group else []

    def claim(mask: Item) -> _Claim | None:
        parts = core(mask.name)
        if (mask.group, parts) in by_name or ("", parts) in by_name:  # the whole mask of another image
            return None
        for length in range(len(parts) - 1, 0, -1):
            found = by_name.get((mask.group, parts[:length])) or []
            if len(found) == 1:
                return _Claim(found[0], _label(parts[length:], "_".join(parts[length:])))
        return None

    return claim


def _steps(group: str) -> tuple[str, ...]:
    return tuple(step for step in group.split("/") if step)


def _label(parts: Iterable[str], written: str) -> str:
    """Return the name of a label without the words for masks: ``liver_seg`` is the liver."""
    words = [part for part in parts if token_role(part) != "mask"]
    return written if len(words) == len(list(tokens(written))) else "_".join(words)


def _is_label(label: str) -> bool:
    return any(char.isalpha() for char in label) and not any(
        _NO_LABEL.fullmatch(part) or _SCAN.fullmatch(part) for part in tokens(label)
    )


def _scan_among(items: Sequence[Item]) -> Item | None:
    scans = [item for item in items if all(_SCAN.fullmatch(part) for part in tokens(item.name))]
    return scans[0] if len(scans) == 1 and len(items) > 1 else None


def _starts_with_another(item: Item, others: Sequence[Item]) -> bool:
    name = tokens(item.name)
    names = {tokens(other.name) for other in others}
    return any(name[:length] in names for length in range(1, len(name)))


def _is_mask(item: Item) -> bool:
    try:
        return read_volume(item.path).kind == "labels"
    except Seg3dError:  # whoever opens the case says so
        return False
