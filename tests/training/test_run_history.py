"""What a run folder tells: live, long, resumed, of an older version, damaged."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import Cancelled
from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.training.runs.history import CurveKey
from napari_seg3d.training.runs.reader import HistoryReader, HistoryShelf, folder_size
from napari_seg3d.training.runs.settings import config_differences, read_settings


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run folder that nobody trains in."""
    run = Run(tmp_path / "run")
    TrainConfig.parse({"data": {"images": "/data/liver"}}).save(run.folder / "run.yaml")
    return run


def _step(run: Run, iteration: int, **values: object) -> None:
    run.add_event(
        "step", **{"iteration": iteration, "epoch": iteration / 10, "loss": 1 / iteration, "learning_rate": 0.01} | values
    )


def _validate(run: Run, iteration: int, dice: float, best: bool = True, **values: object) -> None:
    label = {"dice": dice, "precision": 0.5, "recall": None, "f1": dice, "tp": 60.0, "fn": 40.0, "fp": 10.0}
    run.add_event(
        "validation",
        **{
            "iteration": iteration,
            "epoch": iteration / 10,
            "dice": {"ball": dice, "core": None},
            "mean_dice": dice,
            "metrics": {"ball": label, "core": {"dice": None, "precision": 0.7}},
            "score": 0.9,
            "metric": "precision",
            "cases": {"b": dice, "a": None},
            "best": best,
        }
        | values,
    )


def _preview(run: Run, case: str, iteration: int, **values: object) -> None:
    paths = {"image": "/data/b.nii.gz", "mask": f"previews/{case}/reference.nii.gz"}
    prediction = f"previews/{case}/{iteration:07d}.nii.gz"
    run.add_event(
        "preview", **{"case": case, "prediction": prediction, "iteration": iteration, "epoch": iteration / 10} | paths | values
    )


def test_a_finished_run_tells_everything(finished_run: Run) -> None:
    history = HistoryReader(finished_run).read()
    events = finished_run.events()
    validations = [event for event in events if event["kind"] == "validation"]
    assert history.status == finished_run.status()
    assert (history.damaged, history.problem) == (0, "")
    assert history.settings == finished_run.config().to_dict()
    assert history.network == "dynunet"
    assert list(history.labels.values()) == ["label 3", "label 7"]
    loss = history.curves[CurveKey("loss", "", history.stage)]
    assert loss.values.tolist() == [event["loss"] for event in events if event["kind"] == "step"]
    for label in history.labels.values():
        curve = history.curves[CurveKey("dice", label, history.stage)]
        assert curve.values.tolist() == [event["dice"][label] for event in validations]
    assert [found.cases for found in history.validations] == [event["cases"] for event in validations]
    assert history.best is not None
    assert history.best.score == max(event["mean_dice"] for event in validations)
    assert history.kept
    assert all(kept.prediction.exists() and kept.image.exists() and kept.mask.exists() for kept in history.kept)
    assert history.seconds == pytest.approx(events[-1]["time"] - events[0]["time"])
    assert history.size == sum(file.stat().st_size for file in finished_run.folder.rglob("*") if file.is_file())


def test_a_summary_says_the_same_but_for_the_curves_of_the_steps(finished_run: Run) -> None:
    whole, summary = HistoryReader(finished_run).read(), HistoryReader(finished_run, every_step=False).read()
    for name in (
        "status",
        "settings",
        "plan",
        "labels",
        "validations",
        "kept",
        "iteration",
        "epoch",
        "seconds",
        "size",
        "damaged",
    ):
        assert getattr(whole, name) == getattr(summary, name), name


def test_a_summary_has_the_last_of_steps_in_a_row(run: Run) -> None:
    for end in (10, 20):
        for iteration in range(end - 9, end + 1):
            _step(run, iteration)
        _validate(run, end, 0.5)
    whole, summary = HistoryReader(run).read(), HistoryReader(run, every_step=False).read()
    assert whole.curves[CurveKey("loss")].iterations.tolist() == list(range(1, 21))
    assert summary.curves[CurveKey("loss")].iterations.tolist() == [10, 20]


def test_metrics_are_told_by_label_and_as_their_mean(run: Run) -> None:
    _validate(run, 10, 0.6)
    history = HistoryReader(run).read()
    values = {key: curve.values.tolist() for key, curve in history.curves.items()}
    assert values[CurveKey("precision", "ball")] == [0.5]
    assert values[CurveKey("precision")] == [pytest.approx(0.6)]
    assert values[CurveKey("fn", "ball")] == [40]
    assert values[CurveKey("dice")] == [0.6]
    assert values[CurveKey("score")] == [0.9]
    assert math.isnan(values[CurveKey("recall")][0])
    assert history.validations[0].metric == "precision"


def test_what_an_older_version_wrote_is_read(run: Run) -> None:
    run.add_event("validation", iteration=5, epoch=0.5, elapsed=1, dice={"ball": 0.4}, mean_dice=0.4, cases={"b": 0.4}, best=True)
    run.add_event("preview", case="b", image="/b.nii", mask="", prediction="previews/0000005.nii.gz", iteration=5, epoch=0.5)
    history = HistoryReader(run).read()
    assert history.best is not None
    assert (history.best.score, history.best.metric, history.best.stage) == (0.4, "dice", "")
    assert history.curves[CurveKey("dice", "ball")].values.tolist() == [0.4]
    (kept,) = history.kept
    assert (kept.dice, kept.mask) == (0.4, None)


def test_only_what_is_new_is_read(run: Run) -> None:
    reader = HistoryReader(run)
    assert reader.read().status.state == "starting"
    _step(run, 1)
    first = reader.read()
    assert first is reader.read()
    with open(run.folder / "events.jsonl", "ab") as handle:
        handle.write(b'{"time": 1, "kind": "step", "iteration": 2, ')
    assert reader.read().iteration == 1
    with open(run.folder / "events.jsonl", "ab") as handle:
        handle.write(b'"epoch": 0.2, "loss": 0.5}\n')
    history = reader.read()
    assert (history.iteration, history.damaged) == (2, 0)
    assert history.curves[CurveKey("loss")].values.tolist() == [1, 0.5]
    assert first.curves[CurveKey("loss")].values.tolist() == [1], "what was handed out stays as it was"


def test_what_a_resumed_run_does_again_counts_once(run: Run) -> None:
    for iteration in (10, 20, 30):
        _step(run, iteration)
        _validate(run, iteration, 0.1, stage="segment")
        _preview(run, "a", iteration)
        _preview(run, "b", iteration)
    run.add_event("state", state="preparing")
    _step(run, 20, loss=7)
    _validate(run, 20, 0.2, stage="segment")
    _preview(run, "b", 20, dice=0.3)
    history = HistoryReader(run).read()
    loss = history.curves[CurveKey("loss", "", "segment")]
    assert loss.iterations.tolist()[-1] == 20
    assert loss.values.tolist()[-1] == 7
    assert [(found.iteration, found.cases["b"]) for found in history.validations] == [(10, 0.1), (20, 0.2)]
    assert [(kept.iteration, kept.dice) for kept in history.kept_of("b")] == [(10, 0.1), (20, 0.3)]


def test_events_that_are_taken_back_are_forgotten(run: Run) -> None:
    reader = HistoryReader(run)
    for iteration in (1, 2, 3):
        _step(run, iteration)
    assert reader.read().iteration == 3
    lines = (run.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run.folder / "other").write_bytes(b"".join(lines[:1]) + lines[0].replace(b'"loss": 1.0', b'"loss": 4.0') * 4)
    (run.folder / "other").replace(run.folder / "events.jsonl")
    history = reader.read()
    assert history.iteration == 1
    assert history.curves[CurveKey("loss")].values.tolist() == [4]


def test_stages_of_a_cascade_are_told_apart(run: Run) -> None:
    _step(run, 10, stage="find")
    _validate(run, 10, 0.9, stage="find")
    _step(run, 1, stage="segment")
    history = HistoryReader(run).read()
    assert (
        len(history.curves[CurveKey("loss", "", "find")].values)
        == len(history.curves[CurveKey("loss", "", "segment")].values)
        == 1
    )
    _validate(run, 2, 0.4, stage="segment")
    history = HistoryReader(run).read()
    assert history.best is not None
    assert history.best.stage == "segment", "finding is easier than segmenting: their scores cannot be compared"


def test_time_in_which_nothing_happened_does_not_count(run: Run) -> None:
    def say(time: float, kind: str, **values: object) -> None:
        with open(run.folder / "events.jsonl", "a") as handle:
            handle.write(json.dumps({"time": time, "kind": kind, **values}) + "\n")

    say(0, "state", state="queued")
    say(100, "state", state="preparing")
    say(110, "state", state="training")
    say(120, "state", state="paused")
    say(520, "state", state="training")
    say(530, "step", iteration=1, epoch=0.1, loss=1)
    # It was killed, and resumed the next day.
    say(90000, "state", state="starting")
    say(90005, "state", state="preparing")
    say(90010, "state", state="stopped")
    say(99990, "state", state="starting")
    say(99995, "state", state="finished")
    assert HistoryReader(run).read().seconds == 10 + 10 + 10 + 10 + 5
    assert HistoryReader(run, every_step=False).read().seconds == 45


def test_damaged_lines_are_counted_and_the_rest_is_told(run: Run) -> None:
    _step(run, 1)
    bad = [
        b'{"time": 1, "kind": "st',
        b"[]",
        b"\x00\x00\xff",
        b"[" * 100_000,
        b'{"time": 1, "kind": "step"}',
        b'{"time": 1, "kind": "step", "iteration": "x", "epoch": 1, "loss": 1}',
        b'{"time": 1, "kind": "step", "iteration": 1e999, "epoch": 1, "loss": 1}',
        b'{"time": 1, "kind": "validation", "iteration": 1, "epoch": 1, "mean_dice": 1, "dice": {}, "cases": []}',
        b'{"time": 1, "kind": "plan", "labels": {"x": "y"}}',
        b'{"time": 1, "kind": "preview", "case": "b", "iteration": 3, "epoch": 3, "image": 7, "prediction": null}',
        b'{"kind": "state", "state": "failed"}',
    ]
    with open(run.folder / "events.jsonl", "ab") as handle:
        handle.write(b"\n".join(bad) + b"\n")
    _step(run, 2, loss=float("nan"))
    history = HistoryReader(run).read()
    assert history.damaged == len(bad)
    assert history.iteration == 2
    assert history.curves[CurveKey("loss")].values[0] == 1
    assert np.isnan(history.curves[CurveKey("loss")].values[1])


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["step", "training"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_names = (
    "iteration",
    "epoch",
    "loss",
    "state",
    "cases",
    "dice",
    "mean_dice",
    "metrics",
    "stage",
    "labels",
    "image",
    "mask",
    "prediction",
)
_events = st.builds(
    lambda kind, values: json.dumps({"time": 1.5, "kind": kind, **values}).encode(),
    st.sampled_from(["state", "plan", "step", "validation", "preview"]),
    st.dictionaries(st.sampled_from(_names), _json | st.integers(0, 9), min_size=2),
)


@given(st.lists(_events | st.binary(max_size=20), max_size=12), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_content_of_the_events_is_an_error(run: Run, lines: list[bytes], every_step: bool) -> None:
    (run.folder / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    history = HistoryReader(run, every_step).read()
    assert history.damaged <= sum(line.count(b"\n") + 1 for line in lines) + 1
    for curve in history.curves.values():
        assert len(curve.iterations) == len(curve.epochs) == len(curve.values)
        assert (np.diff(curve.iterations) > 0).all()
    assert history.best is None or history.best in history.validations
    assert isinstance(history.network, str)


@pytest.mark.parametrize("text", ["{", "- a\n- b\n", "\x00", "data: 3\nnetwork: [1]\n", ""])
def test_settings_that_cannot_be_read_are_told(run: Run, text: str) -> None:
    (run.folder / "run.yaml").write_text(text)
    history = HistoryReader(run).read()
    assert bool(history.problem) == (not text.startswith("data"))
    assert history.data == history.network == ""


def test_a_folder_that_is_gone_is_no_error(run: Run) -> None:
    reader = HistoryReader(run)
    _step(run, 1)
    reader.read()
    shutil.rmtree(run.folder)
    history = reader.read()
    assert (history.iteration, history.size) == (0, 0)
    assert "run.yaml" in history.problem


def test_links_are_not_counted_with_what_they_point_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(100_000))
    before = folder_size(run.folder)
    (run.folder / "link").symlink_to(tmp_path)
    assert folder_size(run.folder) - before < 1000


def test_a_shelf_reads_again_only_what_changed(run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(run.folder, tmp_path / "other"))
    shelf = HistoryShelf()
    before = shelf.read([run, other])
    _step(run, 3)
    after = shelf.read([run, other])
    assert after[0] is not before[0]
    assert after[0].iteration == 3
    assert after[1] is before[1]
    with pytest.raises(Cancelled):
        shelf.read([run], lambda: True)


def test_runs_differ_in_what_was_changed_and_in_nothing_else(quick_config: TrainConfig) -> None:
    other = quick_config.with_values({"optimization.loss": "focal", "sampling.planes": ["axial", "coronal"]})
    rows = config_differences([quick_config.to_dict(), other.to_dict(), quick_config.to_dict()])
    assert [row.setting for row in rows] == ["sampling.planes", "optimization.loss"]
    assert rows[0].values == (["axial"], ["axial", "coronal"], ["axial"])
    assert rows[1].title == "Loss"
    assert config_differences([other.to_dict()]) == []


def test_a_setting_that_an_older_version_did_not_know_has_its_default(run: Run) -> None:
    now, _ = read_settings(run.folder)
    old = {section: dict(values) for section, values in now.items() if section not in ("cascade", "targets")}
    del old["sampling"]["planes"]
    old["network"]["gone"] = 3
    assert [(row.setting, row.values) for row in config_differences([old, now])] == [("network.gone", (3, None))]


_changes = st.dictionaries(
    st.sampled_from(["optimization.seed", "data.split_seed", "optimization.batch_size", "record.shown_cases"]), st.integers(1, 5)
)


@given(st.lists(_changes, min_size=1, max_size=4))
def test_differences_are_exactly_where_values_differ(changes: list[dict[str, int]]) -> None:
    config = TrainConfig.parse({"data": {"images": "/data"}})
    configs = [config.with_values(change).to_dict() for change in changes]
    rows = {row.setting: row.values for row in config_differences(configs)}
    for name in TrainConfig.setting_names():
        section, setting = name.split(".")
        values = tuple(values[section][setting] for values in configs)
        assert (name in rows) == (len({str(value) for value in values}) > 1)
        assert rows.get(name, values) == values
