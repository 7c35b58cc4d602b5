from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError
from napari_seg3d.evaluation import UNKNOWN, Counts, Evaluation, EvaluationRow, counts, dice

LABELS = 3
exclusive = arrays(np.uint8, (1, 3, 4, 2), elements=st.integers(0, LABELS))
overlapping = arrays(np.uint8, (LABELS, 3, 4, 2), elements=st.integers(0, 1))
unknown = arrays(np.bool_, (1, 3, 4, 2))
few = st.integers(0, 50)


def by_hand(prediction: NDArray[np.uint8], reference: NDArray[np.uint8], value: int) -> Counts:
    pairs = [(a == value, b == value) for a, b in zip(prediction.flat, reference.flat, strict=True) if b != UNKNOWN]
    return Counts(pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True)))


@given(exclusive, exclusive, unknown)
def test_exclusive_labels_are_counted(one: NDArray[np.uint8], other: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> None:
    other = np.where(hidden, UNKNOWN, other)
    assert counts(one, other, LABELS) == [by_hand(one, other, label) for label in (1, 2, 3)]


@given(overlapping, overlapping, unknown)
def test_overlapping_labels_are_counted_each_by_itself(
    one: NDArray[np.uint8], other: NDArray[np.uint8], hidden: NDArray[np.bool_]
) -> None:
    other = np.where(hidden, UNKNOWN, other)
    assert counts(one, other, LABELS) == [by_hand(one[channel], other[channel], 1) for channel in range(LABELS)]


@given(exclusive, unknown)
def test_what_is_unknown_may_be_anything(mask: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> None:
    reference = np.where(hidden, UNKNOWN, mask)
    anything = np.where(hidden, 3 - mask, mask)
    assert counts(anything, reference, LABELS) == counts(mask, reference, LABELS)
    assert all(found.fp == found.fn == 0 for found in counts(anything, reference, LABELS))


@given(st.lists(st.builds(Counts, few, few, few), max_size=4))
def test_sums_are_those_of_all_voxels(cases: list[Counts]) -> None:
    total = sum(cases, Counts())
    assert total.reference == sum(case.reference for case in cases)
    assert total.prediction == sum(case.prediction for case in cases)
    if total.tp:
        assert total.f1 == pytest.approx(2 / (1 / total.precision + 1 / total.recall))
    if total.reference:
        assert total.shares["tp"] + total.shares["fn"] == pytest.approx(100)
        assert total.shares["tp"] == pytest.approx(100 * total.recall)


def test_what_is_not_defined_is_no_number_and_what_was_not_found_is_zero() -> None:
    nothing, missed, invented = Counts(), Counts(fn=3), Counts(fp=3)
    assert all(math.isnan(value) for value in (nothing.dice, nothing.precision, nothing.recall, nothing.shares["fp"]))
    assert (missed.dice, missed.precision, missed.recall) == (0, 0, 0)
    assert (invented.dice, invented.precision) == (0, 0)
    assert math.isnan(invented.recall)


def test_shapes_must_agree() -> None:
    with pytest.raises(GeometryError, match="2x2x2x2 voxels, the reference 1x2x2x2"):
        counts(np.zeros((2, 2, 2, 2), np.uint8), np.zeros((1, 2, 2, 2), np.uint8), 2)


def test_dice_of_counts_is_dice_of_masks() -> None:
    one, other = np.random.default_rng(0).integers(0, 2, (2, 1, 5, 6, 7))
    assert counts(one, other, 1)[0].dice == dice(one, other)


ROWS = (
    EvaluationRow.of("a", 1, "liver", Counts(tp=10, fp=10, fn=0), 8.0),
    EvaluationRow.of("a", 4, "cyst", Counts(tp=0, fp=0, fn=5), 8.0),
    EvaluationRow.of("b", 1, "liver", Counts(tp=20, fp=0, fn=70), 8.0),
    EvaluationRow.of("b", 4, "cyst", Counts(), 8.0),
)


def test_a_row_follows_from_the_counts() -> None:
    row = ROWS[0]
    assert (row.dice, row.precision, row.recall) == (pytest.approx(2 / 3), 0.5, 1.0)
    assert (row.reference_ml, row.prediction_ml) == (pytest.approx(0.08), pytest.approx(0.16))
    assert (row.tp, row.fn, row.fp) == (10, 0, 10)


def test_metrics_of_a_label_are_of_all_voxels_but_dice_is_a_mean() -> None:
    evaluation = Evaluation(ROWS)
    liver = evaluation.metrics()[1]
    assert liver["dice"] == pytest.approx((2 / 3 + 40 / 110) / 2)
    assert liver["recall"] == pytest.approx(0.3)
    assert liver["precision"] == pytest.approx(30 / 40)
    assert liver["f1"] == pytest.approx(60 / 140)
    assert (liver["tp"], liver["fn"], liver["fp"]) == (pytest.approx(30), pytest.approx(70), pytest.approx(10))


def test_one_number_to_judge_by() -> None:
    evaluation = Evaluation(ROWS)
    assert evaluation.score("dice") == evaluation.mean_dice
    assert evaluation.score("dice", 1) == pytest.approx((2 / 3 + 40 / 110) / 2)
    assert evaluation.score("recall", 1) == pytest.approx(0.3)
    assert evaluation.score("recall") == pytest.approx(0.15), "a label that was not found counts as 0"
    assert evaluation.score("precision") == pytest.approx(0.375)
    assert math.isnan(Evaluation(ROWS[3:]).score("recall")), "no case shows any label"
