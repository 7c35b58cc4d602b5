"""Keep corrected and predicted masks of a review: each a file of its own, with who and when in its name; nothing is ever written over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from napari_seg3d.editing.versions import Version, list_versions, save_version
from napari_seg3d.files import write_text
from napari_seg3d.review.worklist import Worklist
from napari_seg3d.volumes import Volume

_FOLDERS: dict[str, str] = {"correction": "corrections", "prediction": "predictions"}
_ABOUT = "About these files.txt"
_WORDS = """This folder is the review of a data set, kept by napari-seg3d.

*.jsonl      what was said of the cases, a line each; a file for each account on each computer. They are the truth, and only grow.
review.csv   the same as a table, written anew after each change. To change something in a spreadsheet: save it under another name,
             then: napari-seg3d review DATASET --take TABLE
corrections  masks as they were corrected, a file for each time. The newest one that the journals name is in use.
predictions  masks that were predicted anew in the course of the review.
"""


def keep_mask(
    worklist: Worklist,
    case: str,
    mask: Volume,
    kind: Literal["correction", "prediction"],
    tools: Sequence[str] = (),
    comment: str = "",
) -> Path:
    """Write a mask beside the journals, as a version of its own, and note that it is in use from now on; `Worklist.write` writes the note.

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
    tools : sequence of str
        What it was made with.
    comment : str
        What is to be said of this version.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    WriteError
        It cannot be written; nothing is noted.
    """
    version = save_version(worklist.store.folder / _FOLDERS[kind] / case, mask, worklist.who, tools, comment)
    if kind == "correction":
        worklist.use_correction(case, version.path)
    else:
        worklist.use_prediction(case, version.path)
    return version.path


def corrections_of(worklist: Worklist, case: str) -> list[Version]:
    """Return the masks of a case that people corrected, the oldest first; those of another reader only when both are done."""
    found = list_versions(worklist.store.folder / _FOLDERS["correction"] / case)
    return [one for one in found if one.author == worklist.who] if worklist.entry(case).is_blinded else found


def explain_folder(worklist: Worklist) -> None:
    """Write a few words beside the journals for whoever finds them; raises WriteError."""
    file = worklist.store.folder / _ABOUT
    if not file.exists():
        write_text(file, _WORDS)
