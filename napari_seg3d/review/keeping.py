"""Keep corrected and predicted masks of a review: each a file of its own, with who and when in its name; nothing is ever written over."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from napari_seg3d.files import write_text
from napari_seg3d.review.worklist import Worklist
from napari_seg3d.volumes import Volume, write_volume

_FOLDERS: dict[str, str] = {"correction": "corrections", "prediction": "predictions"}
_MOST_LETTERS = 60
_ABOUT = "About these files.txt"
_WORDS = """This folder is the review of a data set, kept by napari-seg3d.

*.jsonl      what was said of the cases, a line each; a file for each account on each computer. They are the truth, and only grow.
review.csv   the same as a table, written anew after each change. To change something in a spreadsheet: save it under another name,
             then: napari-seg3d review DATASET --take TABLE
corrections  masks as they were corrected, a file for each time. The newest one that the journals name is in use.
predictions  masks that were predicted anew in the course of the review.
"""


def keep_mask(worklist: Worklist, case: str, mask: Volume, kind: Literal["correction", "prediction"]) -> Path:
    """Write a mask beside the journals and note that it is in use from now on; `Worklist.write` writes the note.

    Parameters
    ----------
    worklist : Worklist
        Whose.
    case : str
        Id of the case.
    mask : Volume
        On the grid of its scan.
    kind : {"correction", "prediction"}
        Whether a person or a model made it.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    WriteError
        It cannot be written; nothing is noted.
    """
    folder = worklist.store.folder / _FOLDERS[kind] / case
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    who = re.sub(r"[^\w.-]+", "-", worklist.who, flags=re.ASCII).strip(".-")[:_MOST_LETTERS] or "reviewer"
    name, number = f"{moment}-{who}", 1
    while (folder / f"{name}.nii.gz").exists():
        number += 1
        name = f"{moment}-{who}-{number}"
    # Whatever the mask was read from, what is needed to write that format again does not belong to this file.
    file = write_volume(replace(mask, source=None), folder / f"{name}.nii.gz")
    if kind == "correction":
        worklist.use_correction(case, file)
    else:
        worklist.use_prediction(case, file)
    return file


def explain_folder(worklist: Worklist) -> None:
    """Write a few words beside the journals for whoever finds them; raises WriteError."""
    file = worklist.store.folder / _ABOUT
    if not file.exists():
        write_text(file, _WORDS)
