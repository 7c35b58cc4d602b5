"""Orientation, spacing and intensities: what a plan does to every scan before the network sees it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.plan.fingerprint import Fingerprint
from napari_seg3d.training.plan.plan import Reason
from napari_seg3d.transforms import HU, Pipeline, preprocessing_pipeline

# As nnU-Net (Isensee et al., Nature Methods 2021): slices are thick from three times the other edges on.
_THICK = 3.0
_ALL_HU = HU(-1000.0, 1000.0, 0.0, 500.0)
_CUT = 0.5  # percent of the labelled voxels that are cut off at either end


def planned_preprocessing(config: TrainConfig, fingerprint: Fingerprint) -> Pipeline:
    """Return the preprocessing that a config asks for, for such data."""
    return explained_preprocessing(config, fingerprint)[0]


def explained_preprocessing(config: TrainConfig, fingerprint: Fingerprint) -> tuple[Pipeline, tuple[Reason, ...]]:
    """Return the preprocessing that a config asks for, for such data, and why it is that."""
    if config.transforms.preprocessing != "auto":
        return Pipeline.from_list(config.transforms.preprocessing), ()
    wish = config.preprocessing
    reasons = []
    spacing: tuple[float, float, float] | None
    if wish.spacing == "auto":
        spacing, why = _target_spacing(fingerprint)
        reasons.append(Reason("preprocessing.spacing", [round(edge, 4) for edge in spacing], why))
    else:
        spacing = None if wish.spacing == "native" else wish.spacing
    by_data: Literal["zscore", "ct"] = "ct" if fingerprint.is_ct else "zscore"
    normalization = by_data if wish.normalization == "auto" else wish.normalization
    hu, why = _hounsfield(fingerprint) if normalization == "ct" else (None, _ZSCORE)
    if wish.normalization == "auto":
        reasons.append(Reason("preprocessing.normalization", normalization, why))
    return preprocessing_pipeline(spacing, normalization, hu), tuple(reasons)


_ZSCORE = (
    "The numbers of these scans have no unit, so each scan is brought to mean 0 and standard deviation 1 by itself; a few voxels of metal or "
    "blood are cut off before (below 0.5 and above 99.5 percent)."
)


def _target_spacing(fingerprint: Fingerprint) -> tuple[tuple[float, float, float], str]:
    grids = [grid.canonical() for grid in fingerprint.grids]
    edges = np.array([grid.spacing for grid in grids])
    shape = np.median([grid.shape for grid in grids], axis=0)
    target = np.median(edges, axis=0)
    worst = int(target.argmax())
    others = np.delete(np.arange(3), worst)
    why = "The median of the training cases: as few scans as possible are made coarser or finer than they are."
    if target[worst] >= _THICK * target[others].max() and _THICK * shape[worst] <= shape[others].min():
        fine = max(float(np.percentile(edges[:, worst], 10)), float(target[others].max()))
        if fine < target[worst]:
            target[worst] = fine
            why = (
                "The median of the training cases; across the thick slices that of the thinnest tenth of them, so that the scans with "
                "the finest detail keep it."
            )
    i, j, k = target.tolist()
    return (i, j, k), why


def _hounsfield(fingerprint: Fingerprint) -> tuple[HU, str]:
    """Return the range of HU that is kept, and what becomes 0 and 1."""
    said = "The scans are CT, whose numbers mean the same in every scan"
    values = np.array(fingerprint.labelled)
    if values.size == 0:
        return _ALL_HU, f"{said}: -1000 to 1000 HU are kept. What lies under the labels was not looked at."
    low, high = np.percentile(values, (_CUT, 100 - _CUT))
    kept = values.clip(low, high)
    if high - low < 1:
        return _ALL_HU, f"{said}: -1000 to 1000 HU are kept, because everything under the labels is equally bright."
    hu = HU(float(low), float(high), float(kept.mean()), float(kept.std()))
    why = (
        f"{said}: {low:.0f} to {high:.0f} HU are kept, where 99 percent of the labelled voxels of the training cases lie, and their mean "
        f"({hu.mean:.0f} HU) becomes 0 in all of them."
    )
    return hu, why
