"""Scans spread over workers: real processes, one of which dies."""

import csv
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_seg3d.datasets import find_scans
from napari_seg3d.errors import ConfigError, ModelError
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, save_model
from napari_seg3d.inference.batch import batch_model, predict_cases
from napari_seg3d.inference.batch_dask import DaskBatch, _Place, _predict
from napari_seg3d.inference.batch_folder import TABLE, BatchFolder, BatchOutput
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Volume, read_volume, write_volume

_AS_TRAINED = PredictOptions()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = NetworkSpec(dims=3, in_channels=1, out_channels=3, features=(4, 8, 16), strides=((2, 2, 2),) * 2)
    pipeline = preprocessing_pipeline(None, "zscore").to_list()
    spec = ModelSpec(network=network, labels={2: "liver", 4: "spleen"}, pipeline=pipeline, patch_size=(16, 16, 8), mode="whole")
    torch.manual_seed(0)
    save_model(tmp_path / "model.pt", spec, build_network(network).state_dict())
    return tmp_path / "model.pt"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in "abcdefgh":
        data = random.normal(0, 100, (1, 18, 15, 9)).astype(np.int16)
        write_volume(Volume(data, np.eye(4)), tmp_path / "scans" / f"{name}.nii.gz")
    return tmp_path / "scans"


class _Told:
    """A predictor that notes which process begins and ends a scan, and waits in between as long as a file is there."""

    def __init__(self, path: Path, notes: Path) -> None:
        self._predictor, self._notes = Predictor.load(path, "cpu"), notes
        self.name, self.spec, self.stored_labels = self._predictor.name, self._predictor.spec, self._predictor.stored_labels

    def predict(self, *arguments: Any, **named: Any) -> Any:
        self._note("begins")
        while (self._notes / "wait").exists():
            time.sleep(0.02)
        prediction = self._predictor.predict(*arguments, **named)
        self._note("ends")
        return prediction

    def _note(self, what: str) -> None:
        with open(self._notes / what, "a") as handle:
            handle.write(f"{os.getpid()} {torch.get_num_threads()}\n")


def _noted(notes: Path, what: str) -> list[tuple[int, int]]:
    lines = (notes / what).read_text().splitlines() if (notes / what).exists() else []
    return [(int(process), int(threads)) for process, threads in map(str.split, lines)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_worker_that_dies_costs_no_scan_and_none_is_made_twice(model: Path, scans: Path, tmp_path: Path) -> None:
    notes, out = tmp_path / "notes", tmp_path / "out"
    notes.mkdir()
    (notes / "wait").touch()
    cases = find_scans([scans])
    with ThreadPoolExecutor(1) as thread, DaskBatch("local:2", partial(_Told, model, notes), [model]) as batch:
        folder = BatchFolder(BatchOutput(out), batch.model, _AS_TRAINED, cases)
        listening = thread.submit(lambda: list(batch.predict_cases(folder, _AS_TRAINED)))
        while len({process for process, _ in _noted(notes, "begins")}) < 2:
            assert not listening.done(), listening.result()
            time.sleep(0.05)
        victim = _noted(notes, "begins")[0][0]
        os.kill(victim, signal.SIGKILL)
        (notes / "wait").unlink()
        results = listening.result(120)
    assert sorted(result.case for result in results) == list("abcdefgh")
    assert [result.error for result in results if result.error is not None] == []
    ended = _noted(notes, "ends")
    assert len(ended) == 8
    assert victim not in [process for process, _ in ended]
    share = max(1, (os.cpu_count() or 1) // 2)
    assert {threads for _, threads in ended} == {share}
    with open(out / TABLE, newline="") as handle:
        assert sorted(row["case"] for row in csv.DictReader(handle)) == list("abcdefgh")
    predictor = Predictor.load(model, "cpu")
    for case in cases:
        expected = predictor.predict(read_volume(case.images[0], "image")).labels
        assert np.array_equal(read_volume(out / f"{case.id}.nii.gz", "labels").data, expected.data)
    # The same folder goes on without a cluster.
    again = predict_cases(predictor, BatchFolder(BatchOutput(out), batch_model(predictor, [model]), _AS_TRAINED, cases))
    assert all(result.was_there for result in again)


def test_a_mask_whose_worker_died_before_it_could_say_so_is_not_made_again(model: Path, scans: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(model, "cpu")
    known, output, (case, *_) = batch_model(predictor, [model]), BatchOutput(tmp_path / "out"), find_scans([scans])
    (made,) = predict_cases(predictor, BatchFolder(output, known, _AS_TRAINED, [case]))
    # Without a model to load: nothing can be computed.
    result = _predict(b"", (), known, case, _Place(made.files[0], {made.files[0]: None}), output, _AS_TRAINED)
    assert result.error is None
    assert result.files == made.files
    assert result.volumes == pytest.approx(made.volumes)
    # A mask that was there before the start is to be made anew.
    before = {made.files[0]: made.files[0].stat().st_mtime_ns}
    assert _predict(b"", (), known, case, _Place(made.files[0], before), output, _AS_TRAINED).error is not None


def test_what_is_wrong_with_the_cluster_is_said(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="local:none names no number"):
        DaskBatch("local:none", partial(Predictor.load, model), [model])
    monkeypatch.setattr("napari_seg3d.inference.batch_dask._SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(ConfigError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1\."):
        DaskBatch("tcp://127.0.0.1:1", partial(Predictor.load, model), [model])
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"not installed(.|\n)*napari-seg3d\[dask\]"):
        DaskBatch("local", partial(Predictor.load, model), [model])


@pytest.mark.slow
def test_a_model_that_no_worker_can_load_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("no model")
    with pytest.raises(ModelError, match=r"model\.pt"):
        DaskBatch("local:1", partial(Predictor.load, tmp_path / "model.pt", "cpu"), [tmp_path / "model.pt"])
