import time

import pytest

from napari_seg3d.training.clock import Clock


def test_steps_alone_decide_where_steps_are_counted() -> None:
    clock = Clock(budget=3600, max_iterations=200)
    factors = [clock.learning_rate_factor(iteration) for iteration in range(201)]
    time.sleep(0.05)
    assert factors == [clock.learning_rate_factor(iteration) for iteration in range(201)]
    assert factors[0] < 0.2, "a warm-up"
    assert max(factors) == pytest.approx(1, abs=0.02)
    assert factors[-1] < 0.01
    assert not clock.is_over(199)
    assert clock.is_over(200)


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
    clock = Clock(budget=1.0, max_iterations=None)
    assert not clock.is_validation_due()
    time.sleep(0.15)
    assert clock.is_validation_due(), "the first one comes early"
    clock.note_validation(0.5)
    time.sleep(0.15)
    assert not clock.is_validation_due(), "a slow one is not repeated soon"
