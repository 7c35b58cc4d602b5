"""The process that looks into cases for another one: ``python -m napari_seg3d.datasets.doctor.worker``.

A module of its own, so that a process started from inside napari opens no second window. It reads pickled cases from its standard input
and answers on its standard output; both ends are this program, and nothing else is ever read so.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.doctor.examine import Look, examine


class Worker:
    """One such process, from the side of who asks it."""

    def __init__(self, declared: Mapping[int, str], merged: Mapping[int, int]) -> None:
        self._labels = (dict(declared), dict(merged))
        self._process: subprocess.Popen[bytes] | None = None

    def examine(self, case: Case) -> Look | None:
        """Return what a case shows, or None when looking at it ended the process; the next case gets a new one."""
        if self._process is None:
            command = [sys.executable, "-m", __name__]
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
            _send(self._process.stdin, self._labels)
        try:
            _send(self._process.stdin, case)
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


def main() -> None:
    """Answer until the other side goes away."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        declared, merged = pickle.load(questions)
        while True:
            _send(answers, examine(pickle.load(questions), declared, merged))


def _send(pipe: IO[bytes] | None, message: object) -> None:
    if pipe is None:
        raise EOFError
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


if __name__ == "__main__":
    main()
