"""Count what a split puts where, for people to see whether it is even."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from napari_seg3d.datasets.dataset import Dataset
from napari_seg3d.datasets.splits.split import Presence, complete
from napari_seg3d.datasets.splits.stored import Place, StoredSplit, Test


@dataclass(frozen=True)
class Tally:
    """What is in one set.

    Parameters
    ----------
    place : {"train", "validation", "test"} or int
        Which one; the number is that of a fold.
    cases, subjects : int
        How many.
    labels : dict of int to int
        Label -> cases that hold it.
    """

    place: Place | Test
    cases: int
    subjects: int
    labels: dict[int, int]

    @property
    def name(self) -> str:
        """What people call the set."""
        return name_of(self.place)


def name_of(place: Place | Test) -> str:
    """Return what people call a set: ``"train"``, ``"fold 2"``."""
    return f"fold {place}" if isinstance(place, int) else place


def tally(split: StoredSplit, dataset: Dataset, presence: Presence) -> list[Tally]:
    """Return what is in each set that is not empty, training first and the test set last; without a mask nobody trains."""
    places = complete(split, dataset.cases)
    with_mask = {case.id for case in dataset.pairs}
    counted = [case for case in dataset.cases if case.id in with_mask | split.held_back]
    found = []
    order: tuple[Place | Test, ...] = (*split.places, "test")
    for place in order:
        inside = [case for case in counted if places[case.id] == place]
        if inside:
            labels = Counter(label for case in inside for label in presence.get(case.id, ()))
            found.append(Tally(place, len(inside), len({case.subject for case in inside}), dict(sorted(labels.items()))))
    return found
