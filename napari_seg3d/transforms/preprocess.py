"""What happens to every scan before the network sees it: deterministic, the same in training and in prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from napari_seg3d.errors import ReadError
from napari_seg3d.transforms.pipeline import Pipeline, Step
from napari_seg3d.transforms.run import Trace, run
from napari_seg3d.volumes import Volume, fault_of


@dataclass(frozen=True)
class HU:
    """How the numbers of CT are brought to about -2 to 2, by one rule for all scans.

    Parameters
    ----------
    low, high : float
        HU below and above are cut off.
    mean, deviation : float
        What becomes 0, and what is one unit away from it.
    """

    low: float
    high: float
    mean: float
    deviation: float

    def step(self) -> Step:
        """Return the transform that does it."""
        ends = [round((end - self.mean) / self.deviation, 6) for end in (self.low, self.high)]
        window = {"level": round((self.low + self.high) / 2, 3), "width": round(self.high - self.low, 3), "out_min_max": ends}
        return Step("HUWindow", window)


def preprocessing_pipeline(
    spacing: Sequence[float] | None, normalization: Literal["zscore", "rescale", "ct"], hu: HU | None = None
) -> Pipeline:
    """Return the steps that bring every scan to one orientation, spacing and intensity range.

    Parameters
    ----------
    spacing : three floats or None
        Voxel edges along R, A and S in mm; None leaves each scan at its own.
    normalization : {"zscore", "rescale", "ct"}
        Mean 0 and standard deviation 1, or 0 to 1, by each scan itself. Both first clip at the 0.5 and 99.5 percentile, because a few
        voxels of metal or blood may be a thousand times brighter than tissue. For CT one rule for all scans.
    hu : HU, optional
        That rule; only for "ct".
    """
    steps = [Step("ToCanonical")]
    if spacing is not None:
        steps.append(
            Step("Resample", {"target": [float(edge) for edge in spacing], "label_interpolation": "majority", "antialias": True})
        )
    if normalization == "ct" and hu is not None:
        return Pipeline((*steps, hu.step()))
    steps.append(Step("RescaleIntensity", {"out_min_max": [0.0, 1.0], "percentiles": [0.5, 99.5]}))
    if normalization == "zscore":
        steps.append(Step("ZNormalization"))
    return Pipeline(tuple(steps))


def preprocess(
    pipeline: Pipeline,
    image: Volume,
    mask: Volume | None = None,
    cancelled: Callable[[], bool] | None = None,
    each: Callable[[Trace], None] | None = None,
) -> tuple[Volume, Volume | None]:
    """Run a preprocessing pipeline on a scan and its mask.

    As `run`, for deterministic steps, with a look at the scan first.

    Raises
    ------
    ReadError
        The scan is constant, or holds NaN or infinite values: there is nothing to normalise.
    ConfigError
        A step cannot be applied to this scan.
    Cancelled
        `cancelled` returned True.
    """
    fault = fault_of(image)
    if fault is not None:
        name = str(image.source.path) if image.source is not None else "The image"
        raise ReadError(f"{name} {fault[0]}", fault[1])
    return run(pipeline, image, mask, seed=0, cancelled=cancelled, each=each)
