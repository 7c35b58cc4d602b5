"""A temperature makes probabilities mean what they say, and changes no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from napari_seg3d.errors import ConfigError, WriteError
from napari_seg3d.inference import PredictOptions
from napari_seg3d.inference.calibration import (
    Calibration,
    Voxels,
    calibration_beside,
    calibration_file,
    fit_temperature,
    save_calibration,
)
from tests.inference.test_options import _predictor, _scan


@settings(max_examples=12, deadline=None)
@given(temperature=st.floats(0.4, 5.0), targets=st.sampled_from(["exclusive", "overlapping"]))
def test_the_temperature_by_which_a_network_is_wrong_is_found(temperature: float, targets: Any) -> None:
    random = np.random.default_rng(0)
    parts = []
    for _ in range(2):
        honest = random.normal(0, 2, (20_000, 3))
        if targets == "exclusive":
            truth = (softmax(honest, axis=1).cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
            said = softmax(honest * temperature, axis=1)
        else:
            truth = (expit(honest) > random.random(honest.shape)).astype(np.uint8)
            said = expit(honest * temperature)
        parts.append(Voxels(said.astype(np.float32), truth))
    found = fit_temperature(parts, targets)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.cases == 2
    assert found.error_after < 0.01
    assert found.likelihood_after <= found.likelihood_before
    assert abs(temperature - 1) < 0.2 or found.error_after < found.error_before


@pytest.mark.parametrize("targets", ["exclusive", "overlapping"])
def test_probabilities_move_and_labels_stay(targets: Any) -> None:
    predictor, scan = _predictor(3, targets), _scan(order="LIP")
    before = predictor.predict(scan, PredictOptions(probabilities=True))
    predictor.temperature = 2.5
    after = predictor.predict(scan, PredictOptions(probabilities=True))
    np.testing.assert_array_equal(after.labels.data, before.labels.data)
    assert before.probabilities is not None
    assert after.probabilities is not None
    if targets == "exclusive":
        expected = softmax(np.log(before.probabilities.data) / 2.5, axis=0)
    else:
        expected = expit((np.log(before.probabilities.data) - np.log1p(-before.probabilities.data)) / 2.5)
    np.testing.assert_allclose(after.probabilities.data, expected, atol=1e-4)


def test_it_is_kept_beside_the_model(tmp_path: Path) -> None:
    model = tmp_path / "best.pt"
    assert calibration_beside(model) is None
    calibration = Calibration(temperature=1.75, cases=4, error_before=0.1, error_after=0.02)
    save_calibration(calibration_file(model), calibration)
    assert calibration_beside(model) == calibration
    with pytest.raises(WriteError, match="exists already"):
        save_calibration(calibration_file(model), calibration)


@pytest.mark.parametrize(
    "text",
    [
        "format: something\nversion: 1\n",
        "format: napari-seg3d calibration\nversion: 2\ntemperature: 1\n",
        "format: napari-seg3d calibration\nversion: 1\ntemperature: 0\n",
        "format: napari-seg3d calibration\nversion: 1\ntemperature: .nan\n",
        "!!python/object/apply:os.system ['touch pwned']",
        "[1, 2",
        "x" * 70_000,
    ],
)
def test_a_file_that_is_none_is_told_by_name(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calibration_file(tmp_path / "best.pt").write_text(text)
    with pytest.raises(ConfigError, match=r"calibration\.yaml"):
        calibration_beside(tmp_path / "best.pt")
    assert not (tmp_path / "pwned").exists()


def test_without_a_voxel_there_is_nothing_to_fit() -> None:
    with pytest.raises(ConfigError, match="no voxel"):
        fit_temperature([Voxels(np.zeros((0, 2), np.float32), np.zeros(0, np.uint8))], "exclusive")
