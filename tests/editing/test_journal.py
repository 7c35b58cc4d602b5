"""A journal gives back every edit after a kill, a torn file, a full disk: real files, real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.editing import Change, Delta, History, apply
from napari_seg3d.editing.journal import SUFFIX, Journal, Recovered, recover
from napari_seg3d.editing.owners import is_taken, let_go, take
from napari_seg3d.editing.records import About, read_records, replay
from napari_seg3d.errors import DiskFull, ReadError
from tests.editing import painting


def _about(mask: np.ndarray, **more: str) -> About:
    return About("liver", mask.shape, mask.dtype.str, **more)


def _edit(mask: np.ndarray, number: int) -> Delta:
    box = tuple(slice(number % 5, number % 5 + 4) for _ in mask.shape)
    delta = apply(mask, Change(box, np.full((4,) * mask.ndim, number + 1, mask.dtype)))
    assert delta is not None
    return delta


def _painted(folder: Path, edits: int = 6, dtype: type = np.int32) -> tuple[Path, list[np.ndarray]]:
    """Return a journal of a dead owner, and what the mask was after each edit."""
    mask = np.zeros((12, 14, 9), dtype)
    mask[3:7, 2:9, 1:5] = 2
    journal = Journal.begin(folder, mask.copy(), _about(mask, scan="case_7.nii.gz", source="/data/case_7.nii.gz"))
    states = [mask.copy()]
    for number in range(edits):
        journal.note(_edit(mask, number))
        states.append(mask.copy())
    journal.close()
    return journal.path, states


def _taken_by_another(lock: Path) -> bool:
    """Let another process take a lock, and end; return whether it had it."""
    code = "import sys, pathlib; from napari_seg3d.editing.owners import take; print(take(pathlib.Path(sys.argv[1])))"
    said = subprocess.run([sys.executable, "-c", code, str(lock)], capture_output=True, text=True, check=True)
    return said.stdout.strip() == "True"


def _only(folder: Path) -> Recovered:
    (one,) = recover(folder)
    return one


@pytest.mark.slow
def test_killed_twenty_times_while_painting(tmp_path):
    """At most half a second is lost, with a disk that is asked every half a second; the file can be read each time."""
    root = Path(__file__).parents[2]
    child = subprocess.run(
        [sys.executable, "-m", "tests.editing.painting", str(tmp_path / "journals"), "20", "7"],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=240,
    )
    assert child.returncode == 0, child.stdout + child.stderr


@pytest.mark.slow
def test_killed_while_painting(tmp_path):
    root = Path(__file__).parents[2]
    arguments = [sys.executable, "-m", "tests.editing.painting", str(tmp_path / "journals"), "4", "1"]
    child = subprocess.run(arguments, capture_output=True, text=True, cwd=root, timeout=120)
    assert child.returncode == 0, child.stdout + child.stderr


def test_what_is_recovered_is_what_was_painted(tmp_path):
    before = time.time()
    path, states = _painted(tmp_path)
    one = _only(tmp_path)
    assert np.array_equal(one.read(), states[-1])
    assert one.read().dtype == states[-1].dtype
    assert one.path == path
    assert one.about.scan == "case_7.nii.gz"
    assert one.edits == 6
    assert before - 1 <= one.started.timestamp() <= one.last.timestamp() <= time.time() + 1
    one.discard()
    assert recover(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_undo_and_redo_are_in_it(tmp_path, dtype):
    mask = np.zeros((12, 14), dtype)
    history = History()
    journal = Journal.begin(tmp_path, mask.copy(), _about(mask))
    first, second = _edit(mask, 0), _edit(mask, 1)
    for delta in (first, second):
        history.note(delta)
        journal.note(delta)
    history.undo(mask)
    journal.note(second, is_undone=True)
    history.undo(mask)
    journal.note(first, is_undone=True)
    history.redo(mask)
    journal.note(first)
    assert journal.flush(wait=30)
    assert np.array_equal(replay(journal.path)[1], mask)
    journal.end()


def test_a_file_cut_anywhere_gives_the_mask_of_some_edit(tmp_path):
    path, states = _painted(tmp_path)
    whole = path.read_bytes()
    seen = set()
    for size in [*range(0, len(whole), 7), *range(len(whole) - 60, len(whole) + 1)]:
        path.write_bytes(whole[:size])
        found = recover(tmp_path)
        if not found:
            assert not seen, "only as long as the mask itself is not there"
            continue
        edits = found[0].edits
        assert np.array_equal(found[0].read(), states[edits])
        seen.add(edits)
    assert seen == set(range(7))


def test_a_damaged_record_ends_the_file_and_spoils_none_before(tmp_path):
    path, states = _painted(tmp_path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for at in random.integers(0, len(whole), 200):
        broken = bytearray(whole)
        broken[at] ^= 1 << random.integers(0, 8)
        path.write_bytes(broken)
        for one in recover(tmp_path):
            assert np.array_equal(one.read(), states[one.edits])


def test_a_long_file_becomes_a_short_one(tmp_path):
    mask = np.zeros((30, 30, 30), np.uint16)
    random = np.random.default_rng(0)
    journal = Journal.begin(tmp_path, mask.copy(), _about(mask), large=100_000)
    for _ in range(40):
        delta = apply(mask, Change((slice(0, 20),) * 3, random.integers(0, 4, (20, 20, 20)).astype(np.uint16)))
        journal.note(delta)
    assert journal.flush(wait=30)
    assert journal.path.stat().st_size < 200_000
    assert np.array_equal(replay(journal.path)[1], mask)
    journal.close()
    assert np.array_equal(_only(tmp_path).read(), mask)


def test_only_one_process_has_a_journal(tmp_path):
    mask = np.zeros((8, 9), np.uint8)
    journal = Journal.begin(tmp_path, mask.copy(), _about(mask))
    journal.flush(wait=30)
    assert recover(tmp_path) == [], "its owner is alive: this process"
    lock = journal.path.with_suffix(".lock")
    assert not _taken_by_another(lock)
    journal.close()
    one = _only(tmp_path)
    assert _taken_by_another(lock)
    assert _only(tmp_path) == one, "that process is dead"
    assert one.take()
    assert recover(tmp_path) == []
    one.leave()
    assert _only(tmp_path) == one


def test_of_many_that_want_a_dead_owners_lock_one_gets_it(tmp_path):
    lock = tmp_path / "one.lock"
    assert _taken_by_another(lock)
    assert not is_taken(lock), "that process is dead"
    gate, got = threading.Barrier(4), {}

    def want() -> None:
        ear, mouth = os.pipe()
        gate.wait()
        pid = os.fork()
        if pid == 0:
            os.write(mouth, b"1" if take(lock) else b"0")
            signal.pause()  # it holds what it got until all have asked
        got[pid] = os.read(ear, 1)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pid in got:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert sorted(got.values()) == [b"0", b"0", b"0", b"1"]
    let_go(lock)


def test_a_lock_without_a_name_is_taken_only_for_a_moment(tmp_path):
    lock = tmp_path / "one.lock"
    lock.touch()
    assert is_taken(lock)
    os.utime(lock, (time.time() - 60,) * 2)
    assert not is_taken(lock)
    assert take(lock)
    assert take(lock), "it is ours"


def test_a_full_disk_is_told_and_the_edits_wait(tmp_path, small_disk):
    mask = np.zeros((40, 40, 40), np.int32)
    random = np.random.default_rng(0)
    told = []
    journal = Journal.begin(small_disk, mask.copy(), _about(mask), seconds=0.1, on_problem=told.append)
    for _ in range(20):
        delta = apply(mask, Change((slice(0, 40),) * 3, random.integers(0, 2**20, mask.shape).astype(np.int32)))
        journal.note(delta)
    assert not journal.flush(wait=30)
    assert isinstance(journal.problem, DiskFull)
    assert sum(record.kind == "done" for record in read_records(journal.path)) < 20
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    end = time.monotonic() + 30
    while journal.problem is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert journal.flush(wait=30)
    assert [type(problem) for problem in told] == [DiskFull, type(None)], "said once, and that it is over"
    assert np.array_equal(replay(journal.path)[1], mask)
    journal.end()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_it_knows_what_the_mask_was_edited_with(tmp_path):
    mask = np.zeros((12, 14), np.int16)
    journal = Journal.begin(tmp_path, mask.copy(), _about(mask))
    brush, smooth, other = (replace(_edit(mask, value), tool=tool) for value, tool in ((1, "brush"), (2, "smooth"), (3, "")))
    for delta, is_undone in ((brush, False), (smooth, False), (smooth, True), (other, False), (brush, False)):
        journal.note(delta, is_undone)
    assert journal.flush(wait=30)
    assert replay(journal.path)[2] == {"brush": 2}
    journal.end()


def test_a_journal_that_somebody_deletes_is_told(tmp_path):
    mask = np.zeros((12, 14), np.int16)
    journal = Journal.begin(tmp_path, mask.copy(), _about(mask))
    journal.flush(wait=30)
    journal.path.unlink()
    journal.note(_edit(mask, 1))
    assert not journal.flush(wait=30)
    assert "vanished" in str(journal.problem)
    journal.end()
    assert list(tmp_path.iterdir()) == []


def test_what_lies_beside_journals_is_none(tmp_path):
    assert recover(tmp_path / "nowhere") == []
    (tmp_path / f"a{SUFFIX}").write_bytes(b"something else")
    (tmp_path / f"b{SUFFIX}").touch()
    assert recover(tmp_path) == []
    with pytest.raises(ReadError):
        list(read_records(tmp_path / f"a{SUFFIX}"))


def test_the_edits_that_were_made_are_known_by_number():
    """What the test with kills compares with."""
    known = painting.states(30)
    assert len(known) == 31
    assert any(not np.array_equal(known[number], known[number + 1]) for number in range(30))
