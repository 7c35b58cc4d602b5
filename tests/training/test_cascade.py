"""The cascade: coarse targets, boxes, and both stages of a run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.datasets import read_case_image, read_case_mask
from napari_seg3d.evaluation import UNKNOWN, counts
from napari_seg3d.inference import Predictor, load_model
from napari_seg3d.inference.model import Crop
from napari_seg3d.training import TrainConfig, make_run
from napari_seg3d.training.cascade import _CoarseTarget, drawn_box, true_box
from napari_seg3d.training.loop import Learning, Turn
from napari_seg3d.training.state import load_state
from napari_seg3d.training.train import train
from napari_seg3d.volumes import box_of


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@given(st.integers(0, 2**16))
def test_a_coarse_target_says_whether_anything_lies_in_a_block(seed: int) -> None:
    target = np.random.default_rng(seed).choice([0, 1, UNKNOWN], (2, 1, 4, 6, 8), p=[0.9, 0.05, 0.05]).astype(np.uint8)
    coarse = _CoarseTarget((2, 3, 4))(torch.from_numpy(target)).numpy()
    blocks = target.reshape(2, 1, 2, 2, 2, 3, 2, 4).transpose(0, 1, 2, 4, 6, 3, 5, 7).reshape(2, 1, 2, 2, 2, -1)
    wanted = np.where((blocks == 1).any(axis=-1), 1, np.where((blocks == UNKNOWN).any(axis=-1), UNKNOWN, 0))
    assert np.array_equal(coarse, wanted)


@given(st.data())
def test_a_drawn_box_holds_the_object_and_lies_in_the_scan(data: st.DataObject) -> None:
    shape = [data.draw(st.integers(4, 60)) for _ in range(3)]
    first = [data.draw(st.integers(0, side - 1)) for side in shape]
    last = [data.draw(st.integers(start + 1, side)) for start, side in zip(first, shape, strict=True)]
    wanted = Crop(margin=data.draw(st.floats(0, 1)), smallest=data.draw(st.integers(1, 80)))
    drawn = drawn_box(box_of(first, last), shape, wanted, np.random.default_rng(data.draw(st.integers(0, 99))))
    for side, start, stop, voxels in zip(drawn, first, last, shape, strict=True):
        assert 0 <= side.start <= start
        assert stop <= side.stop <= voxels
        assert side.stop - side.start >= min(voxels, wanted.smallest)


def test_the_box_of_a_mask() -> None:
    mask = np.zeros((1, 5, 6, 7), np.uint8)
    assert true_box(mask) is None
    mask[0, 0] = UNKNOWN
    assert true_box(mask) is None
    mask[0, 2:4, 1, 3:6] = 2
    assert true_box(mask) == box_of((2, 1, 3), (4, 2, 6))


def _stop_once(monkeypatch: pytest.MonkeyPatch, stage: str, iteration: int) -> None:
    done: list[int] = []
    next_turn = Learning._next_turn

    def watched(self: Learning) -> Turn:
        if (self._lesson.stage, self._learner.iteration) == (stage, iteration) and not done:
            done.append(1)
            self._run.stop()
        return next_turn(self)

    monkeypatch.setattr(Learning, "_next_turn", watched)


@pytest.mark.slow
def test_both_stages_learn_go_on_after_a_stop_and_are_judged_together(
    quick_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick_config.with_values(
        {
            "cascade.enabled": True,
            "cascade.smallest": 12,
            "cascade.share": 0.25,
            "optimization.max_iterations": 32,
            "optimization.minutes": 10.0,
            "optimization.deterministic": True,
            "record.shown_cases": 1,
        }
    )
    run = make_run(config, tmp_path / "run")
    _stop_once(monkeypatch, "find", 5)
    train(run)
    assert "no model yet" in run.status().message
    assert not run.best.exists()
    assert run.can_resume
    (run.folder / "control.json").unlink()
    _stop_once(monkeypatch, "segment", 9)
    train(run)
    assert run.status().state == "stopped"
    assert load_state(run)["stage"] == "segment"
    (run.folder / "control.json").unlink()
    train(run)
    assert run.status().state == "finished"
    assert load_state(run)["learner"]["iteration"] == 24
    assert {event["stage"] for event in run.events() if event["kind"] in ("plan", "step", "validation")} == {"find", "segment"}

    model = load_model(run.best)
    assert model.roi is not None
    assert model.spec.crop == Crop(margin=0.2, smallest=12)
    judged = [event for event in run.events() if event["kind"] == "validation" and event["stage"] == "segment" and event["best"]][
        -1
    ]
    predictor = Predictor.load(run.best)
    for case in run.cases("validation"):
        scan = read_case_image(case)
        predicted = predictor.predict(scan).labels.data
        truth = read_case_mask(case, scan).data
        values = sorted(predictor.labels)
        classes, wanted = (np.searchsorted([0, *values], data) for data in (predicted, truth))
        dice = np.nanmean([count.dice for count in counts(classes, wanted, len(values))])
        assert dice == pytest.approx(judged["cases"][case.id], abs=0.01)
