"""Many scans: what is there already, what goes wrong, the table, and threads that overlap and end."""

import csv
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_seg3d.datasets import Case, find_scans
from napari_seg3d.errors import Cancelled, ConfigError, DiskFull
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, save_model
from napari_seg3d.inference.batch import batch_model, predict_cases
from napari_seg3d.inference.batch_folder import RECORD, TABLE, BatchFolder, BatchOutput, CaseResult
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Grid, Volume, read_volume, write_volume
from tests.volumes.dicom.phantom_series import write_series

_SHAPE = (18, 15, 9)
_AS_TRAINED = PredictOptions()


def _save(path: Path, seed: int, labels: dict[int, str]) -> Path:
    network = NetworkSpec(dims=3, in_channels=1, out_channels=len(labels) + 1, features=(4, 8, 16), strides=((2, 2, 2),) * 2)
    spec = ModelSpec(
        network=network,
        labels=labels,
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(16, 16, 8),
        mode="whole",
    )
    torch.manual_seed(seed)
    save_model(path, spec, build_network(network).state_dict())
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _save(tmp_path / "model.pt", 0, {2: "liver", 4: "=spleen"})


@pytest.fixture
def predictor(model: Path) -> Predictor:
    return Predictor.load(model, "cpu")


def _scan(seed: int) -> Volume:
    data = np.random.default_rng(seed).normal(0, 100, (1, *_SHAPE)).astype(np.int16)
    return Volume(data, np.array([[0, -1.5, 0, 3], [-1, 0, 0, 2], [0, 0, 2, -7], [0, 0, 0, 1.0]]))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b", "c", "d")):
        write_volume(_scan(seed), tmp_path / "scans" / f"{name}.nii.gz")
    return tmp_path / "scans"


def _folder(
    predictor: Predictor, model: Path, cases: list[Case], out: Path, options: PredictOptions = _AS_TRAINED, **output: Any
) -> BatchFolder:
    return BatchFolder(BatchOutput(out, **output), batch_model(predictor, [model]), options, cases)


def _table(out: Path) -> list[dict[str, str]]:
    with open(out / TABLE, newline="") as handle:
        return list(csv.DictReader(handle))


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("napari-seg3d")]


def test_formats_may_be_mixed_and_the_table_holds_what_the_masks_hold(
    predictor: Predictor, model: Path, scans: Path, tmp_path: Path
) -> None:
    write_volume(_scan(7), scans / "e.nrrd")
    write_series(scans / "f", Grid(_SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0])), _scan(8).data[0])
    cases, out = find_scans([scans]), tmp_path / "out"
    results = list(predict_cases(predictor, _folder(predictor, model, cases, out)))
    assert {file.name for result in results for file in result.files} == {
        *(f"{name}.nii.gz" for name in "abcd"),
        "e.nrrd",
        f"{cases[-1].id}.nii.gz",
    }
    rows = _table(out)
    assert [row["case"] for row in rows] == [result.case for result in results] == [case.id for case in cases]
    for case, row in zip(cases, rows, strict=True):
        mask = read_volume(out / row["file"], "labels")
        expected = predictor.predict(read_volume(case.images[0], "image")).labels
        assert np.array_equal(mask.data, expected.data)
        for value, column in ((2, "liver (ml)"), (4, "'=spleen (ml)")):
            assert float(row[column]) == pytest.approx((mask.data == value).sum() * mask.grid.voxel_volume / 1000, abs=1e-4)
        assert float(row["seconds"]) > 0
        assert row["error"] == ""
    assert {path.name for path in out.iterdir()} == {row["file"] for row in rows} | {TABLE, RECORD}
    assert not _threads()


def test_it_goes_on_where_it_stopped(predictor: Predictor, model: Path, scans: Path, tmp_path: Path) -> None:
    cases, out = find_scans([scans]), tmp_path / "out"
    work = predict_cases(predictor, _folder(predictor, model, cases, out))
    first = next(work)
    work.close()  # type: ignore[attr-defined]
    assert not _threads()
    # The computer failed between a mask and its row.
    (out / TABLE).write_text((out / TABLE).read_text().splitlines()[0] + "\na,half a row")
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.nii.gz")}
    results = list(predict_cases(predictor, _folder(predictor, model, cases, out)))
    assert {result.case: result.was_there for result in results} == {
        case.id: out / f"{case.id}.nii.gz" in before for case in cases
    }
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert next(result for result in results if result.case == "a").volumes == pytest.approx(first.volumes)
    assert sorted(row["case"] for row in _table(out)) == ["a", "b", "c", "d"]
    again = list(predict_cases(predictor, _folder(predictor, model, cases, out)))
    assert all(result.was_there for result in again)
    assert {result.case: result.volumes for result in again} == {
        result.case: pytest.approx(result.volumes, abs=1e-4) for result in results
    }
    assert len(_table(out)) == 4


def test_masks_of_two_models_or_settings_never_lie_together(
    predictor: Predictor, model: Path, scans: Path, tmp_path: Path
) -> None:
    cases, out = find_scans([scans]), tmp_path / "out"
    list(predict_cases(predictor, _folder(predictor, model, cases[:2], out)))
    kept = (out / "a.nii.gz").read_bytes()
    with pytest.raises(ConfigError, match=r"other settings .*\n.*--overwrite"):
        _folder(predictor, model, cases, out, PredictOptions(overlap=0.25))
    other_file = _save(tmp_path / "other.pt", 1, predictor.labels)
    other = Predictor.load(other_file, "cpu")
    with pytest.raises(ConfigError, match=r"another model \(model\)"):
        _folder(other, other_file, cases, out)
    with pytest.raises(ConfigError, match=r"a\.nii\.gz would not be made anew"):
        _folder(other, other_file, cases[1:], out, overwrite=True)
    assert (out / "a.nii.gz").read_bytes() == kept
    results = list(predict_cases(other, _folder(other, other_file, cases, out, overwrite=True)))
    assert not any(result.was_there for result in results)
    assert (out / "a.nii.gz").read_bytes() != kept
    assert [row["case"] for row in _table(out)] == ["a", "b", "c", "d"]
    # What is left of a model that is gone counts for nothing, and no mask of it is taken for one of another.
    for file in out.glob("*.nii.gz"):
        file.unlink()
    list(predict_cases(predictor, _folder(predictor, model, cases[:1], out)))
    assert [row["case"] for row in _table(out)] == ["a"]


def test_a_mask_of_another_scan_or_of_somebody_else_is_neither_kept_as_ours_nor_replaced(
    predictor: Predictor, model: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    list(predict_cases(predictor, _folder(predictor, model, find_scans([scans / "a.nii.gz"]), out)))
    write_volume(_scan(5), tmp_path / "elsewhere" / "a.nii.gz")
    shutil.copy(out / "a.nii.gz", out / "b.nii.gz")
    kept = {name: (out / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz")}
    cases = find_scans([tmp_path / "elsewhere" / "a.nii.gz", scans / "b.nii.gz", scans / "c.nii.gz"])
    results = {result.case: result for result in predict_cases(predictor, _folder(predictor, model, cases, out))}
    assert "another scan of this name" in str(results["a"].error)
    assert "exists already" in str(results["b"].error)
    assert results["c"].error is None
    assert {name: (out / name).read_bytes() for name in kept} == kept


def test_a_bad_scan_is_told_and_the_rest_goes_on(predictor: Predictor, model: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "b.nii.gz").write_text("no scan at all")
    write_volume(replace(_scan(0), data=np.zeros((1, *_SHAPE), np.int16)), scans / "c.nii.gz", overwrite=True)
    cases, out = find_scans([scans]), tmp_path / "out"
    results = list(predict_cases(predictor, _folder(predictor, model, cases, out)))
    assert [result.case for result in results if result.error is None] == ["a", "d"]
    rows = {row["case"]: row for row in _table(out)}
    assert "b.nii.gz" in rows["b"]["error"]
    assert "constant" in rows["c"]["error"]
    # It is mended, and only it is predicted.
    write_volume(_scan(1), scans / "b.nii.gz", overwrite=True)
    again = list(predict_cases(predictor, _folder(predictor, model, cases, out)))
    assert {result.case for result in again if not result.was_there} == {"b", "c"}
    assert sorted((row["case"], row["error"] == "") for row in _table(out)) == [
        ("a", True),
        ("b", True),
        ("c", False),
        ("d", True),
    ]


def test_half_of_the_masks_for_each_label_are_made_whole(predictor: Predictor, model: Path, scans: Path, tmp_path: Path) -> None:
    cases, out = find_scans([scans])[:2], tmp_path / "out"
    (first, _) = predict_cases(predictor, _folder(predictor, model, cases, out, per_label=True))
    assert [file.name for file in first.files] == ["a_liver.nii.gz", "a_spleen.nii.gz"]
    (out / "a_spleen.nii.gz").unlink()
    results = list(predict_cases(predictor, _folder(predictor, model, cases, out, per_label=True)))
    assert {result.case: result.was_there for result in results} == {"a": False, "b": True}
    assert (out / "a_spleen.nii.gz").exists()
    # Lost rows are told again.
    (out / TABLE).unlink()
    told = list(predict_cases(predictor, _folder(predictor, model, cases, out, per_label=True)))
    assert {result.case: result.volumes for result in told} == {
        result.case: pytest.approx(result.volumes, abs=1e-4) for result in results
    }


def test_names_are_no_formulas_in_a_spreadsheet(predictor: Predictor, model: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "a.nii.gz").rename(scans / "=HYPERLINK(1).nii.gz")
    (scans / "b.nii.gz").rename(scans / "-1+1.nii.gz")
    out = tmp_path / "out"
    list(predict_cases(predictor, _folder(predictor, model, find_scans([scans]), out)))
    with open(out / TABLE, newline="") as handle:
        cells = [cell for row in csv.reader(handle) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert all(result.was_there for result in predict_cases(predictor, _folder(predictor, model, find_scans([scans]), out)))


def test_a_table_that_is_not_ours_stays(predictor: Predictor, model: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / TABLE).write_text("my own,table\n")
    with pytest.raises(ConfigError, match="exists already"):
        _folder(predictor, model, find_scans([scans]), tmp_path / "out")
    assert (tmp_path / "out" / TABLE).read_text() == "my own,table\n"


class _Watched:
    """A predictor that does something first."""

    def __init__(self, predictor: Predictor, first: Callable[[], None]) -> None:
        self._predictor, self._first = predictor, first
        self.name, self.spec, self.stored_labels = predictor.name, predictor.spec, predictor.stored_labels

    def predict(self, *arguments: Any, **named: Any) -> Any:
        self._first()
        return self._predictor.predict(*arguments, **named)


def test_the_next_scan_is_read_and_the_last_written_while_the_network_computes(
    predictor: Predictor, model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, out = find_scans([scans]), tmp_path / "out"
    read: list[str] = []
    enough = threading.Event()

    def reading(case: Case, resample: bool) -> Volume:
        read.append(case.id)
        if len(read) == 2:
            enough.set()
        return read_volume(case.images[0], "image")

    seen: list[list[str]] = []

    def computing() -> None:
        # The first scan is not computed before the second one is read: it hangs if these do not overlap.
        assert enough.wait(60)
        seen.append(list(read))

    monkeypatch.setattr("napari_seg3d.inference.batch.read_case_image", reading)
    results: Iterator[CaseResult] = predict_cases(_Watched(predictor, computing), _folder(predictor, model, cases, out))
    assert next(results).case == "a"
    assert seen[0] == ["a", "b"], "one scan ahead, and no more"
    assert [result.case for result in results] == ["b", "c", "d"]


def test_whoever_cancels_keeps_what_is_written_and_leaves_no_thread(
    predictor: Predictor, model: Path, scans: Path, tmp_path: Path
) -> None:
    cases, out = find_scans([scans]), tmp_path / "out"
    stop = threading.Event()
    told: list[tuple[str, int, int]] = []
    options = PredictOptions(mode="patches")
    folder = _folder(predictor, model, cases, out, options)
    work = predict_cases(predictor, folder, options, lambda *windows: told.append(windows), stop.is_set)
    assert next(work).error is None
    assert told[0][:2] == ("a", 1)
    assert told[0][2] > 1
    stop.set()
    with pytest.raises(Cancelled):
        list(work)
    assert not _threads()
    assert (out / "a.nii.gz").exists()
    assert not (out / "d.nii.gz").exists()


def test_a_full_disk_ends_the_batch_and_a_surprise_only_its_case(
    predictor: Predictor, model: Path, scans: Path, tmp_path: Path
) -> None:
    cases = find_scans([scans])
    faults: list[Exception] = [DiskFull("The disk is full."), ZeroDivisionError("a bug")]

    def fail() -> None:
        if faults:
            raise faults.pop()

    failing = _Watched(predictor, fail)
    work = predict_cases(failing, _folder(predictor, model, cases, tmp_path / "out"))
    assert "ZeroDivisionError: a bug" in str(next(work).error)
    with pytest.raises(DiskFull):
        next(work)
    assert not _threads()
    assert len([*predict_cases(failing, _folder(predictor, model, cases, tmp_path / "out"))]) == 4


@pytest.mark.skipif(os.name == "nt", reason="a folder there may always be written to by its owner")
def test_a_folder_that_may_not_be_written_is_told_before_anything_is_computed(
    predictor: Predictor, model: Path, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(Exception, match="out"):
        _folder(predictor, model, find_scans([scans]), tmp_path / "out")
