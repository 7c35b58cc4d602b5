"""`side_by_side`: parts of a computation in threads, because NumPy and SciPy let other threads run while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_MOST = 4


def side_by_side(jobs: Iterable[Callable[[], T]], done: Callable[[], None] = lambda: None) -> list[T]:
    """Return what jobs return, in their order.

    Parameters
    ----------
    jobs : iterable of callable
        None needs what another one returns.
    done : callable, optional
        Called after each; what it raises ends the rest.
    """
    threads = ThreadPoolExecutor(min(_MOST, os.cpu_count() or 1))
    try:
        results = []
        for result in threads.map(lambda job: job(), jobs):
            results.append(result)
            done()
        return results
    finally:
        threads.shutdown(cancel_futures=True)
