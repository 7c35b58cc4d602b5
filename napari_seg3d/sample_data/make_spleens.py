"""Abdomens of small animals in CT, that no animal has: the anatomy of the other phantoms at about a fifth of the size, in HU.

So small, a scan resampled to the 1 mm of the systems for abdominal CT has no more voxels than a laptop can train on in a minute.
Spleen and left kidney are labelled, two neighbours; the liver is nearly as bright as the spleen, the right kidney just as bright as the left.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_seg3d.sample_data.description import write_description
from napari_seg3d.sample_data.make_phantoms import TISSUES, Anatomy, rotation
from napari_seg3d.volumes import Volume, write_volume

LABELS = {1: "spleen", 2: "left kidney"}
COUNT = 8
_SIZE = 0.22  # of a person
_EXTENT = np.array([320.0, 240.0, 190.0]) * _SIZE
_GREY_STEP = 20  # few grey levels keep the files small
_HU = {
    "air": -1000, "fat": -100, "muscle": 55, "lung": -800, "marrow": 250, "disc": 80, "canal": 20, "bowel": 30, "stomach": 15, "liver": 105,
    "vessel": 165, "gallbladder": 10, "spleen": 130, "kidney cortex": 185, "kidney medulla": 150, "renal sinus": -60,
}  # fmt: skip


def make_spleens(folder: str | Path) -> None:
    """Write the data set into `folder`, in the layout of the Medical Segmentation Decathlon."""
    folder = Path(folder)
    names = [f"rat-{number:02d}" for number in range(1, COUNT + 1)]
    for number, name in enumerate(names, start=1):
        image, mask = make_spleen(number)
        write_volume(image, folder / "imagesTr" / f"{name}.nii.gz")
        write_volume(mask, folder / "labelsTr" / f"{name}.nii.gz")
    write_description(
        folder,
        name="Spleens",
        about="Abdomens of small animals that no animal has, made by napari_seg3d.sample_data.make_spleens",
        modality="CT",
        labels=LABELS,
        training=names,
    )


def make_spleen(number: int) -> tuple[Volume, Volume]:
    """Return image (int16, HU) and mask (uint8) of one animal, the same each time."""
    random = np.random.default_rng([50, number])
    spacing = random.uniform((1.2, 1.2, 1.5), (1.4, 1.4, 1.9))
    i, j, k = np.rint(_EXTENT / spacing).astype(int).tolist()
    shape = (i, j, k)
    affine = np.diag([*(-1, -1, 1) * spacing, 1.0])  # as CT is stored: towards the patient's left and back
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    # No two animals lie alike in the scanner, or are of one size.
    lies = rotation(tuple(random.uniform(-12, 12, 3))) / (_SIZE * random.uniform(0.85, 1.15, 3))
    beside = random.uniform(-4, 4, 3)
    anatomy = Anatomy(random, breath=0.0)
    density = np.array(list(_HU.values()), dtype=np.float64)

    signal, shares = np.zeros(shape), {label: np.zeros(shape) for label in LABELS}
    voxels = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1).reshape(-1, 3)
    for offset in np.ndindex(2, 2, 2):
        places = (voxels + np.array(offset) / 2 - 0.25) @ affine[:3, :3].T + affine[:3, 3]
        points = (places + beside) @ lies
        tissue = anatomy.tissue(points)
        signal += density[tissue].reshape(shape) / 8
        kidney = np.isin(tissue, [TISSUES["kidney cortex"], TISSUES["kidney medulla"]]) & (points[:, 0] < 0)
        for label, where in ((1, tissue == TISSUES["spleen"]), (2, kidney)):
            shares[label] += where.reshape(shape) / 8
    mask = np.zeros(shape, dtype=np.uint8)
    for label, share in shares.items():
        mask[share > 0.5] = label
    noisy = signal + random.normal(0, 10, shape)
    image = (np.rint(noisy / _GREY_STEP) * _GREY_STEP).astype(np.int16)
    return Volume(image[np.newaxis], affine), Volume(mask[np.newaxis], affine, "labels")
