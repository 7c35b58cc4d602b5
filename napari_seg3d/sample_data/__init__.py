"""Small phantoms that this project makes itself, laid out as data sets: to try things, to show them, and to test them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["KINDS", "Kind", "dataset_folder", "make"]

Kind = Literal["abdomen", "spleen", "lung", "spine"]
#: Each data set, and what it shows.
KINDS: dict[Kind, str] = {
    "abdomen": "Upper abdomens in MR: liver and kidneys, in all sorts of voxel orders, some oblique",
    "spleen": "Abdomens of small animals in CT: spleen and left kidney",
    "lung": "Pieces of lungs in CT: nodules among vessels",
    "spine": "Radiographs of spines: six vertebrae that overlap, a channel each",
}
_FOLDERS: dict[Kind, str] = {"abdomen": "phantoms", "spleen": "spleens", "lung": "lungs", "spine": "spines"}


def dataset_folder(kind: Kind = "abdomen") -> Path:
    """Return the folder of a phantom data set that is part of the installation.

    It may be read-only, and it belongs to all users of the machine: write nothing there.

    Parameters
    ----------
    kind : {"abdomen", "spleen", "lung", "spine"}
        Which one; see :data:`KINDS`.
    """
    return Path(__file__).parent / _FOLDERS[kind]


def make(kind: Kind, folder: str | Path) -> None:
    """Write a phantom data set into `folder`; nothing is overwritten. Those of the installation were made so."""
    from napari_seg3d.sample_data import make_lungs, make_phantoms, make_spines, make_spleens

    makers = {
        "abdomen": make_phantoms.make_phantoms,
        "spleen": make_spleens.make_spleens,
        "lung": make_lungs.make_lungs,
        "spine": make_spines.make_spines,
    }
    makers[kind](folder)
