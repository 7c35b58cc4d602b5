import json
from pathlib import Path

import pytest

from napari_seg3d.errors import WriteError
from napari_seg3d.training import EventReader, Run, TrainConfig, find_runs, live_runs, start_run
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


def test_a_process_id_that_is_used_again_is_not_the_run(tmp_path: Path) -> None:
    import os
    import platform

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
