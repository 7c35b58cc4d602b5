"""Paint at random and write it down: ``python painting.py FOLDER KILLS SEED``; is killed at random moments and checks what is left.

One process imports everything and forks those that paint. Edit number n is made of n alone, so that whoever knows how many edits are in a
journal knows each voxel.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from napari_seg3d.editing import Change, History, apply
from napari_seg3d.editing.journal import Journal, recover
from napari_seg3d.editing.records import About

SHAPE = (24, 48, 40)
SECONDS = 0.5  # at most this much may be lost; five times as often as a user has it


def base() -> np.ndarray:
    """Return the mask before the first edit."""
    return np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.int16)


def edit(mask: np.ndarray, history: History, number: int) -> tuple[object, bool] | None:
    """Make edit `number`; return what a journal is told, None where there was nothing to undo."""
    draw = np.random.default_rng(number)
    if number % 7 == 5 and history.undo_levels:
        delta = history._done[-1][0]
        history.undo(mask)
        return delta, True
    if number % 7 == 6 and history.redo_levels:
        delta = history._undone[-1][0]
        history.redo(mask)
        return delta, False
    start = draw.integers(0, SHAPE)
    box = tuple(slice(int(one), min(int(one) + 9, side)) for one, side in zip(start, SHAPE, strict=True))
    values = np.where(draw.random(mask[box].shape) < 0.7, draw.integers(0, 5), mask[box]).astype(mask.dtype)
    delta = apply(mask, Change(box, values))
    history.note(delta)
    return None if delta is None else (delta, False)


def states(last: int) -> dict[int, np.ndarray]:
    """Return the masks after 0, 1, 2… noted edits, as far as `last`."""
    mask, history, found, number = base(), History(), {0: base()}, 0
    while len(found) <= last:
        if edit(mask, history, number) is not None:
            found[len(found)] = mask.copy()
        number += 1
    return found


def paint_for_ever(folder: Path, out: int) -> None:
    """Paint and tell after each edit when it was made; in a process that will be killed."""
    mask, history, number = base(), History(), 0
    journal = Journal.begin(folder, mask.copy(), About("mask", SHAPE, mask.dtype.str), seconds=SECONDS, large=20_000)
    while True:
        noted = edit(mask, history, number)
        number += 1
        if noted is not None:
            journal.note(*noted)
            os.write(out, f"{time.monotonic()}\n".encode())
        if number % 10 == 0:
            time.sleep(0.002)


def kill_once(folder: Path, draw: random.Random, known: dict[int, np.ndarray]) -> int:
    """Let one process paint, kill it, and compare what is left; return how many edits it had made."""
    ear, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        paint_for_ever(folder, mouth)
    os.close(mouth)
    time.sleep(draw.uniform(0.02, 0.6))
    os.kill(child, signal.SIGKILL)
    killed = time.monotonic()
    os.waitpid(child, 0)
    with os.fdopen(ear) as file:
        times = [float(line) for line in file.read().splitlines()]
    found = recover(folder)
    if not found:
        assert not times or killed - times[0] < SECONDS, "painted for longer, and nothing is left"
        return len(times)
    (one,) = found
    mask, noted = one.read(), next(number for number, state in known.items() if np.array_equal(state, one.read()))
    # Several numbers may have the same mask, after an undo: what counts is how many edits are lost at most.
    candidates = [number for number in range(noted, len(times) + 2) if number in known and np.array_equal(known[number], mask)]
    lost = [moment for moment in times[max(candidates) :] if killed - moment > SECONDS]
    assert not lost, f"{len(lost)} edits older than {SECONDS} s are lost"
    assert one.take()
    one.discard()
    return len(times)


if __name__ == "__main__":
    home, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(seed)
    known = states(2500)
    made = [kill_once(home, draw, known) for _ in range(kills)]
    recover(home)
    assert not list(home.iterdir()), f"left over: {list(home.iterdir())}"
    print(f"{kills} kills, {min(made)} to {max(made)} edits before each")
