"""Who trains and who validates: by subject, drawn from a seed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.errors import DatasetError
from napari_seg3d.files import write_text


class SplitRow(NamedTuple):
    """One line of ``split.csv``."""

    case: str
    subject: str
    set: Literal["train", "validation"]


@dataclass(frozen=True)
class Split:
    """Ids of the cases that train and of those that validate, each sorted.

    Parameters
    ----------
    train, validation : tuple of str
        No subject has cases in both.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]

    def rows(self, cases: Iterable[Case]) -> list[SplitRow]:
        """Return case, subject and set of those `cases` that belong to the split, in their order."""
        train, validation = set(self.train), set(self.validation)
        rows = [SplitRow(case.id, case.subject, "train" if case.id in train else "validation") for case in cases]
        return [row for row in rows if row.case in train or row.case in validation]

    def save(self, path: str | Path, cases: Iterable[Case]) -> None:
        """Write a CSV with the columns case, subject, set."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(SplitRow._fields)
        writer.writerows(self.rows(cases))
        write_text(path, text.getvalue())


def split_by_subject(cases: Sequence[Case], validation: float = 0.2, seed: int = 0) -> Split:
    """Draw the subjects that validate.

    The order of the draw follows from the seed and the names of the subjects alone, so the order of a listing changes nothing
    and a new subject moves few of the others.

    Parameters
    ----------
    cases : sequence of Case
        Those that may train.
    validation : float
        Share of the subjects to hold back, between 0 and 1. At least one subject lies on either side.
    seed : int
        Another number draws other subjects.

    Raises
    ------
    DatasetError
        There are fewer than two subjects, or `validation` is no share.
    """
    if not 0 < validation < 1:
        raise DatasetError(
            f"A validation share of {validation:g} leaves one side empty.", "Choose one between 0 and 1, such as 0.2."
        )
    subjects = sorted({case.subject for case in cases}, key=lambda subject: _draw(seed, subject))
    if not subjects:
        raise DatasetError(
            "There are no cases to split.", "Open a data set in which at least two subjects have sound images and masks."
        )
    if len(subjects) == 1:
        raise DatasetError(
            f"All {len(cases)} cases belong to one subject ({subjects[0]}), so none can be held back to judge the model.",
            "Add scans of another subject; if they are several, tell them apart in a subjects.csv (columns case, subject).",
        )
    count = min(max(round(validation * len(subjects)), 1), len(subjects) - 1)
    held_back = set(subjects[:count])
    return Split(
        train=tuple(sorted(case.id for case in cases if case.subject not in held_back)),
        validation=tuple(sorted(case.id for case in cases if case.subject in held_back)),
    )


def _draw(seed: int, subject: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"{seed}:{subject}".encode()).digest(), subject
