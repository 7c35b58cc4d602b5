"""What lies beside a model is applied to that model, and to no other that takes its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference import Ensemble, ModelSpec, PredictOptions, Predictor, load_model, save_model
from napari_seg3d.inference.beside import OtherModel, fingerprint
from napari_seg3d.inference.calibration import Calibration, calibration_beside, calibration_file, save_calibration
from napari_seg3d.inference.postprocess import Rule, Rules, rules_beside, rules_file, save_rules
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Volume

_RULES = Rules(every=Rule(largest=True))
_MAPS = PredictOptions(probabilities=True)


def _save(path: Path, seed: int, **info: Any) -> Path:
    network = NetworkSpec(in_channels=1, out_channels=2, features=(4, 8, 16), strides=((2, 2, 2),) * 2)
    pipeline = preprocessing_pipeline(None, "zscore").to_list()
    spec = ModelSpec(network=network, labels={1: "liver"}, pipeline=pipeline, patch_size=(8, 8, 8), mode="whole", info=info)
    torch.manual_seed(seed)
    save_model(path, spec, build_network(network).state_dict())
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = _save(tmp_path / "best.pt", 0)
    save_rules(rules_file(path), _RULES, {1: "liver"}, made_for=fingerprint(path))
    save_calibration(calibration_file(path), Calibration(temperature=2.0), made_for=fingerprint(path))
    return path


def _scan() -> Volume:
    return Volume(np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32), np.eye(4))


def test_the_weights_alone_tell_models_apart(model: Path, tmp_path: Path) -> None:
    loaded = load_model(model)
    save_model(tmp_path / "elsewhere" / "liver.pt", loaded.spec, loaded.weights)
    assert fingerprint(tmp_path / "elsewhere" / "liver.pt") == fingerprint(model)
    assert fingerprint(_save(tmp_path / "same.pt", 0, iteration=7)) == fingerprint(model)
    assert fingerprint(_save(tmp_path / "other.pt", 1)) != fingerprint(model)
    loaded.weights[next(iter(loaded.weights))].view(-1)[0] += 1e-6
    save_model(tmp_path / "nearly.pt", loaded.spec, loaded.weights)
    assert fingerprint(tmp_path / "nearly.pt") != fingerprint(model)
    assert fingerprint(tmp_path / "nothing.pt") is None


def test_a_model_that_took_its_place_predicts_without_it_and_says_so(model: Path) -> None:
    fitted = Predictor.load(model, "cpu")
    assert (fitted.rules, fitted.temperature) == (_RULES, 2.0)
    assert not [note for note in fitted.predict(_scan(), _MAPS).notes if "another model" in note]

    _save(model, 1)
    later = Predictor.load(model, "cpu")
    assert (later.rules, later.temperature) == (None, 1.0)
    notes = [note for note in later.predict(_scan(), _MAPS).notes if "another model" in note]
    assert len(notes) == 2
    assert "calibration.yaml was made for another model than best.pt is now" in notes[0]
    assert "napari-seg3d calibrate RUN --overwrite" in notes[0]
    assert "postprocessing.yaml" in notes[1]
    assert "napari-seg3d postprocess --choose RUN --overwrite" in notes[1]
    assert later.predict(_scan(), PredictOptions(postprocess=False)).notes == (), "nothing is missed that was not asked for"
    together = Ensemble([later, later]).predict(_scan(), _MAPS)
    assert sorted(together.notes) == sorted(notes), "each is said once"
    with pytest.raises(OtherModel, match=r"postprocessing\.yaml"):
        rules_beside(model)
    assert isinstance(OtherModel("what"), ConfigError)


def test_files_that_do_not_say_for_which_model_are_applied(model: Path) -> None:
    save_rules(rules_file(model), _RULES, {}, overwrite=True)
    save_calibration(calibration_file(model), Calibration(temperature=3.0), overwrite=True)
    _save(model, 1)
    assert rules_beside(model) == _RULES
    found = calibration_beside(model)
    assert found is not None
    assert found.temperature == 3.0
