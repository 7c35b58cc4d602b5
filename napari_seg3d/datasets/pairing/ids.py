"""What to call a case: short where that tells it from all others, with its folders where it does not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from napari_seg3d.datasets.pairing.by_name import Item
from napari_seg3d.datasets.pairing.names import core

_NOT_IN_IDS = re.compile(r"[/\\:\x00-\x1f]")
_LONGEST = 200


def is_id(text: str) -> bool:
    """Return whether a text may name a case: it becomes the name of files."""
    return bool(text.strip(". ")) and len(text) <= _LONGEST and not _NOT_IN_IDS.search(text)


def unique_ids(items: Sequence[Item]) -> dict[Item, str]:
    """Return an id for each item: its name, with its folder or its ending where only that tells two apart.

    No two ids differ only in case, because an id becomes a file name and some disks do not regard it.
    """

    def plain(item: Item) -> str:
        return item.name if core(item.name) or not item.group else item.group.replace("/", "_")

    def with_group(item: Item) -> str:
        return f"{item.group.replace('/', '_')}_{item.name}" if item.group else item.name

    def with_ending(item: Item) -> str:
        return f"{item.group.replace('/', '_')}_{item.path.name}" if item.group else item.path.name

    def whole_path(item: Item) -> str:
        return "_".join(part for part in item.path.parts[1:])

    ids: dict[Item, str] = {}
    waiting = list(items)
    for scheme in (plain, with_group, with_ending, whole_path):
        counts = Counter(_NOT_IN_IDS.sub("_", scheme(item)).lower() for item in waiting)
        taken = {known.lower() for known in ids.values()}
        for item in waiting:
            name = _NOT_IN_IDS.sub("_", scheme(item))
            if (counts[name.lower()] == 1 and name.lower() not in taken) or scheme is whole_path:
                ids[item] = name
        waiting = [item for item in waiting if item not in ids]
    return ids
