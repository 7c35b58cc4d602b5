"""Several models that answer as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_seg3d.errors import ModelError
from napari_seg3d.inference import Ensemble, PredictOptions
from napari_seg3d.transforms import Pipeline, Step
from tests.inference.test_options import _predictor, _scan

EVERYTHING = PredictOptions(probabilities=True, uncertainty=True)


@pytest.mark.parametrize("targets", ["exclusive", "overlapping"])
@pytest.mark.parametrize("order", ["RAS", "LPS", "SRP"])
def test_the_mean_of_what_they_say_and_where_they_disagree(order: str, targets: Any) -> None:
    members = [_predictor(3, targets, lean) for lean in (0.0, 1.5, -1.0)]
    scan = _scan(order=order)
    told: list[tuple[int, int]] = []
    found = Ensemble(members).predict(scan, EVERYTHING, progress=lambda done, total: told.append((done, total)))
    said = np.stack([member.predict(scan, EVERYTHING).probabilities.data for member in members])  # type: ignore[union-attr]
    mean = said.mean(axis=0)
    assert found.probabilities is not None
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.probabilities.data, mean, atol=1e-6)
    expected = mean.argmax(axis=0)[None] if targets == "exclusive" else (mean > 0.5) * np.array([1, 2])[:, None, None, None]
    np.testing.assert_array_equal(found.labels.data, expected)
    np.testing.assert_array_equal(found.labels.affine, scan.affine)

    def entropy(p: np.ndarray) -> np.ndarray:
        total = -(p * np.log(np.clip(p, 1e-12, None))).sum(axis=-4)
        return total if targets == "exclusive" else total - ((1 - p) * np.log(np.clip(1 - p, 1e-12, None))).sum(axis=-4)

    disagreement = np.clip((entropy(mean) - entropy(said).mean(axis=0)) / np.log(3 if targets == "exclusive" else 2), 0, 1)
    np.testing.assert_allclose(found.uncertainty.data[1], disagreement, atol=1e-4)
    assert disagreement.max() > 0.05
    assert told[-1][0] == told[-1][1] == len(told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_each_member_prepares_the_scan_in_its_own_way() -> None:
    """Folds have each their own spacing; the answers meet on the scan's grid."""
    plain, coarse = _predictor(), _predictor()
    coarser = Pipeline((Step("ToCanonical"), Step("Resample", {"target": 3.0})))
    coarse.spec = _with(coarse.spec, pipeline=coarser.to_list())
    coarse.pipeline = coarser
    scan = _scan((12, 16, 10), "LAS")
    found = Ensemble([plain, coarse]).predict(scan, EVERYTHING)
    assert found.labels.data.shape == scan.data.shape
    assert found.probabilities is not None
    alone = plain.predict(scan, EVERYTHING).probabilities
    other = coarse.predict(scan, EVERYTHING).probabilities
    assert alone is not None
    assert other is not None
    np.testing.assert_allclose(found.probabilities.data, (alone.data + other.data) / 2, atol=1e-6)


def _with(spec: Any, **values: Any) -> Any:
    return spec.model_copy(update=values)


def test_models_of_other_labels_are_refused() -> None:
    other = _predictor()
    other.spec = _with(other.spec, labels={1: "first", 2: "third"})
    with pytest.raises(ModelError, match="2 third.*2 second"):
        Ensemble([_predictor(), other])


def test_a_region_and_the_plain_answer() -> None:
    scan = _scan()
    ensemble = Ensemble([_predictor(lean=0.5), _predictor(lean=-0.5)])
    region = (slice(2, 6), slice(1, 5), slice(3, 9))
    found = ensemble.predict(scan, replace(PredictOptions(), region=region))
    assert found.probabilities is None
    assert found.uncertainty is None
    outside = np.ones(scan.data.shape, bool)
    outside[(slice(None), *region)] = False
    assert not found.labels.data[outside].any()
