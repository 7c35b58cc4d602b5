"""The ``dataset.json`` of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_seg3d.files import write_text


def write_description(
    folder: Path,
    *,
    name: str,
    about: str,
    modality: str,
    labels: Mapping[int, str],
    training: Sequence[str],
    tests: Sequence[str] = (),
) -> None:
    """Write ``dataset.json`` for scans ``imagesTr``, ``labelsTr`` and ``imagesTs`` of these names."""
    description = {
        "name": name,
        "description": about,
        "licence": "BSD-3-Clause",
        "tensorImageSize": "3D",
        "modality": {"0": modality},
        "labels": {"0": "background", **{str(label): each for label, each in labels.items()}},
        "numTraining": len(training),
        "numTest": len(tests),
        "training": [{"image": f"./imagesTr/{scan}.nii.gz", "label": f"./labelsTr/{scan}.nii.gz"} for scan in training],
        "test": [f"./imagesTs/{scan}.nii.gz" for scan in tests],
    }
    write_text(folder / "dataset.json", json.dumps(description, indent=2) + "\n")
