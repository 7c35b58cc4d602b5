import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from napari_seg3d.errors import Cancelled, TrainingError, WriteError
from napari_seg3d.training import EventReader, Run, TrainConfig, find_runs, live_runs, make_run, resume_run, start_run
from napari_seg3d.training.runs.process_file import ProcessFile
from napari_seg3d.training.runs.queue import wait_in_line
from napari_seg3d.training.state import take_back
from tests.waiting import wait_for


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    run = Run(tmp_path)
    reader = EventReader(run)
    assert list(reader.read()) == []
    run.add_event("step", iteration=1)
    with open(tmp_path / "events.jsonl", "a") as handle:
        handle.write('{"kind": "step", ')
    assert [event["iteration"] for event in reader.read()] == [1]
    with open(tmp_path / "events.jsonl", "a") as handle:
        handle.write('"iteration": 2}\n')
    assert [event["iteration"] for event in reader.read()] == [2]
    assert list(reader.read()) == []


def test_a_line_broken_by_a_kill_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"kind": "st\n{"kind": "state", "state": "finished", "message": "done"}\n')
    assert Run(tmp_path).status().state == "finished"


@pytest.mark.parametrize("line", ["5", "[1]", "null", "{}", '{"kind": 7}', '{"kind": "step"}x'])
def test_a_line_that_is_no_event_is_skipped(tmp_path: Path, line: str) -> None:
    (tmp_path / "events.jsonl").write_text(line + '\n{"kind": "state", "state": "finished", "message": "done"}\n')
    assert Run(tmp_path).status().state == "finished"


def test_a_line_that_is_no_text_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"kind": "\x80"}\n{"kind": "state", "state": "finished", "message": "done"}\n')
    assert Run(tmp_path).status().state == "finished"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7"])
def test_what_cannot_be_read_asks_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "control.json").write_text(text)
    assert Run(tmp_path).command() is None


def test_of_a_deleted_folder_nobody_says_that_its_process_was_killed(tmp_path: Path, quick_config: TrainConfig) -> None:
    run = make_run(quick_config, tmp_path / "run")
    ProcessFile.of(os.getpid()).write(run.folder)
    training = {"kind": "state", "state": "training"}
    assert run.status_after(training).state == "training"
    shutil.rmtree(run.folder)
    status = run.status_after(training)
    assert status.ended
    assert "deleted" in status.message
    assert "train.log" not in status.message


def test_who_resumes_twice_gets_one_process(tmp_path: Path, quick_config: TrainConfig) -> None:
    run = make_run(quick_config, tmp_path / "run")
    run.add_event("state", state="stopped")
    run.saved_state.parent.mkdir()
    run.saved_state.write_bytes(b"damaged")
    refused = []

    def resume() -> None:
        try:
            resume_run(run)
        except TrainingError as error:
            refused.append(error)

    # A process that has said its last words, and is still leaving: both wait for it.
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"]) as leaving:
        ProcessFile.of(leaving.pid).write(run.folder)
        threads = [threading.Thread(target=resume) for _ in range(2)]
        for thread in threads:
            thread.start()
        leaving.wait()
        for thread in threads:
            thread.join()
    run.kill()
    assert len(refused) == 1


def test_a_process_id_that_is_used_again_is_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "process.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0, "host": platform.node()}))
    run = Run(tmp_path)
    assert not run.is_alive()
    assert run.status().state == "died"
    run.kill()  # must not end this test


def test_a_run_is_never_written_over(tmp_path: Path, quick_config: TrainConfig) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match="not empty"):
        start_run(quick_config, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unwritable_place_is_named(tmp_path: Path, quick_config: TrainConfig) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        start_run(quick_config, tmp_path / "file" / "run")


def test_runs_are_found_wherever_they_are(tmp_path: Path, quick_config: TrainConfig) -> None:
    unusable = quick_config.with_values({"data.images": str(tmp_path / "nothing")})
    elsewhere = start_run(unusable, tmp_path / "elsewhere")
    at_home = start_run(unusable)
    assert {run.folder for run in find_runs()} == {elsewhere.folder, at_home.folder}
    for run in (elsewhere, at_home):
        status = wait_for(run)
        assert status.state == "failed"
        assert "nothing" in status.message
    assert live_runs() == []


def _waiting(tmp_path: Path, name: str, config: TrainConfig, created: float) -> Run:
    run = make_run(config, tmp_path / name)
    ProcessFile(os.getpid(), created, platform.node()).write(run.folder)
    return run


def test_of_two_runs_exactly_one_waits_for_the_other(tmp_path: Path, quick_config: TrainConfig) -> None:
    began = psutil.Process().create_time()
    first, second = (_waiting(tmp_path, name, quick_config, began + number) for number, name in enumerate(("a", "b")))
    wait_in_line(first)
    assert not any(event["kind"] == "state" for event in first.events())
    waiting = threading.Thread(target=wait_in_line, args=(second,))
    waiting.start()
    try:
        waiting.join(0.5)
        assert waiting.is_alive()
        assert second.status().state == "queued"
        assert [event["message"] for event in second.events()] == ["Waits for a."]
        # Its process has ended: the number stands for another one now.
        ProcessFile(os.getpid(), began - 100, platform.node()).write(first.folder)
        waiting.join(10)
        assert not waiting.is_alive()
    finally:
        second.stop()
        waiting.join(10)


def test_a_run_that_waits_can_be_stopped(tmp_path: Path, quick_config: TrainConfig) -> None:
    began = psutil.Process().create_time()
    _waiting(tmp_path, "a", quick_config, began)
    second = _waiting(tmp_path, "b", quick_config, began + 1)
    second.stop()
    with pytest.raises(Cancelled):
        wait_in_line(second)


def test_what_came_after_a_state_is_taken_back_and_a_follower_hears_of_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    follower = EventReader(run)
    run.add_event("step", iteration=1)
    state = {
        "lengths": {"events.jsonl": (tmp_path / "events.jsonl").stat().st_size, "metrics.csv": 4},
        "learner": {"iteration": 1},
    }
    (tmp_path / "metrics.csv").write_text("1,2\n3,4\n5,")
    (tmp_path / "checkpoints" / ".writing-x").mkdir(parents=True)
    run.add_event("step", iteration=2)
    run.add_event("warning", message="true", fix="")
    with open(tmp_path / "events.jsonl", "a") as handle:
        handle.write('{"kind": "st')
    assert [event["kind"] for event in follower.read()] == ["step", "step", "warning"]
    take_back(run, state)
    run.add_event("step", iteration=2)
    assert (tmp_path / "metrics.csv").read_text() == "1,2\n"
    assert not (tmp_path / "checkpoints" / ".writing-x").exists()
    assert [(event["kind"], event.get("iteration")) for event in follower.read()] == [("resumed", 1), ("step", 2)]
    kinds = [(event["kind"], event.get("iteration")) for event in run.events()]
    assert kinds == [("step", 1), ("warning", None), ("resumed", 1), ("step", 2)]
