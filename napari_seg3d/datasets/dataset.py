"""The nouns of a data set: which image belongs to which mask, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_seg3d.datasets.splits.stored import StoredSplit
from napari_seg3d.errors import DatasetError

#: How bad something is.
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, order=True)
class MaskPart:
    """The file of one label, where each label has a mask of its own: what is not 0 in it is that label."""

    value: int
    path: Path


@dataclass(frozen=True)
class Case:
    """One scan with its mask, if it has one.

    Parameters
    ----------
    id : str
        Unique within the data set: the image's file name without ending and channel number, with its folder where that is
        needed to tell two apart.
    images : tuple of Path
        One file per channel.
    mask : Path or None
        The label map, or none; of a mask in parts the first of them.
    subject : str
        Who was scanned. Cases of one subject never go to both sides of a split.
    reason : str
        Why image and mask were put together, for a person to judge; or why there is no mask, where that is as it should be.
    sureness : float
        How sure that is: 1 where a list or a person says so, less where names only resemble each other.
    parts : tuple of MaskPart
        The files of the mask, where each label has its own.
    """

    id: str
    images: tuple[Path, ...]
    mask: Path | None
    subject: str
    reason: str = ""
    sureness: float = 1.0
    parts: tuple[MaskPart, ...] = ()


def files_of(case: Case) -> tuple[Path, ...]:
    """Return all files of a case: its images, then its masks."""
    masks = tuple(part.path for part in case.parts) or ((case.mask,) if case.mask is not None else ())
    return (*case.images, *masks)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data set.

    Parameters
    ----------
    severity : {"error", "warning", "info"}
        A case with an error is left out of training; a warning is worth a look; the rest is good to know.
    what : str
        What is wrong, naming the file or the value.
    fix : str
        What to do about it.
    case : str, optional
        The case concerned.
    path : Path, optional
        The file concerned.
    """

    severity: Severity
    what: str
    fix: str
    case: str | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """Cases, label names, and what is wrong.

    Parameters
    ----------
    root : Path
        The folder that was opened.
    cases : tuple of Case
        Sorted by id. Cases without a mask can be predicted, not trained on.
    labels : dict of int to str
        Value -> name without the background, as far as a ``dataset.json`` names them; else empty until checked.
    problems : tuple of Problem
        Orphans and doubtful pairs found while pairing.
    mask_root : Path, optional
        The folder of the masks, when it was chosen apart from `root`.
    unused_masks : tuple of Path
        Masks that no case has.
    subjects_known : bool
        Whether a table said who was scanned; otherwise names did, and the check may find more.
    file : Path, optional
        The ``dataset.yaml`` that it was read from.
    modality : str
        Such as ``"CT"`` or ``"MR"``; empty where nobody said it.
    channels : tuple of str
        Names of the channels; empty where nobody said them.
    merged : dict of int to int
        Value in a mask -> the value that it counts as.
    excluded : dict of str to str
        Case id -> why nobody trains on it.
    title : str
        What people call it; left out, the name of its folder.
    split : StoredSplit, optional
        Who trains, validates and tests; left out, training draws its own.
    """

    root: Path
    cases: tuple[Case, ...]
    labels: dict[int, str]
    problems: tuple[Problem, ...] = ()
    mask_root: Path | None = None
    unused_masks: tuple[Path, ...] = ()
    subjects_known: bool = False
    file: Path | None = None
    modality: str = ""
    channels: tuple[str, ...] = ()
    merged: Mapping[int, int] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    split: StoredSplit | None = None

    @property
    def name(self) -> str:
        """What people call it, or the folder's name."""
        return self.title or self.root.name

    @property
    def pairs(self) -> tuple[Case, ...]:
        """The cases that have a mask and are not excluded."""
        return tuple(case for case in self.cases if case.mask is not None and case.id not in self.excluded)

    def case(self, case_id: str) -> Case:
        """Return the case with this id (KeyError when there is none)."""
        for case in self.cases:
            if case.id == case_id:
                return case
        raise KeyError(case_id)

    def require_pairs(self) -> tuple[Case, ...]:
        """Return the cases that have a mask.

        Raises
        ------
        DatasetError
            There is none, so nothing can be trained on.
        """
        if self.pairs:
            return self.pairs
        if self.problems and not self.unused_masks:
            raise DatasetError(f"No image of {self.root} has a mask. {self.problems[0].what}", self.problems[0].fix)
        images = [case.images[0].name for case in self.cases]
        where = f"images in {self.root}, masks in {self.mask_root or self.root}"
        found = f"{len(images)} images{_such_as(images)} and {len(self.unused_masks)} masks{_such_as(self.unused_masks)}"
        if self.unused_masks:
            fix = "Give each mask the name of its image (scan1.nii.gz and scan1_seg.nii.gz, or one name in two folders)."
        else:
            fix = "Choose the folder of the masks, or put them into a folder named labels beside the images."
        raise DatasetError(f"No image has a mask ({where}): found {found}, and no names that belong together.", fix)


def _such_as(files: Sequence[str | Path]) -> str:
    return f" (such as {Path(files[0]).name})" if files else ""
