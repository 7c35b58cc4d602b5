"""Which mask in a folder of predictions belongs to which case, and the maps of uncertainty beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from napari_seg3d.datasets import Case, Item, find_masks, pair_by_name
from napari_seg3d.errors import DatasetError
from napari_seg3d.volumes import volume_name

_TABLE = "predictions.csv"
_MAPS = ("_uncertainty", "_probabilities")


def predictions_in(folder: Path, cases: Iterable[Case]) -> dict[str, Path]:
    """Return the masks in a folder by the ids of the cases that they belong to.

    A ``predictions.csv``, as ``napari-seg3d predict`` writes it, says which is whose; without one the names do, as for the masks of a data
    set. Cases without a prediction, and masks for each label in a file of its own, are left out.

    Raises
    ------
    DatasetError
        The folder is missing or holds no masks, or none that belongs to a case.
    """
    wanted = list(cases)
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder.", "Choose the folder that the predictions lie in; is the drive connected?")
    found = _from_table(folder, {case.id for case in wanted})
    if not found:
        masks = [item for item in find_masks(folder) if not item.name.endswith(_MAPS)]
        by_name = {item.name: item.path for item in masks}
        found = {case.id: by_name[case.id] for case in wanted if case.id in by_name}
        images = {Item(case.images, case.id): case.id for case in wanted if case.id not in found}
        left = [item for item in masks if item.path not in set(found.values())]
        for pair in pair_by_name(list(images), left).pairs:
            found[images[pair.image]] = pair.mask.path
    if not found:
        raise DatasetError(
            f"No mask in {folder} belongs to a case of this data set.",
            "Give each prediction the name of its scan, or choose another folder.",
        )
    return found


def uncertainty_beside(mask: Path) -> Path | None:
    """Return the map of uncertainty that was written with a predicted mask, if it is there."""
    name = volume_name(mask)
    file = mask.parent / f"{name}_uncertainty.nii.gz"
    return file if file.is_file() else None


def _from_table(folder: Path, ids: set[str]) -> dict[str, Path]:
    try:
        rows = list(csv.DictReader(io.StringIO((folder / _TABLE).read_text(encoding="utf-8-sig"))))
    except (OSError, ValueError, csv.Error):
        return {}
    found = {}
    for row in rows:
        # A cell that a spreadsheet would take for a formula was written with an apostrophe.
        case, name = ((row.get(key) or "").removeprefix("'") for key in ("case", "file"))
        if case in ids and name and "; " not in name and Path(name).name == name and (folder / name).exists():
            found[case] = folder / name
    return found
