"""A day of a reviewer: twenty real cases by keys and mouse, over a closed viewer and a killed one, and everything is there in the end."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_seg3d.datasets import read_mask
from napari_seg3d.editing.versions import list_versions
from napari_seg3d.files import user_folder
from napari_seg3d.review import Worklist
from napari_seg3d.training import Run, TrainConfig, start_run
from tests.pumping import pump_until
from tests.reviewer import WORK, Reviewer
from tests.waiting import wait_for

CASES = 20
CLOSED_AFTER = 12
_LEARNT_FROM = 8


@dataclass(frozen=True)
class Done:
    """What the reviewer did to a case."""

    state: str
    voxels: np.ndarray  # (z, y, x)
    tools: tuple[str, ...]
    comment: str = ""


def copy_cases(source: Path, folder: Path, names: list[str]) -> Path:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
        for name in names:
            shutil.copyfile(source / part / name, folder / part / name)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    files = sorted([*(folder / "images").rglob("*"), *(folder / "labels").rglob("*")])
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def small_model(folder: Path) -> Run:
    """Return a run that has learnt for some seconds, among those that the user has."""
    config = TrainConfig.parse({"data": {"images": str(folder), "validation": 0.25}}).with_values(
        {
            "sampling.patch_size": [24, 32, 24],
            "network.features": [8, 16, 32],
            "optimization.minutes": 1.0,
            "optimization.max_iterations": 120,
            "optimization.batch_size": 2,
            "optimization.learning_rate": 0.01,
            "device.workers": 0,
        }
    )
    run = start_run(config, user_folder("runs") / "small")
    assert wait_for(run).state == "finished", run.log.read_text()
    return run


def work_on(reviewer: Reviewer, case: str, number: int) -> Done:
    """Correct a case, comment some, approve or flag it; the next one comes."""
    assert reviewer.model.current == case
    tools = reviewer.edit(WORK[number % len(WORK)])
    voxels, comment = reviewer.mask.data.copy(), ""
    if number % 5 == 1:
        comment = f"Number {number}: b, n and d are keys, too"
        reviewer.comment(comment)
    state = "flagged" if number % 3 == 2 else "approved"
    reviewer.say("flag" if state == "flagged" else "approve")
    return Done(state, voxels, tools, comment)


def check(folder: Path, done: dict[str, Done]) -> None:
    """Compare what is on the disk with what was done, to the voxel."""
    worklist = Worklist.open(folder, who="anna")
    for case, what in done.items():
        entry = worklist.entry(case)
        assert (entry.state, entry.comment, entry.reviewer) == (what.state, what.comment, "anna"), case
        assert entry.mask.origin == "correction", case
        assert np.array_equal(read_mask(entry.mask.file).data[0].transpose(2, 1, 0), what.voxels), case
        (version,) = list_versions(entry.mask.file.parent)
        assert (version.path, version.author, version.tools) == (entry.mask.file, "anna", what.tools), case
        assert entry.measures.dice, case


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_cases_by_keyboard(make_napari_viewer, shared_data, tmp_path):
    source = shared_data / "hippocampus"
    names = sorted(file.name for file in (source / "images").glob("*.nii.gz"))
    folder = copy_cases(source, tmp_path / "scans", names[:CASES])
    small_model(copy_cases(source, tmp_path / "learnt", names[-_LEARNT_FROM:]))
    before, done, cases = hashes(folder), {}, [name.removesuffix(".nii.gz") for name in names[:CASES]]

    reviewer = Reviewer(make_napari_viewer(show=True), folder)
    reviewer.review.reviewer.setText("anna")
    reviewer.review.reviewer.editingFinished.emit()
    reviewer.say("next")
    assert reviewer.review.predict_button.text() == f"Predict {CASES} open cases"
    QTest.mouseClick(reviewer.review.predict_button, Qt.MouseButton.LeftButton)
    assert reviewer.review.predicting.isVisible()
    pump_until(lambda: reviewer.model.open_cases.job is None, 300, "the predictions")
    reviewer.settle()
    assert [entry.state for entry in reviewer.model.worklist.entries] == ["predicted"] * CASES, reviewer.review.notice.text()
    assert all(0 < entry.uncertainty < 1 and entry.dice > 0 for entry in reviewer.model.worklist.entries)
    predicted = read_mask(reviewer.model.entry.mask.file).data[0].transpose(2, 1, 0)
    assert np.array_equal(reviewer.mask.data, predicted), "the case that is looked at has its prediction, too"

    arrays: dict[str, weakref.ref[np.ndarray]] = {}
    for number, case in enumerate(cases[:CLOSED_AFTER]):
        if number % 4 == 3:
            reviewer.click_row(case)
        arrays |= {layer.name: weakref.ref(layer.data) for layer in reviewer.viewer.layers}
        done[case] = work_on(reviewer, case, number)
    gc.collect()
    # Those of the last two cases are held until another one comes, and napari holds the mask in which its own brush was used last.
    alive = [name for name, array in list(arrays.items())[:-4] if array() is not None]
    assert len(alive) <= 1, f"cases stay in memory: {alive}"
    check(folder, done)

    reviewer.say("previous")
    assert np.array_equal(reviewer.mask.data, done[cases[CLOSED_AFTER - 1]].voxels)
    reviewer.say("next")
    seconds = reviewer.model.worklist.entry(cases[0]).seconds
    reviewer.close()
    check(folder, done)

    killed = tmp_path / "killed.npy"
    other = subprocess.Popen(
        [sys.executable, "-m", "tests.reviewer", str(folder), cases[CLOSED_AFTER], str(killed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ},
    )
    assert other.stdout is not None
    assert any("in the middle of a stroke" in line for line in other.stdout)
    other.send_signal(signal.SIGKILL)
    other.wait()

    reviewer = Reviewer(make_napari_viewer(show=True), folder)
    reviewer.review.reviewer.setText("anna")
    reviewer.review.reviewer.editingFinished.emit()
    reviewer.settle()
    check(folder, done)
    assert reviewer.model.worklist.entry(cases[0]).seconds == seconds > 0
    assert reviewer.review.recovery.isVisible()
    QTest.mouseClick(reviewer.review.recovery.recover_buttons[0], Qt.MouseButton.LeftButton)
    pump_until(lambda: not reviewer.review.recovery.isVisible() and reviewer.model.current is not None, what="the recovery")
    reviewer.settle()
    assert reviewer.model.current == cases[CLOSED_AFTER]
    assert np.array_equal(reviewer.mask.data, np.load(killed)), "half a stroke is not lost, either"
    assert len(reviewer.viewer.layers) == 2
    done[cases[CLOSED_AFTER]] = Done("approved", reviewer.mask.data.copy(), ("brush",))
    reviewer.say("approve")

    for number, case in enumerate(cases[CLOSED_AFTER + 1 :], start=CLOSED_AFTER + 1):
        done[case] = work_on(reviewer, case, number)
    assert "last case" in reviewer.review.notice.text()
    assert reviewer.model.current == cases[-1]
    reviewer.close()
    check(folder, done)
    assert len(done) == CASES
    assert hashes(folder) == before, "the sources are as they were, to the byte"
