"""Which mask belongs to which image, by name alone, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_seg3d.datasets.dataset import Problem
from napari_seg3d.datasets.pairing.names import core, numbers, token_role, tokens

# How sure each rule is.
_SAME_NAME, _SAME_CORE, _SAME_FOLDER, _LONGER_NAME, _SAME_NUMBER = 0.9, 0.85, 0.8, 0.7, 0.5


@dataclass(frozen=True)
class Item:
    """A volume that looks for its partner.

    Parameters
    ----------
    paths : tuple of Path
        Its file, or one per channel.
    name : str
        The file name without ending and channel number.
    group : str
        The folders between the data set and the file that say neither image nor mask, such as ``train`` or ``patient01``.
    """

    paths: tuple[Path, ...]
    name: str
    group: str = ""

    @property
    def path(self) -> Path:
        """The (first) file."""
        return self.paths[0]


@dataclass(frozen=True)
class Pair:
    """An image, its mask, why they belong together, and how sure that is (0 to 1)."""

    image: Item
    mask: Item
    reason: str
    sureness: float


@dataclass(frozen=True)
class Pairing:
    """The pairs, what found no partner, and (as problems) what could not be decided."""

    pairs: tuple[Pair, ...]
    lone_images: tuple[Item, ...]
    lone_masks: tuple[Item, ...]
    problems: tuple[Problem, ...]


def pair_by_name(images: Sequence[Item], masks: Sequence[Item], in_mask_folder: bool = True) -> Pairing:
    """Put masks and images together whose names say so; never by the order of a listing.

    In turn: the same name; the same name without words such as ``seg`` or ``image``; a mask whose name goes on where the
    image's ends (``t2_gmseg`` to ``t2``); a mask called nothing but that, which lies in a folder with a single image in or below
    it (``p01/mask`` and ``p01/ct``), or of its name (``labels/p01/mask`` and ``images/p01``); the same number, where it is the
    only image and the only mask with that number and no other number speaks against it. Within one folder first, then across.
    Whatever fits twice is not paired but reported. Each rule leaves less sure than the one before it: 0.9 for the same name, 0.5
    for nothing but the same number.

    Parameters
    ----------
    images, masks : sequence of Item
        What to put together.
    in_mask_folder : bool
        Whether a folder says that the masks are masks. Otherwise only their names do, and a mask's longer name must hold a
        word for a mask.
    """
    chosen: dict[Item, list[Pair]] = defaultdict(list)
    problems: list[Problem] = []
    settled: set[Item] = set()
    by_name = _Index(images, lambda item: item.name.lower())
    by_core = _Index(images, lambda item: core(item.name))
    by_tokens = _Index(images, lambda item: tokens(item.name))
    by_folder = images_by_folder(images)
    for mask in masks:
        for candidates, reason, sureness in _candidates(mask, by_name, by_core, by_tokens, by_folder, in_mask_folder):
            if len(candidates) == 1:
                chosen[candidates[0]].append(Pair(candidates[0], mask, reason, sureness))
                settled.add(mask)
            elif candidates:
                problems.append(_several_images(mask, candidates))
                settled.add(mask)
            if candidates:
                break
    pairs: list[Pair] = []
    disputed: set[Item] = set()
    for image, claims in chosen.items():
        exact = [claim for claim in claims if claim.sureness == _SAME_NAME]
        winners = exact if len(exact) == 1 else claims
        if len(winners) > 1:
            disputed.add(image)
            problems.append(_several_masks(image, [claim.mask for claim in claims]))
            continue
        pairs.append(winners[0])
        problems += [_further_mask(image, winners[0].mask, claim.mask) for claim in claims if claim is not winners[0]]
    paired = {pair.image for pair in pairs}
    open_images = [image for image in images if image not in paired and image not in disputed]
    open_masks = [mask for mask in masks if mask not in settled]
    pairs += _by_number(open_images, open_masks)
    paired = {pair.image for pair in pairs}
    settled |= {pair.mask for pair in pairs}
    return Pairing(
        tuple(sorted(pairs, key=lambda pair: (pair.image.name, pair.image.group))),
        tuple(image for image in images if image not in paired and image not in disputed),
        tuple(mask for mask in masks if mask not in settled),
        tuple(problems),
    )


class _Index:
    """Images by a key, those in the same group first."""

    def __init__(self, images: Iterable[Item], key: Callable[[Item], Hashable]) -> None:
        self._within: dict[tuple[str, Hashable], list[Item]] = defaultdict(list)
        self._across: dict[Hashable, list[Item]] = defaultdict(list)
        for image in images:
            self._within[image.group, key(image)].append(image)
            self._across[key(image)].append(image)

    def find(self, group: str, key: Hashable) -> list[Item]:
        """Return the images with this key in this group or, when there are none, anywhere."""
        if not key:  # image.nii.gz and mask.nii.gz: only a folder of their own holds such a pair together
            return self._within.get((group, key), []) if group else []
        return self._within.get((group, key)) or self._across.get(key, [])


def images_by_folder(images: Iterable[Item]) -> dict[str, list[Item]]:
    """Return the images in or below each folder; an image that is a folder lies in itself."""
    found: dict[str, list[Item]] = defaultdict(list)
    for image in images:
        parts = [part for part in (*image.group.split("/"), image.name) if part]
        for length in range(1, len(parts) + 1):
            found["/".join(parts[:length])].append(image)
    return found


def _candidates(
    mask: Item,
    by_name: _Index,
    by_core: _Index,
    by_tokens: _Index,
    by_folder: Mapping[str, list[Item]],
    in_mask_folder: bool,
) -> Iterable[tuple[list[Item], str, float]]:
    yield by_name.find(mask.group, mask.name.lower()), "same name", _SAME_NAME
    mask_core = core(mask.name)
    alike = by_core.find(mask.group, mask_core)
    of_folder = f"image and mask of the folder {mask.group}"
    if mask_core and alike:
        yield alike, _without(mask.name, alike[0].name), _SAME_CORE
    else:
        yield alike, of_folder, _SAME_FOLDER
    if not mask_core and mask.group:
        yield by_folder.get(mask.group, []), of_folder, _SAME_FOLDER
    parts = tokens(mask.name)
    for length in range(len(parts) - 1, 0, -1):
        rest = parts[length:]
        says_mask = any(token_role(part) == "mask" for part in rest)
        # A number in the rest may be another case: p_1_2 is no mask of p_1.
        if says_mask or (in_mask_folder and not any(char.isdigit() for part in rest for char in part)):
            yield by_tokens.find(mask.group, parts[:length]), f"same name without _{'_'.join(rest)}", _LONGER_NAME


def _without(mask: str, image: str) -> str:
    def words(name: str, other: str) -> str:
        return "_".join(part for part in tokens(name) if token_role(part) and part not in tokens(other))

    removed = [f"_{text}" for text in (words(image, mask), words(mask, image)) if text]
    return f"same name without {' and '.join(removed)}" if removed else "same name, written differently"


def _by_number(images: Sequence[Item], masks: Sequence[Item]) -> list[Pair]:
    image_numbers = _by_their_numbers(images)
    mask_numbers = _by_their_numbers(masks)
    partners: dict[Item, set[Item]] = defaultdict(set)
    shared: dict[tuple[Item, Item], int] = {}
    for number, holders in image_numbers.items():
        others = mask_numbers.get(number, [])
        if len(holders) == len(others) == 1:
            image, mask = holders[0], others[0]
            partners[image].add(mask)
            partners[mask].add(image)
            shared[image, mask] = number
    pairs = []
    for (image, mask), number in shared.items():
        one, other = numbers(image.name), numbers(mask.name)
        agree = (one <= other or other <= one) and not _goes_on(image, mask) and not _goes_on(mask, image)
        if agree and len(partners[image]) == len(partners[mask]) == 1:
            pairs.append(Pair(image, mask, f"same number {number}", _SAME_NUMBER))
    return pairs


def _goes_on(item: Item, other: Item) -> bool:
    # p_1_2 may be the second scan of p_1: not the same number, but a longer one.
    start, whole = core(other.name), core(item.name)
    return len(start) < len(whole) and whole[: len(start)] == start


def _by_their_numbers(items: Sequence[Item]) -> dict[int, list[Item]]:
    found: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        for number in numbers(item.name):
            found[number].append(item)
    return found


def _several_masks(image: Item, masks: Sequence[Item]) -> Problem:
    names = ", ".join(sorted(mask.path.name for mask in masks))
    count = "Two masks for one image" if len(masks) == 2 else f"{len(masks)} masks for one image"
    return Problem(
        "error",
        f"{count}: {image.path.name} could belong to {names}.",
        "Move the masks that are not meant away, or put the right ones into a folder of their own and choose it as masks.",
        path=image.path,
    )


def _further_mask(image: Item, mask: Item, other: Item) -> Problem:
    return Problem(
        "warning",
        f"{other.path.name} is a second mask for {image.path.name}; {mask.path.name}, which has the same name, is used.",
        "Move the mask that is not meant to another folder.",
        path=other.path,
    )


def _several_images(mask: Item, images: Sequence[Item]) -> Problem:
    names = ", ".join(sorted(str(Path(image.group) / image.path.name) for image in images))
    return Problem(
        "error",
        f"Several images for one mask: {mask.path.name} could belong to {names}.",
        "Give each mask the name of its image, or move the images that are not meant to another folder.",
        path=mask.path,
    )
