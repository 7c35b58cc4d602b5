"""The journals: two that write at once, a kill in the middle, a person's edits; nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import DatasetError, WriteError
from napari_seg3d.review.events import Event, from_line, to_line
from napari_seg3d.review.store import ReviewStore

_WRITER = """
import sys
from pathlib import Path
from napari_seg3d.review.store import ReviewStore
store = ReviewStore(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[4])):
    store.add((f"case_{number % 7}", "comment", f"{sys.argv[2]} {number} äöü"))
    if number % 50 == 0:
        print(number, flush=True)
"""


def writer(folder: Path, who: str, journal: str, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder), who, journal, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("journals", [("same", "same"), ("one", "two")], ids=["one account", "two accounts"])
def test_two_processes_that_write_at_once_lose_nothing(tmp_path, journals):
    count = 500
    both = [writer(tmp_path, who, journal, count) for who, journal in zip(("anna", "ben"), journals, strict=True)]
    reader = ReviewStore(tmp_path, "carl")
    for process in both:
        begin(process)
    seen = 0
    while any(process.poll() is None for process in both):
        reader.refresh()
        assert len(reader.events) >= seen, "what was seen once stays"
        seen = len(reader.events)
        time.sleep(0.02)
    assert [process.wait() for process in both] == [0, 0]
    for store in (reader, ReviewStore(tmp_path, "dora")):
        store.refresh()
        for who in ("anna", "ben"):
            said = [event.value for event in store.events if event.who == who]
            assert said == [f"{who} {number} äöü" for number in range(count)], "all of it, in its order"
        assert store.damage == ()
    assert len(list(tmp_path.iterdir())) == len(set(journals))


def test_a_kill_in_the_middle_leaves_it_readable(tmp_path):
    for turn in range(3):
        process = writer(tmp_path, "anna", "anna", 100_000)
        begin(process)
        process.stdout.readline()
        time.sleep(0.02 + 0.03 * turn)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        store = ReviewStore(tmp_path, "anna", "anna")
        assert store.damage == ()
        before = len(store.events)
        assert before > 0
        store.add(("case_1", "state", "approved"))  # no lock was left behind
        assert len(ReviewStore(tmp_path).events) == before + 1


@given(cut=st.integers(1, 60), tail=st.sampled_from([b"", b"\n", b"\r\n", b"\x00\x01\n"]))
@settings(max_examples=30, deadline=None)
def test_a_line_that_was_cut_off_costs_only_itself(tmp_path_factory, cut, tail):
    folder = tmp_path_factory.mktemp("cut")
    store = ReviewStore(folder, "anna", "anna")
    store.add(("a", "state", "approved"), ("b", "comment", "an artefact, see slice 12"))
    whole = store.journal.read_bytes()
    store.journal.write_bytes(whole[:-cut] + tail)
    damaged = store.journal.read_bytes()
    other = ReviewStore(folder, "anna", "anna")
    other.add(("c", "state", "flagged"))
    again = ReviewStore(folder)
    assert [event.case for event in again.events] == (["a", "c"] if cut > 1 or tail.startswith(b"\x00") else ["a", "b", "c"])
    assert store.journal.read_bytes().startswith(damaged), "what cannot be read stays"
    if len(again.events) == 2:
        assert [damage.line for damage in again.damage][:1] == [2]
        assert "line 2" in str(again.damage[0])


def test_a_person_may_edit(tmp_path):
    store = ReviewStore(tmp_path, "anna", "anna")
    store.add(("a", "state", "approved"), ("b", "state", "flagged"))
    lines = store.journal.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) | {"at": ""} == {"at": "", "who": "anna", "case": "a", "field": "state", "value": "approved"}
    # Another word, a field that nobody knows, an empty line, and no end of the last line.
    lines[0] = lines[0].replace("approved", "flagged").replace('"who"', '"room": 3, "who"')
    mine = '{"at": "2030-01-02", "who": "ben", "case": "a", "field": "mood", "value": {"is": ["fine"]}}'
    store.journal.write_text("\n".join([*lines, "", "what is this", mine]), encoding="utf-8")
    assert store.refresh()
    assert [(event.case, event.field, event.value) for event in store.events] == [
        ("a", "state", "flagged"),
        ("b", "state", "flagged"),
        ("a", "mood", {"is": ["fine"]}),
    ]
    assert [damage.line for damage in store.damage] == [4]
    assert not store.refresh()
    store.add(("a", "comment", "more"))
    assert len(store.events) == 4
    assert len(store.journal.read_text(encoding="utf-8").splitlines()) == 6
    store.journal.write_text("", encoding="utf-8")
    assert store.refresh()
    assert store.events == ()


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    who=st.text(),
    seconds=st.integers(0, 10**9),
)
def test_an_event_comes_back_as_it_was(value, who, seconds):
    event = Event(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=seconds), who, "case", "comment", value)
    line = to_line(event)
    assert line.count("\n") == 1
    assert from_line(line.rstrip("\n").encode()) == event


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"at": "yesterday", "who": "a", "case": "a", "field": "state", "value": 1}',
        b'{"at": "2026-01-01", "who": "a", "case": "../../a", "field": "state", "value": 1}',
        b'{"at": "2026-01-01", "who": 3, "case": "a", "field": "state", "value": 1}',
        b'{"at": "2026-01-01", "who": "a", "case": "a", "field": "state"}',
    ],
)
def test_what_is_no_event_is_refused(line):
    with pytest.raises(ValueError, match=r"\w"):
        from_line(line)


def test_who_has_seen_something_answers_it_whatever_the_clocks_say(tmp_path):
    late = Event(datetime.now(UTC) + timedelta(hours=3), "anna", "a", "state", "approved")
    (tmp_path / "anna.jsonl").write_text(to_line(late), encoding="utf-8")
    store = ReviewStore(tmp_path, "ben", "ben")
    store.add(("a", "state", "flagged"))
    assert [event.value for event in ReviewStore(tmp_path).events] == ["approved", "flagged"]


def test_what_cannot_be_written_is_kept_for_the_next_time(tmp_path):
    folder = tmp_path / "there"
    store = ReviewStore(folder, "anna", "anna")
    folder.write_text("a file in the way")
    with pytest.raises(WriteError, match="there"):
        store.add(("a", "state", "approved"))
    assert not store.is_written
    assert [event.value for event in store.events] == ["approved"]
    folder.unlink()
    store.write()
    assert store.is_written
    assert [event.value for event in store.events] == ["approved"]
    assert [event.value for event in ReviewStore(folder).events] == ["approved"]


def test_names_of_people_are_no_paths(tmp_path):
    store = ReviewStore(tmp_path / "r", "../../anna", "../x:*?/anna@pc")
    store.add(("a", "state", "approved"))
    assert [file.parent for file in tmp_path.rglob("*.jsonl")] == [tmp_path / "r"]
    with pytest.raises(DatasetError):
        store.say(("../a", "state", "approved"))
    with pytest.raises(DatasetError):
        store.say(("a", "uncertainty", float("nan")))
    with pytest.raises(DatasetError, match="too long"):
        store.say(("a", "comment", "x" * (1 << 21)))
    assert store.is_written
