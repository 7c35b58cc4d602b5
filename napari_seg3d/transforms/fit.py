"""Learn from the training cases what a pipeline must know before it can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ConfigError
from napari_seg3d.transforms.pipeline import Pipeline
from napari_seg3d.transforms.preprocess import preprocess
from napari_seg3d.volumes import Volume

_NAME = "HistogramStandardization"
# As torchio's HistogramStandardization reads them: 1 and 99 %, the deciles and the quartiles.
_PERCENTILES = (1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99)
_RANGE = (0.0, 100.0)


def is_fitted(pipeline: Pipeline) -> bool:
    """Return whether a pipeline can run as it is."""
    return not _unfitted(pipeline)


def fit(pipeline: Pipeline, volumes: Iterable[Volume], cancelled: Callable[[], bool] | None = None) -> Pipeline:
    """Return the pipeline with the landmarks of HistogramStandardization filled in.

    Nyúl and Udupa, On standardizing the MR image intensity scale, Magnetic Resonance in Medicine 1999: the percentiles of each scan, mapped
    linearly so that the first and the last become 0 and 100, are averaged.

    Parameters
    ----------
    pipeline : Pipeline
        The preprocessing. One that needs nothing, or has its landmarks, comes back unchanged without a look at the volumes.
    volumes : iterable of Volume
        The scans to learn from: of the training cases alone, or the validation would not be one. One is held at a time.
    cancelled : callable, optional
        Asked before each scan whether to stop.

    Raises
    ------
    ConfigError
        There are no scans, a step before it fails, or there are two such steps.
    Cancelled
        `cancelled` returned True.
    """
    places = _unfitted(pipeline)
    if not places:
        return pipeline
    if len(places) > 1:
        raise ConfigError(f"The pipeline has {len(places)} steps {_NAME}.", "Keep one: the second has nothing to do.")
    (place,) = places
    step, before = pipeline.steps[place], Pipeline(pipeline.steps[:place])
    rows = []
    for volume in volumes:
        if cancelled is not None and cancelled():
            raise Cancelled("The fitting was cancelled.")
        data = preprocess(before, volume)[0].data
        chosen = data[data > data.mean()] if step.values["masking_method"] == "mean" else data
        rows.append(np.percentile(chosen, _PERCENTILES))
    if not rows:
        raise ConfigError(f"{_NAME} has no scans to learn from.", "Give it at least one training case.")
    landmarks = [round(float(value), 6) for value in _average(np.array(rows))]
    fitted = replace(step, parameters={**step.parameters, "landmarks": landmarks})
    return Pipeline((*pipeline.steps[:place], fitted, *pipeline.steps[place + 1 :]))


def _unfitted(pipeline: Pipeline) -> list[int]:
    return [
        index
        for index, step in enumerate(pipeline.steps)
        if step.enabled and step.name == _NAME and step.values["landmarks"] is None
    ]


def _average(percentiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the rows ``(scans, percentiles)``, each mapped linearly to the standard range first."""
    low, high = _RANGE
    extent = percentiles[:, -1] - percentiles[:, 0]
    # A scan that is constant between the first and the last percentile has no scale to give.
    slopes = np.divide(high - low, extent, out=np.zeros_like(extent), where=extent > 0)
    return np.asarray(slopes @ percentiles / len(percentiles) + np.mean(low - slopes * percentiles[:, 0]))
