"""Pieces of lungs with nodules in CT, that no patient has: balls among vessels of the same density.

A threshold finds vessels and nodules alike; which is which shows from the shape, also in the neighbouring slices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.sample_data.description import write_description
from napari_seg3d.volumes import Volume, write_volume

LABELS = {1: "nodule"}
COUNT = 8
_SPACING = (1.0, 1.0, 2.5)
_LUNG, _TISSUE = -832.0, 64.0
_GREY_STEP = 64  # few grey levels keep the files small


def make_lungs(folder: str | Path) -> None:
    """Write the data set into `folder`, in the layout of the Medical Segmentation Decathlon."""
    folder = Path(folder)
    names = [f"lung-{number:02d}" for number in range(1, COUNT + 1)]
    for number, name in enumerate(names, start=1):
        image, mask = make_lung(number)
        write_volume(image, folder / "imagesTr" / f"{name}.nii.gz")
        write_volume(mask, folder / "labelsTr" / f"{name}.nii.gz")
    write_description(
        folder,
        name="Lung nodules",
        about="Pieces of lungs that no patient has, made by napari_seg3d.sample_data.make_lungs",
        modality="CT",
        labels=LABELS,
        training=names,
    )


def make_lung(number: int) -> tuple[Volume, Volume]:
    """Return image (int16, HU) and mask (uint8) of one piece of lung, the same each time."""
    random = np.random.default_rng([40, number])
    shape = (int(random.integers(98, 107)), int(random.integers(96, 103)), int(random.integers(14, 18)))
    size = np.array(shape) * _SPACING
    affine = np.diag([*_SPACING, 1.0])
    affine[:3, 3] = -size / 2
    balls = _nodules(random, size)
    lines = [(random.uniform(0, 1, 3) * size, random.normal(size=3), random.uniform(0.8, 1.8)) for _ in range(8)]

    density, share = np.zeros(shape), np.zeros(shape)
    voxels = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1)
    for offset in np.ndindex(2, 2, 2):
        places = (voxels + np.array(offset) / 2 + 0.25) * _SPACING
        solid = np.zeros(shape, dtype=bool)
        for start, direction, radius in lines:
            solid |= _distance(places, start, direction) < radius
        nodule = np.zeros(shape, dtype=bool)
        for centre, radii in balls:
            nodule |= (((places - centre) / radii) ** 2).sum(axis=-1) < 1
        density += np.where(solid | nodule, _TISSUE, _LUNG) / 8
        share += nodule / 8
    noisy = density + random.normal(0, 18, shape)
    image = (np.rint(noisy / _GREY_STEP) * _GREY_STEP).astype(np.int16)
    return Volume(image[np.newaxis], affine), Volume((share > 0.5).astype(np.uint8)[np.newaxis], affine, "labels")


def _nodules(random: np.random.Generator, size: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return centres and half axes in mm of two or three nodules that do not touch."""
    balls: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    wanted = int(random.integers(2, 4))
    while len(balls) < wanted:
        radii = random.uniform(4, 7.5) * random.uniform(0.85, 1.15, 3)
        centre = random.uniform(radii + 3, size - radii - 3)
        if all(np.linalg.norm(centre - other) > 22 for other, _ in balls):
            balls.append((centre, radii))
    return balls


def _distance(places: NDArray[np.float64], start: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    along = direction / np.linalg.norm(direction)
    away = places - start
    distance: NDArray[np.float64] = np.linalg.norm(away - (away @ along)[..., np.newaxis] * along, axis=-1)
    return distance
