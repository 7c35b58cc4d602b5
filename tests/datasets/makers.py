"""Data sets on disk as the five systems expect them: radiographs with MATLAB masks, LUNA-like CT, a decathlon task.

Small, quick to write, and different in size from case to case, as the real ones are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from napari_seg3d.volumes import Volume, write_volume
from tests.datasets.scans import write_radiograph

VERTEBRAE = 6
_TO_LPS = np.array([-1.0, -1.0, 1.0])


def make_spine_radiographs(root: Path, count: int = 4, height: int = 96, width: int = 64) -> Path:
    """Write ``img/NNN.dcm`` and ``label/NNN.mat``: ``label_separated``, height x width x 7, the background last."""
    random = np.random.default_rng(0)
    for number in range(count):
        shape = (height + 6 * number, width + 4 * (number % 3))
        channels = np.zeros((*shape, VERTEBRAE + 1), np.uint8)
        step = shape[0] // VERTEBRAE
        for vertebra in range(VERTEBRAE):
            top, left = vertebra * step + random.integers(1, 3), shape[1] // 3 + random.integers(-3, 3)
            channels[top : top + step - 4, left : left + shape[1] // 3, vertebra] = 1
        channels[..., VERTEBRAE] = 1 - channels.max(axis=2)
        grey = random.normal(1000, 60, shape) + 900 * (channels[..., VERTEBRAE] == 0)
        write_radiograph(root / "img" / f"{number:03d}.dcm", grey.clip(0, 4095).astype(np.uint16), f"Patient {number}")
        (root / "label").mkdir(exist_ok=True)
        scipy.io.savemat(root / "label" / f"{number:03d}.mat", {"label_separated": channels})
    return root


@dataclass(frozen=True)
class LunaSeries:
    """One CT of a LUNA-like set, and what it should be found to hold."""

    uid: str
    image: Path
    affine: NDArray[np.float64]
    balls: tuple[tuple[tuple[int, int, int], int], ...]  # centre (voxels) and radius of each nodule


def make_luna(root: Path, count: int = 4, shape: tuple[int, int, int] = (48, 44, 20)) -> list[LunaSeries]:
    """Write ``subsetN/<uid>.mhd`` with balls in air, ``annotations_with_malignancy.csv``, ``annotations.csv``, ``candidates.csv``.

    The last series has candidates and no nodule; the grids are turned and flipped, as some of LUNA's are.
    """
    random = np.random.default_rng(1)
    made = []
    nodules, candidates = ["series_uid,x,y,z,diameter_mm,malignant"], ["seriesuid,coordX,coordY,coordZ,class"]
    for number in range(count):
        uid = f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{10**20 + number}"
        affine = np.diag([-0.7 if number % 2 == 0 else 0.7, -0.7 if number % 3 == 0 else 0.7, 2.0, 1.0])
        affine[:3, 3] = (150.25 - number, 170.5, -200 + 10 * number)
        scan = random.normal(-900, 30, shape)
        balls = []
        for _ in range(0 if number == count - 1 else 1 + number % 2):
            radius = int(random.integers(3, 5))
            centre = tuple(int(random.integers(radius + 2, size - radius - 2)) for size in shape)
            if all(np.linalg.norm(np.subtract(centre, other)) > 14 for other, _ in balls):
                grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
                scan[np.linalg.norm(grid - np.array(centre)[:, None, None, None], axis=0) <= radius] = 40
                balls.append((centre, radius))
        for centre, radius in balls:
            x, y, z = (affine @ [*centre, 1])[:3] * _TO_LPS
            nodules.append(f"{uid},{x:.4f},{y:.4f},{z:.4f},{2 * radius * 0.7:.2f},{radius % 2 == 0}")
            candidates.append(f"{uid},{x:.4f},{y:.4f},{z:.4f},1")
        x, y, z = (affine @ [2, 2, 2, 1])[:3] * _TO_LPS
        candidates.append(f"{uid},{x:.4f},{y:.4f},{z:.4f},0")
        image = root / f"subset{number % 2}" / f"{uid}.mhd"
        write_volume(Volume(scan[np.newaxis].astype(np.int16), affine), image)
        made.append(LunaSeries(uid, image, affine, tuple(balls)))
    # What the older table says too much is corrected by the newer one.
    (root / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + f"{made[-1].uid},0,0,0,5\n")
    (root / "annotations_with_malignancy.csv").write_text("\n".join(nodules) + "\n")
    (root / "candidates.csv").write_text("\n".join(candidates) + "\n")
    return made


def make_decathlon(root: Path, count: int = 4, tests: int = 1, shape: tuple[int, int, int] = (40, 36, 24)) -> Path:
    """Write a task as the decathlon's: ``imagesTr``, ``labelsTr``, ``imagesTs``, ``dataset.json``; an organ 1 with a tumour 2."""
    random = np.random.default_rng(2)
    for number in range(count + tests):
        size = (shape[0] + 2 * (number % 3), shape[1], shape[2] - number % 2)
        grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"))
        centre = np.array(size) / 2 + random.uniform(-2, 2, 3)
        distance = np.linalg.norm((grid - centre[:, None, None, None]) * [[[[1]]], [[[1]]], [[[1.5]]]], axis=0)
        mask = np.where(distance < 3, 2, np.where(distance < 10, 1, 0)).astype(np.uint8)
        image = (random.normal(-80, 15, size) + np.array([0, 160, 260])[mask]).astype(np.int16)
        affine = np.diag([-0.8, 0.8, 1.5, 1.0]) if number % 2 else np.diag([0.8, 0.8, 2.0, 1.0])
        affine[:3, 3] = (-15, 20 + number, 100)
        is_test, name = number >= count, f"organ_{number + 1}.nii.gz"
        write_volume(Volume(image[np.newaxis], affine), root / ("imagesTs" if is_test else "imagesTr") / name)
        if not is_test:
            write_volume(Volume(mask[np.newaxis], affine, "labels"), root / "labelsTr" / name)
    names = [f"organ_{number + 1}.nii.gz" for number in range(count + tests)]
    description = {
        "name": "Organ",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "organ", "2": "tumour"},
        "numTraining": count,
        "numTest": tests,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names[:count]],
        "test": [f"./imagesTs/{name}" for name in names[count:]],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root
