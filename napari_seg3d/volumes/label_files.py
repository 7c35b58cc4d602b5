"""A mask as one file for each label."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import WriteError
from napari_seg3d.files import atomic_path
from napari_seg3d.volumes.io import check_target, volume_name, write_volume
from napari_seg3d.volumes.labels import as_labels
from napari_seg3d.volumes.volume import Label, Volume

_LONGEST_NAME = 60


def write_label_files(volume: Volume, path: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write each label of a mask to a file of its own, as 0 and 1 on the same grid.

    ``case.nii.gz`` becomes ``case_liver.nii.gz``, ``case_spleen.nii.gz`` and so on: by the names of the labels, or by their
    values where they have none. A label that is named but painted nowhere gets an empty file, so that every case has the same
    files. All of them are written before the first one takes its place.

    Parameters
    ----------
    volume : Volume
        A mask; overlapping labels have a channel each.
    path : path-like
        Folder, first part of the names, and ending, which chooses the format.
    overwrite : bool
        Whether files that are already there may be replaced. The file that the mask was read from is never replaced.

    Returns
    -------
    list of Path
        The files, by ascending label value.

    Raises
    ------
    WriteError
        As `write_volume` does, or the mask has no labels.
    LabelError
        The values are no labels.
    """
    path = Path(path)
    masks = _masks(volume, str(path))
    if not masks:
        raise WriteError(f"{path}: the mask has no labels.", "Paint something first.")
    paths = label_paths({value: volume.labels.get(value, Label()) for value in masks}, path)
    targets = list(paths.values())
    for target in targets:
        check_target(volume, target, overwrite=overwrite)
    with atomic_path(targets[0]) as temporary:
        scratch = temporary.parent
        for value, mask in masks.items():
            label = volume.labels.get(value, Label())
            single = replace(volume, data=mask, kind="labels", labels={1: label}, channels=(), fourth="channel")
            try:
                write_volume(single, scratch / paths[value].name)
            except WriteError as error:
                raise WriteError(error.what.replace(str(scratch), str(path.parent)), error.fix) from error
        for part in sorted(scratch.iterdir()):
            # The data file of an .mhd.
            if not overwrite and os.path.lexists(path.parent / part.name):
                raise WriteError(
                    f"{path.parent / part.name} exists already.", "Choose another name: it may belong to another volume."
                )
    return targets


def label_paths(labels: Mapping[int, Label], path: str | Path) -> dict[int, Path]:
    """Return the file of each label that `write_label_files` writes for a mask with these labels, by ascending value."""
    path = Path(path)
    stem, ending = volume_name(path), path.name[len(volume_name(path)) :]
    words = {value: _safe(labels[value].name) or str(value) for value in sorted(labels)}
    # Some systems take capitals for small letters.
    lowered = [word.lower() for word in words.values()]
    unique = {value: word if lowered.count(word.lower()) == 1 else f"{word}_{value}" for value, word in words.items()}
    return {value: path.parent / f"{stem}_{word}{ending}" for value, word in unique.items()}


def _masks(volume: Volume, name: str) -> dict[int, NDArray[np.generic]]:
    """Return ``(1, I, J, K)`` of 0 and 1 for each label that is painted or named."""
    data = as_labels(volume.data, name)
    if len(data) > 1:
        channels = [channel for channel in range(len(data)) if channel + 1 in volume.labels or data[channel].any()]
        return {channel + 1: (data[channel : channel + 1] != 0).astype(np.uint8) for channel in channels}
    values = sorted({int(value) for value in np.unique(data)} | set(volume.labels) - {0})
    return {value: np.equal(data, value).astype(np.uint8) for value in values if value != 0}


def _safe(name: str) -> str:
    """Return a name that every system takes for a part of a file name."""
    return re.sub(r"[^\w.-]+", "_", name)[:_LONGEST_NAME].strip("._-")
