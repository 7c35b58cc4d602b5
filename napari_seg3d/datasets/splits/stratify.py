"""Distribute subjects so that each label is in the same share of the cases everywhere.

The iterative stratification of K. Sechidis, G. Tsoumakas and I. Vlahavas, On the Stratification of Multi-Label Data (ECML PKDD
2011): the rarest label is dealt out first, each time to the part that lacks it most. Here it deals subjects instead of cases, and the
parts have a fixed number of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

#: Stands for the cases in whose mask there is nothing: they too are shared out evenly.
_NOTHING = 0


def deal(order: Sequence[str], labels: Mapping[str, Sequence[frozenset[int]]], sizes: Sequence[int]) -> list[list[str]]:
    """Deal subjects to parts.

    Parameters
    ----------
    order : sequence of str
        The subjects, in the order in which they are dealt where their labels leave a choice.
    labels : mapping of str to sequence of frozenset of int
        Subject -> the labels of each of its cases.
    sizes : sequence of int
        Subjects of each part; together as many as there are.

    Returns
    -------
    list of list of str
        The subjects of each part. Where all cases hold the same labels, the first part has the first ones in `order`.
    """
    counts = {subject: Counter(label for case in labels[subject] for label in case or (_NOTHING,)) for subject in order}
    if len({case for subject in order for case in labels[subject]}) <= 1:
        ends = [sum(sizes[: part + 1]) for part in range(len(sizes))]
        return [list(order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
    total = sum(counts.values(), Counter[int]())
    # What each part should still get: cases of each label.
    wanted = [{label: number * size / len(order) for label, number in total.items()} for size in sizes]
    room = list(sizes)
    parts: list[list[str]] = [[] for _ in sizes]
    left = list(order)
    while left:
        remaining = sum((counts[subject] for subject in left), Counter[int]())
        label = min(remaining, key=lambda one: (remaining[one], one))
        # Who has most of it comes first: large pieces fit badly later.
        holders = sorted((subject for subject in left if counts[subject][label]), key=lambda one: -counts[one][label])
        for subject in holders:
            open_parts = [part for part in range(len(sizes)) if room[part]]
            part = max(open_parts, key=lambda one: (round(wanted[one][label], 9), room[one] / sizes[one], -one))
            parts[part].append(subject)
            room[part] -= 1
            for each, number in counts[subject].items():
                wanted[part][each] -= number
        dealt = set(holders)
        left = [subject for subject in left if subject not in dealt]
    return parts
