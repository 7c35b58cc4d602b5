"""Jobs in threads: in order, and what goes wrong in one ends the others."""

import time
from functools import partial

import pytest

from napari_seg3d.editing.side_by_side import side_by_side
from napari_seg3d.errors import Cancelled


def test_results_are_in_the_order_of_the_jobs():
    def late(number: int) -> int:
        time.sleep(0.01 * (4 - number))
        return number

    assert side_by_side([partial(late, number) for number in range(5)]) == [0, 1, 2, 3, 4]
    assert side_by_side([]) == []


def test_who_cancels_and_what_fails_end_the_rest():
    begun: list[int] = []

    def begin(number: int) -> None:
        begun.append(number)
        time.sleep(0.005)

    def cancel() -> None:
        raise Cancelled("no more")

    with pytest.raises(Cancelled):
        side_by_side([partial(begin, number) for number in range(10_000)], cancel)
    assert len(begun) < 10_000
    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: 1, lambda: 1 // 0])
