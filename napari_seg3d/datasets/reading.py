"""Cases -> scans: the channels of a case as one volume, and the scans in folders that are no data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.listing import volumes_in, without_pictures
from napari_seg3d.errors import DatasetError
from napari_seg3d.volumes import Volume, read_volume, volume_name


def read_case_image(case: Case) -> Volume:
    """Return the scan of a case, its files joined as channels in their order.

    Raises
    ------
    DatasetError
        The channels do not lie on one grid.
    ReadError
        A file cannot be read.
    """
    volumes = [read_volume(path, "image") for path in case.images]
    first = volumes[0]
    for path, volume in zip(case.images[1:], volumes[1:], strict=True):
        if not volume.grid.matches(first.grid):
            raise DatasetError(
                f"{path} lies on another grid than {case.images[0]} ({first.grid.difference(volume.grid)}).",
                "Register and resample the channels of a case onto one grid.",
            )
    if len(volumes) == 1:
        return first
    return replace(first, data=np.concatenate([volume.data for volume in volumes]))


def find_scans(paths: Sequence[Path]) -> list[Case]:
    """Return a case for every scan among files and folders (folders are not searched below their first level).

    Raises
    ------
    DatasetError
        A path does not exist, no scan is found, or two scans of different folders have one name.
    """
    scans: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DatasetError(f"{path} does not exist.", "Check the path.")
        scans += without_pictures(volumes_in(path)[0]) if path.is_dir() and not path.name.lower().endswith(".zarr") else [path]
    if not scans:
        raise DatasetError(
            f"There is no scan in {', '.join(map(str, paths)) or 'nothing'}.", "Give scans, or folders with scans in them."
        )
    cases: dict[str, Case] = {}
    for scan in scans:
        name = volume_name(scan)
        if name in cases:
            raise DatasetError(f"{scan} and {cases[name].images[0]} have the same name.", "Predict them into different folders.")
        cases[name] = Case(name, (scan,), None, name)
    return list(cases.values())
