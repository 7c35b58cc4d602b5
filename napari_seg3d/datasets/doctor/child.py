"""A process that looks into cases for this one, so that a crash in a library costs one case and not the program."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.doctor.examine import Look
from napari_seg3d.datasets.doctor.pipe import send


class Worker:
    """One such process, from the side of who asks it."""

    def __init__(self, declared: Mapping[int, str], merged: Mapping[int, int]) -> None:
        self._labels = (dict(declared), dict(merged))
        self._process: subprocess.Popen[bytes] | None = None

    def examine(self, case: Case) -> Look | None:
        """Return what a case shows, or None when looking at it ended the process; the next case gets a new one."""
        if self._process is None:
            command = [sys.executable, "-m", "napari_seg3d.datasets.doctor.worker"]
            # Started anywhere, it must find this very package.
            package = str(Path(__file__).parents[3])
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
            }
            self._process = subprocess.Popen(
                # Ctrl-C is for the one who asks: it ends this one itself.
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
            send(self._process.stdin, self._labels)
        try:
            send(self._process.stdin, case)
            look = pickle.load(self._process.stdout) if self._process.stdout is not None else None
        except (EOFError, OSError, pickle.UnpicklingError):
            self.stop()
            return None
        return look if isinstance(look, Look) else None

    def stop(self) -> None:
        """End the process at once; it holds nothing that could be lost."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()
