"""``checkpoints/state.pt``: everything that an interrupted run needs to go on as if nothing had happened.

It holds numbers and plain values only, and is loaded with ``weights_only=True``: a run folder may have been copied from anywhere.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_seg3d.errors import ModelError
from napari_seg3d.files import atomic_path, write_error
from napari_seg3d.training.runs.folder import Run

FORMAT = "napari-seg3d state"
VERSION = 1
# What a run says about its way; the rest (warnings, states) stays true when the way is gone again.
_OF_THE_WAY = ("step", "validation", "preview", "checkpoint", "progress")
_FIX = "Start a new run from its best.pt instead (Start from, in the network's settings)."


def save_state(run: Run, state: dict[str, Any]) -> None:
    """Write the state whole or not at all, together with the lengths of the tables that belong to it.

    Raises
    ------
    DiskFull
        There is no room; the state before is untouched.
    """
    import torch

    content = {"format": FORMAT, "version": VERSION, "lengths": _lengths(run), **state}
    with atomic_path(run.saved_state) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch says a full disk this way
            raise OSError(str(error).splitlines()[0]) from error


def load_state(run: Run) -> dict[str, Any]:
    """Return the saved state of a run, on the CPU.

    Raises
    ------
    ModelError
        There is none, or it is damaged, of another version, or holds anything but numbers and plain values.
    """
    import torch

    path = run.saved_state
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist.", _FIX) from error
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds something other than numbers, which was not run.", _FIX) from error
    except Exception as error:  # a damaged archive makes torch fail in any way it likes
        raise ModelError(f"{path} cannot be read ({type(error).__name__}).", _FIX) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(f"{path} was not written by napari-seg3d.", _FIX)
    if content.get("version") != VERSION:
        raise ModelError(f"{path} is of version {content.get('version')}, which this program does not know.", _FIX)
    return content


def take_back(run: Run, state: dict[str, Any]) -> None:
    """Remove from events and metrics what came after `state`, and whatever a killed process left half written.

    States and warnings stay: they happened. An event ``resumed`` follows the last one that belongs to the state.
    """
    lengths = state["lengths"]
    cut_to(run.folder / "metrics.csv", lengths["metrics.csv"])
    events = run.folder / "events.jsonl"
    content = events.read_bytes()
    kept = content[: lengths["events.jsonl"]]
    later = [line for line in content[len(kept) :].split(b"\n") if _stays_true(line)]
    resumed = json.dumps({"time": round(time.time(), 3), "kind": "resumed", "iteration": state["learner"]["iteration"]}).encode()
    with atomic_path(events) as temporary:
        temporary.write_bytes(kept + b"".join(line + b"\n" for line in [*later, resumed]))
    for left in [*run.folder.glob(".writing-*"), *run.folder.glob("*/.writing-*")]:
        shutil.rmtree(left, ignore_errors=True)


def cut_to(path: Path, length: int) -> None:
    """Cut a table to what it was, if it has grown since."""
    try:
        if path.stat().st_size > length:
            os.truncate(path, length)
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(path, error) from error


def random_state() -> dict[str, Any]:
    """Return the states of all random number generators of this process."""
    import torch

    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  torchio and MONAI draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Let all random number generators go on as they were."""
    import torch

    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, words, following = state["python"]
    random.setstate((version, tuple(words), following))


def _lengths(run: Run) -> dict[str, int]:
    files = (run.folder / name for name in ("events.jsonl", "metrics.csv"))
    return {file.name: file.stat().st_size if file.exists() else 0 for file in files}


def _stays_true(line: bytes) -> bool:
    try:
        return json.loads(line)["kind"] not in _OF_THE_WAY
    except (json.JSONDecodeError, KeyError, TypeError):
        return False
