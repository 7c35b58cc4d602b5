"""Layers -> data set: what is open in the viewer as a folder that can be trained on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from napari.layers import Image, Labels

from napari_seg3d.datasets import Case, Dataset, load_dataset, place_mask, save_dataset
from napari_seg3d.errors import Cancelled, DatasetError, WriteError
from napari_seg3d.files import atomic_folder
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.volumes import Volume, write_volume

_REASON = "drawn on it in the viewer"
_ENDING = ".nii.gz"


@dataclass(frozen=True)
class LayerPair:
    """An image layer and the mask that was drawn on it, if any."""

    image: Image
    mask: Labels | None


def dataset_from_layers(
    pairs: Sequence[LayerPair],
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Save images and masks that are open in the viewer as a data set of their own.

    Each layer is written in the voxel order and on the grid of its file, as NIfTI, so that the folder can move. The files that the
    layers came from are not touched. May run in a worker: layers are only read.

    Parameters
    ----------
    pairs : sequence of LayerPair
        One for each case; they are called as their image layers are. A mask that was drawn with napari's own *New labels* takes
        the grid of its image.
    folder : path-like
        A new or empty folder: ``images``, ``labels`` and ``dataset.yaml`` go into it, all of them or none.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each pair.

    Raises
    ------
    DatasetError
        There is no image, or one is there twice.
    GeometryError
        A mask does not lie on its image.
    WriteError
        The folder holds something, or cannot be written.
    Cancelled
        `cancelled` said so; nothing was written.
    """
    target = Path(folder).expanduser().absolute()
    if not pairs:
        raise DatasetError("There is no image to save.", "Choose an image layer for each case.")
    if len({id(pair.image) for pair in pairs}) < len(pairs):
        raise DatasetError("One image is there twice.", "Join its masks in one labels layer, with a value for each label.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WriteError(f"{target} holds something already.", "Choose a new or empty folder.")
    with atomic_folder(target) as whole:
        cases: list[Case] = []
        found: dict[int, set[str]] = defaultdict(set)
        modalities: set[str] = set()
        for done, (pair, name) in enumerate(zip(pairs, _ids(pairs), strict=True), start=1):
            if cancelled is not None and cancelled():
                raise Cancelled("Saving was stopped; nothing was written.")
            image = layer_to_volume(pair.image)
            mask = place_mask(layer_to_volume(pair.mask, [pair.image]), image) if pair.mask is not None else None
            cases.append(_write(whole, name, image, mask))
            modalities.add(image.modality)
            for value in np.unique(mask.data).tolist() if mask is not None else ():
                found[value] |= {mask.labels[value].name} if mask is not None and value in mask.labels else set()
            if progress is not None:
                progress(done, len(pairs))
        # A name that some masks give to one value and others to another is no name.
        labels = {value: names.pop() if len(names) == 1 else f"label {value}" for value, names in found.items() if value}
        dataset = Dataset(
            whole, tuple(cases), labels, title=target.name, modality=modalities.pop() if len(modalities) == 1 else ""
        )
        save_dataset(dataset, whole)
    return load_dataset(target)


def _write(whole: Path, name: str, image: Volume, mask: Volume | None) -> Case:
    file = write_volume(image, whole / "images" / (name + _ENDING))
    if mask is None:
        return Case(name, (file,), None, name)
    drawn = write_volume(mask, whole / "labels" / (name + _ENDING))
    return Case(name, (file,), drawn, name, _REASON)


def _ids(pairs: Sequence[LayerPair]) -> list[str]:
    """Return an id for each pair: the name of its image layer as a file name, with a number where several share it."""
    ids: list[str] = []
    for pair in pairs:
        wanted = re.sub(r"[^\w.-]+", "_", pair.image.name).strip("._")[:100] or "image"
        name, number = wanted, 1
        while name.lower() in (other.lower() for other in ids):
            number += 1
            name = f"{wanted}_{number}"
        ids.append(name)
    return ids
