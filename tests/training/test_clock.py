import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_seg3d.training.clock import Clock, steps_of


def _go_to(clock: Clock, elapsed: float) -> None:
    """Let so many seconds be over."""
    clock.load_state_dict(clock.state_dict() | {"elapsed": elapsed})


def test_steps_alone_decide_where_steps_are_counted() -> None:
    clock = Clock(budget=3600, max_iterations=200)
    told = [(clock.progress(iteration), clock.is_validation_due(iteration)) for iteration in range(201)]
    time.sleep(0.05)
    assert told == [(clock.progress(iteration), clock.is_validation_due(iteration)) for iteration in range(201)]
    assert [clock.progress(iteration) for iteration in (0, 50, 200)] == [0, 0.25, 1]
    assert not clock.is_over(199)
    assert clock.is_over(200)


@given(st.integers(1, 500), st.data())
def test_validations_by_steps_are_the_same_however_often_the_run_was_interrupted(steps: int, data: st.DataObject) -> None:
    def validated(interrupted_at: set[int]) -> list[int]:
        clock, found = Clock(3600, steps), []
        for iteration in range(steps):
            if iteration in interrupted_at:
                state, clock = clock.state_dict(), Clock(3600, steps)
                clock.load_state_dict(state)
            if clock.is_validation_due(iteration):
                found.append(iteration)
                clock.note_validation(0.0)
                clock.pass_mark(iteration)
        return found

    once = validated(set())
    assert once == validated(data.draw(st.sets(st.integers(0, steps), max_size=5)))
    assert len(once) <= 10


def test_time_ends_a_run_but_not_before_its_first_step() -> None:
    clock = Clock(budget=0.01, max_iterations=None)
    time.sleep(0.02)
    assert not clock.is_over(0)
    assert clock.is_over(1)
    assert clock.seconds_left(1) == 0


def test_time_is_kept_for_the_last_validation() -> None:
    clock = Clock(budget=100, max_iterations=None)
    assert not clock.is_over(1)
    clock.note_validation(99.99)
    time.sleep(0.02)
    assert clock.is_over(1)


def test_validations_take_their_share_only() -> None:
    clock = Clock(budget=1000, max_iterations=None)
    assert not clock.is_validation_due(1)
    _go_to(clock, 150)
    assert clock.is_validation_due(1), "the first one comes early"
    clock.note_validation(50)
    _go_to(clock, 300)
    assert not clock.is_validation_due(1), "a slow one is not repeated soon"
    _go_to(clock, 650)
    assert clock.is_validation_due(1), "but later"


def test_a_pause_does_not_count() -> None:
    began = time.monotonic()
    clock = Clock(budget=100, max_iterations=None)
    with clock.standing():
        before = clock.elapsed
        time.sleep(0.05)
        assert clock.elapsed == before
    assert clock.elapsed <= time.monotonic() - began - 0.05
    time.sleep(0.01)
    assert clock.elapsed > before


def test_a_clock_goes_on_where_it_was_saved() -> None:
    clock = Clock(budget=100, max_iterations=None)
    _go_to(clock, 60)
    assert clock.progress(5) == pytest.approx(0.6, abs=0.01)


def test_whichever_limit_of_steps_comes_first_counts() -> None:
    assert steps_of(None, None, 10) is None
    assert steps_of(100, None, 10) == 100
    assert steps_of(100, 3, 10) == 30
    assert steps_of(20, 3, 10) == 20
    assert steps_of(None, 0.5, 0.4) == 1, "at least one"
