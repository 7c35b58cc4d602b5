"""The validation cases of a run, and what their predictions are compared with."""

from __future__ import annotations

import numpy as np

from napari_seg3d.datasets import Case, open_dataset, read_case_mask
from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import Predictor
from napari_seg3d.inference.postprocess.choose import UNKNOWN
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.samples.targets import known_voxels
from napari_seg3d.transforms import label_steps
from napari_seg3d.transforms import run as run_steps
from napari_seg3d.volumes import Volume


def cases_with_masks(run: Run) -> list[Case]:
    """Return the validation cases that have a mask; a ConfigError says that there is none."""
    cases = [case for case in run.cases("validation") if case.mask is not None]
    if not cases:
        raise ConfigError(f"{run.folder} has no validation cases with masks.", "Choose a run that validates.")
    return cases


def reference_of(run: Run, predictor: Predictor, case: Case, image: Volume) -> Volume:
    """Return what the prediction of a case is compared with, as validation does it."""
    config = run.config()
    is_overlapping = predictor.spec.targets == "overlapping"
    merged = open_dataset(config.data.images, config.data.masks, config.data.subjects).merged
    mask = read_case_mask(case, image, merged, overlapping=is_overlapping)
    known = known_voxels(mask, config.targets)
    if (relabelling := label_steps(predictor.pipeline)).steps:
        relabelled = run_steps(relabelling, image, mask)[1]
        assert relabelled is not None
        mask = relabelled
    data = mask.data
    if is_overlapping:
        values = zip(sorted(predictor.labels), predictor.stored_labels, strict=True)
        data = np.stack([np.where((data == value).any(axis=0), stored, 0) for value, stored in values])
    data = data.astype(np.promote_types(data.dtype, np.int8))
    if known is not None:
        data[:, ~known] = UNKNOWN
    return Volume(data, image.affine, "labels")
