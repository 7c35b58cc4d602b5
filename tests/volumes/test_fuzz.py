"""More than a thousand damaged files of every format, each opened or refused with one clear message: no crash, no lie, no greed.

The cases are the same in every run. More of them, by hand:

    python -m tests.volumes.fuzz_child INDEX SCRATCH FIRST_SEED COUNT [NAME...]
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_seg3d.volumes.formats import FORMATS
from tests.volumes.fuzz_child import SECONDS
from tests.volumes.sound_files import Sound, make_all

SEEDS = 20
CASES = 1000
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Sound]:
    return make_all(tmp_path_factory.mktemp("sound"))


def damage_all(sounds: list[Sound], scratch: Path) -> tuple[list[dict[str, object]], str]:
    """Damage and open the given files in a process of its own; return its cases, and how it ended if not well."""
    scratch.mkdir()
    index = scratch / "index.pickle"
    index.write_bytes(pickle.dumps(sounds))
    child = subprocess.run(
        [sys.executable, "-m", "tests.volumes.fuzz_child", index, scratch, "0", str(SEEDS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    done = [line for line in lines if "fault" in line]
    return done, f"ended with {child.returncode} in {lines[-1:]}: {child.stderr[-2000:]}" if child.returncode else ""


def test_sound_files_of_every_format_are_there_to_be_damaged(sounds: list[Sound]) -> None:
    assert {sound.format for sound in sounds} == {one.name for one in FORMATS}


@pytest.mark.slow
@pytest.mark.timeout(SEEDS * SECONDS)
def test_damaged_files_are_opened_or_refused_with_one_clear_message(sounds: list[Sound], tmp_path: Path) -> None:
    halves = [sounds[::2], sounds[1::2]]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(damage_all, halves, (tmp_path / str(number) for number in range(2))))
    assert [crash for _, crash in results if crash] == []
    cases = [case for done, _ in results for case in done]
    assert len(cases) == SEEDS * len(sounds) >= CASES
    assert [case for case in cases if case["fault"]] == []
    # Both ends are seen: damage that is harmless or cannot be found, and damage that is refused.
    opened = sum(bool(case.get("opened")) for case in cases)
    assert CASES / 20 < opened < 0.6 * len(cases)
