"""Damages sound files and opens them: run by `test_fuzz` in a process of its own, so that a crash is seen and its case known.

    python -m tests.volumes.fuzz_child INDEX SCRATCH FIRST_SEED COUNT [NAME...]

prints a line of JSON before and after each case. A case is a file and a seed; where it fails, its damaged file stays in SCRATCH.
"""

from __future__ import annotations

import faulthandler
import json
import pickle
import re
import shutil
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from napari_seg3d.errors import Seg3dError
from napari_seg3d.volumes import Grid, Volume, read_grid, read_volume
from tests.volumes.sound_files import Sound

SECONDS = 20
#: So much memory may a case take beyond what the libraries hold: thousands of times more than its file.
MEMORY = 1 << 30
#: Nothing in these files bounds what they may hold: blocks that are not stored are filled. Asking too much of memory is said.
UNBOUNDED = ("second.mnc", "small.mnc", "hdf5.mat", "old.zarr", "new.zarr")
_HEAD = 600
_EXTREMES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x7f\xff\xff\xff",
)


def damage(content: bytes, random: np.random.Generator) -> tuple[bytes, str, int]:
    """Return other bytes, what was done to them, and the first place where they differ."""
    size = len(content)
    kind = random.choice(["cut", "flip the head", "flip", "extreme", "digit", "chunk"], p=[0.2, 0.25, 0.2, 0.15, 0.1, 0.1])
    # Headers stand at the beginning, mostly.
    place = int(random.integers(size if random.random() < 0.5 else min(_HEAD, size)))
    if kind == "cut":
        near_end = random.random() < 0.3
        end = int(random.integers(max(0, size - 64), size)) if near_end else place
        return content[:end], "cut", end
    changed = bytearray(content)
    if kind in ("flip", "flip the head"):
        places = random.integers(size if kind == "flip" else min(_HEAD, size), size=random.integers(1, 5))
        for one in places:
            changed[one] ^= 1 << random.integers(8)
        place = int(places.min())
    elif kind == "extreme":
        value = _EXTREMES[random.integers(len(_EXTREMES))]
        changed[place : place + len(value)] = value
    elif kind == "digit" and (digits := [found.start() for found in re.finditer(rb"\d", content[:4000])]):
        place = digits[random.integers(len(digits))]
        changed[place : place + 1] = (b"0", b"9", b"-", b"99999", b"99999999999", b".", b"e9", b" ")[random.integers(8)]
    else:
        length = int(random.integers(1, 64))
        if random.random() < 0.5:
            del changed[place : place + length]
        else:
            changed[place:place] = random.bytes(length)
    return bytes(changed), str(kind), place


def run(sound: Sound, whole: Volume, seed: int, scratch: Path) -> dict[str, object]:
    """Return what became of one case."""
    random = np.random.default_rng((seed, zlib.crc32(sound.name.encode())))
    home = scratch / f"{sound.name}-{seed}"
    shutil.copytree(sound.path.parent, home)
    path = home / sound.path.name
    file = sound.files[random.integers(len(sound.files))]
    damaged, kind, first = damage(file.read_bytes(), random)
    (home / file.relative_to(sound.path.parent)).write_bytes(damaged)
    found = {"kind": kind, "file": file.name, "first": first, "left": str(home)}
    print(json.dumps({"name": sound.name, "seed": seed, **found}), flush=True)
    fault = ""
    if damaged != file.read_bytes():
        checked = sound.checked_from.get(file.name)
        is_checked = kind == "cut" or (checked is not None and first >= checked)
        volume, fault = attempt(sound, path, read_volume)
        if volume is None and not fault:
            _, fault = attempt(sound, path, partial(read_volume, resample_irregular=True))
        found["opened"] = volume is not None
        if isinstance(volume, Volume) and is_checked and not volume.notes and not _same(volume, whole):
            fault = f"other voxels passed for the scan: {volume.data.shape}"
        if isinstance(volume, Volume) and volume.data.ndim != 4:
            fault = "no volume"
        if not fault:
            grid, fault = attempt(sound, path, read_grid)
            if isinstance(volume, Volume) and isinstance(grid, Grid) and grid.shape != volume.grid.shape:
                fault = f"the grid has {grid.shape}, the volume {volume.grid.shape}"
    if not fault:
        shutil.rmtree(home)
    return {**found, "fault": fault}


def attempt(sound: Sound, path: Path, read: Callable[[Path], object]) -> tuple[object, str]:
    """Return what was read, or what is wrong with how it was refused."""
    try:
        return read(path), ""
    except Seg3dError as error:
        text = str(error)
        if str(path) not in error.what or not error.fix or "\n" in error.what:
            return None, f"no file, no fix, or several lines: {error.what!r} {error.fix!r}"
        if re.search(r"0x[0-9a-f]{6}|Traceback|site-packages", text) or len(text) > 700:
            return None, f"not for a person: {text}"
        if sound.name not in UNBOUNDED and (_ran_out(error) or re.search("bad_alloc|allocat", text)):
            return None, f"huge allocation: {text}"
        return None, ""
    except BaseException as error:  # noqa: BLE001
        return None, f"{read}: {type(error).__name__}: {error}"


def _ran_out(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _same(volume: Volume, whole: Volume) -> bool:
    return volume.data.shape == whole.data.shape and np.array_equal(volume.data, whole.data)


def limit_memory() -> None:
    """Let no case take more than :data:`MEMORY`, where the system can hold to that."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))


def main(index: str, scratch: str, first: str, count: str, *names: str) -> None:
    sounds: list[Sound] = [one for one in pickle.loads(Path(index).read_bytes()) if not names or one.name in names]
    wholes = {sound.name: read_volume(sound.path) for sound in sounds}  # loads every library, too
    limit_memory()
    for seed in range(int(first), int(first) + int(count)):
        for sound in sounds:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            print(json.dumps(run(sound, wholes[sound.name], seed, Path(scratch))), flush=True)
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(*sys.argv[1:])
