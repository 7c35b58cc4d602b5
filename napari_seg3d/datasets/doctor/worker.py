"""The process that looks into cases for another one: ``python -m napari_seg3d.datasets.doctor.worker``.

A module of its own, so that a process started from inside napari opens no second window. It reads pickled cases from its standard
input and answers on its standard output; both ends are this program, and nothing else is ever read so.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys

from napari_seg3d.datasets.doctor.examine import examine
from napari_seg3d.datasets.doctor.pipe import send


def main() -> None:
    """Answer until the other side goes away."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        declared, merged = pickle.load(questions)
        while True:
            send(answers, examine(pickle.load(questions), declared, merged))


if __name__ == "__main__":
    main()
