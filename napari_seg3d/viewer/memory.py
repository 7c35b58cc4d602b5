"""`give_back_memory`: what was freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache


def give_back_memory() -> None:
    """Give memory that was freed back to the system, where the system does not take it by itself.

    glibc keeps for each thread what that thread has freed, in case it is wanted again. The threads that read cases end, others follow, and
    what is kept grows with each case that is looked at (benchmarks/reviewer.py). Takes some milliseconds; to be called in a job.
    """
    if sys.platform == "linux" and (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
