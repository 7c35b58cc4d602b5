"""What undo costs: memory of 100 steps on 256^3, a whole-volume edit on 512^3, and seconds on 512x512x300.

Memory is that of the operating system (resident), looked at every 2 ms, above what is there before: mask and new values, which the tool
has, are not counted.

    python benchmarks/undo.py
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import psutil
from scipy import ndimage

from napari_seg3d.editing import Change, Delta, History, apply
from napari_seg3d.editing.change import whole


class Peak:
    """Memory at its highest while something runs, in MB above the beginning."""

    def __enter__(self) -> Peak:
        gc.collect()
        self._process = psutil.Process()
        self._first = self._most = self._process.memory_info().rss
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._began = time.perf_counter()
        return self

    def _look(self) -> None:
        while not self._end.wait(0.002):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._end.set()
        self._thread.join()
        gc.collect()
        self.peak = (self._most - self._first) / 1e6
        self.kept = (self._process.memory_info().rss - self._first) / 1e6


def blobs(shape: tuple[int, int, int], labels: int, dtype: type, seed: int = 0) -> np.ndarray:
    """Return a mask of rounded pieces that fill about half of it, as organs do."""
    random = np.random.default_rng(seed)
    small = tuple(max(side // 16, 4) for side in shape)
    noise = ndimage.gaussian_filter(random.normal(size=small), 1.2)
    field = ndimage.zoom(noise, [side / part for side, part in zip(shape, small, strict=True)], order=1)[tuple(map(slice, shape))]
    steps = np.quantile(field[::4, ::4, ::4], np.linspace(0.5, 1, labels + 1)[:-1])
    return np.digitize(field, steps).astype(dtype)


def stroke(mask: np.ndarray, history: History, random: np.random.Generator) -> None:
    """Paint as napari's brush does in 3D: twenty balls in a row, one level."""
    radius = 9
    ball = (np.indices((2 * radius + 1,) * 3) - radius).__pow__(2).sum(axis=0) <= radius**2
    place, label = random.integers(radius, np.array(mask.shape) - radius - 40), int(random.integers(0, 6))
    with history.group():
        for step in range(20):
            box = tuple(slice(int(at) - radius, int(at) + radius + 1) for at in place + np.array([0, step, 2 * step]))
            values = np.where(ball, mask.dtype.type(label), mask[box])
            history.apply(mask, Change(box, values))


def hundred_steps() -> None:
    """A session of 100 steps, and the worst one."""
    random = np.random.default_rng(0)
    print("100 undo steps on 256^3 (uint8, 5 labels)")
    mask, history = blobs((256, 256, 256), 5, np.uint8), History()
    with Peak() as peak:
        for step in range(100):
            if step % 10 == 8:  # as smoothing and margins do: the borders of a label, everywhere
                label = step // 10 % 5 + 1
                grown = ndimage.binary_dilation(mask == label)
                history.apply(mask, Change(whole(mask), np.where(grown, np.uint8(label), mask)))
                del grown
            elif step % 10 == 9:  # a new prediction
                history.apply(mask, Change(whole(mask), blobs((256, 256, 256), 5, np.uint8, step)))
            else:
                stroke(mask, history, random)
    _tell_history("80 strokes in 3D, 10 margins, 10 new masks", history, peak)
    mask, history = np.zeros((256, 256, 256), np.uint8), History()
    with Peak() as peak:
        for step in range(100):
            history.apply(mask, Change(whole(mask), blobs((256, 256, 256), 5, np.uint8, step)))
    _tell_history("100 new masks", history, peak)
    mask, history = np.zeros((256, 256, 256), np.uint8), History()
    with Peak() as peak:
        for _ in range(100):
            history.apply(mask, Change(whole(mask), random.integers(0, 6, mask.shape, np.uint8)))
    _tell_history("100 times noise, the worst there is", history, peak)


def _tell_history(what: str, history: History, peak: Peak) -> None:
    print(f"  {what:42} {history.nbytes / 1e6:6.1f} MB by count, {peak.kept:6.1f} MB resident, {history.undo_levels} levels")


def whole_volume(dtype: str, kind: str) -> None:
    """A whole-volume edit on 512^3, in a process of its own: memory that was freed before would be used again."""
    shape = (512, 512, 512)
    if kind == "new mask":
        mask, values = blobs(shape, 5, np.dtype(dtype).type, 0), blobs(shape, 5, np.dtype(dtype).type, 1)
    else:
        mask, values = (np.random.default_rng(seed).integers(0, 6, shape, dtype) for seed in (0, 1))
    ctypes.CDLL(None).malloc_trim(0)
    with Peak() as peak:
        delta = apply(mask, Change(whole(mask), values))
    assert delta is not None
    ctypes.CDLL(None).malloc_trim(0)
    with Peak() as back:
        delta.undo(mask)
    print(
        f"  {dtype:6} {kind:9} edit {peak.seconds:5.2f} s, peak {peak.peak:6.1f}, kept {delta.nbytes / 1e6:6.1f}; "
        f"undo {back.seconds:5.2f} s, peak {back.peak:6.1f}"
    )


def seconds() -> None:
    """Times on 512x512x300."""
    print("512x512x300 (uint8), milliseconds, the middle of five")
    mask = blobs((300, 512, 512), 5, np.uint8)
    history = History()
    random = np.random.default_rng(0)
    print(f"  a stroke of 20 balls in 3D, with its notes        {_middle(lambda: stroke(mask, history, random)):8.1f}")
    print(f"  its undo                                          {_middle(lambda: history.undo(mask)):8.1f}")
    disc = (np.indices((41, 41)) - 20).__pow__(2).sum(axis=0)[np.newaxis] <= 400
    box = (slice(150, 151), slice(200, 241), slice(200, 241))
    old = mask[box][disc]
    print(f"  noting one move of a 2D brush                     {_middle(lambda: Delta.of_region(mask, box, disc, old, 9)):8.2f}")
    delta = Delta.of_region(mask, box, disc, old, 9)
    assert delta is not None
    print(f"  the same for a journal                            {_middle(delta.to_bytes):8.2f}")
    for name, box in (
        ("a label of 200x200x150", (slice(80, 230), slice(150, 350), slice(150, 350))),
        ("the whole volume      ", whole(mask)),
    ):
        values = blobs(tuple(side.stop - side.start for side in box), 5, np.uint8, 7)
        times: dict[str, list[float]] = {"edit": [], "undo": [], "redo": []}
        change = Change(box, values)
        for _ in range(5):
            steps: dict[str, Callable[[], object]] = {
                "edit": partial(history.apply, mask, change),
                "undo": partial(history.undo, mask),
                "redo": partial(history.redo, mask),
            }
            for what, do in steps.items():
                began = time.perf_counter()
                do()
                times[what].append(1000 * (time.perf_counter() - began))
            history.undo(mask)
        told = ", ".join(f"{what} {np.median(all_of):7.1f}" for what, all_of in times.items())
        print(f"  {name}     {told}")


def _middle(do: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        do()
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole-volume", nargs=2, metavar=("DTYPE", "KIND"), help="only this edit; for the process itself")
    chosen = parser.parse_args()
    if chosen.whole_volume:
        whole_volume(*chosen.whole_volume)
        sys.exit()
    hundred_steps()
    print("A whole-volume edit on 512^3, MB above mask and new values", flush=True)
    for numbers in ("uint8", "int32"):
        for content in ("new mask", "noise"):
            subprocess.run([sys.executable, __file__, "--whole-volume", numbers, content], check=True)
    seconds()
