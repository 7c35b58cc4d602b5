from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ConfigError, GeometryError
from napari_seg3d.evaluation import count_labels, measure_masks, surface_distances, worst_slice
from napari_seg3d.evaluation.summary import summarise
from napari_seg3d.volumes import Label, Volume, read_volume

masks = arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 1, 2, 7]))
SPACING = np.diag([0.5, 2.0, 3.0, 1.0])


def labels_of(data: NDArray[np.generic], affine: NDArray[np.float64] = SPACING) -> Volume:
    return Volume(data[np.newaxis] if data.ndim == 3 else data, affine, "labels")


@settings(deadline=None)
@given(masks, masks, st.sampled_from([np.uint8, np.int16, np.int64, np.uint64]))
def test_a_row_is_what_its_parts_say(one: NDArray[np.uint8], other: NDArray[np.uint8], dtype: type) -> None:
    rows = measure_masks(labels_of(one.astype(dtype)), labels_of(other), [1, 2, 7, 9], tolerance_mm=0.5, case="a")
    expected = count_labels(one, other, [1, 2, 7, 9])
    assert [(row.case, row.label, row.name) for row in rows] == [("a", label, f"label {label}") for label in (1, 2, 7, 9)]
    for row in rows:
        counts = expected[row.label]
        assert (row.tp, row.fn, row.fp) == (counts.tp, counts.fn, counts.fp)
        assert (row.dice, row.precision, row.recall) == pytest.approx((counts.dice, counts.precision, counts.recall), nan_ok=True)
        assert row.iou == pytest.approx(counts.iou, nan_ok=True)
        assert row.reference_ml == pytest.approx(counts.reference * 3 / 1000)
        found = surface_distances(one == row.label, other == row.label, (0.5, 2, 3))
        assert (row.hd95, row.hausdorff, row.assd, row.nsd) == pytest.approx(
            (found.hausdorff(95), found.hausdorff(), found.average(), found.surface_dice(0.5)), nan_ok=True
        )


def test_masks_of_other_voxel_orders_channels_and_single_slices() -> None:
    random = np.random.default_rng(0)
    one, other = random.integers(0, 3, (2, 6, 7, 8)).astype(np.uint8)
    wanted = measure_masks(labels_of(one), labels_of(other))
    turned = SPACING @ np.array([[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 5], [0, 0, 0, 1]])
    stored = labels_of(one.transpose(2, 1, 0)[::-1, :, :], turned @ np.diag([1.0, 1, 1, 1]))
    there = Volume(stored.data, np.array([[0, 0, 0.5, 0], [0, 2.0, 0, 0], [-3.0, 0, 0, 21], [0, 0, 0, 1]]), "labels")
    assert measure_masks(there, labels_of(other)) == wanted
    channels = np.stack([one == 1, 2 * (one == 2)]).astype(np.uint8)
    assert measure_masks(labels_of(channels), labels_of(other)) == wanted
    flat = measure_masks(labels_of(one[:, :, :1]), labels_of(other[:, :, :1]))
    found = surface_distances(one[:, :, 0] == 1, other[:, :, 0] == 1, (0.5, 2))
    assert (flat[0].hd95, flat[0].assd) == pytest.approx((found.hausdorff(95), found.average()))
    assert found.average() > 0


def test_empty_masks_are_no_rows_that_say_nothing() -> None:
    empty, full = np.zeros((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8)
    (row,) = measure_masks(labels_of(empty), labels_of(empty), {1: "liver"})
    assert row.name == "liver"
    assert all(math.isnan(value) for value in (row.dice, row.iou, row.hd95, row.hausdorff, row.assd, row.nsd, row.volume_error))
    (missed,) = measure_masks(labels_of(empty), labels_of(full))
    assert (missed.dice, missed.iou, missed.recall, missed.hd95, missed.assd, missed.nsd, missed.volume_error) == (
        0, 0, 0, math.inf, math.inf, 0, -1,
    )  # fmt: skip
    (invented,) = measure_masks(labels_of(full), labels_of(empty))
    assert (invented.dice, invented.precision, invented.hausdorff, invented.volume_error) == (0, 0, math.inf, math.inf)
    assert measure_masks(labels_of(empty), labels_of(empty)) == []


def test_names_progress_and_labels_that_no_list_of_boxes_could_hold() -> None:
    data = np.zeros((4, 4, 4), np.int32)
    data[1:3, 1:3, 1:3], data[0, 0, 0] = 3, 2_000_000
    mask = Volume(data[np.newaxis], SPACING, "labels", labels={3: Label("spleen")})
    told: list[tuple[int, int]] = []
    rows = measure_masks(mask, labels_of(data), progress=lambda done, total: told.append((done, total)))
    assert [(row.label, row.name, row.dice, row.hd95) for row in rows] == [
        (3, "spleen", 1, 0),
        (2_000_000, "label 2000000", 1, 0),
    ]
    assert told == [(1, 2), (2, 2)]
    assert math.isnan(measure_masks(mask, mask, with_surfaces=False)[0].hd95)


def test_mistakes_and_cancelling() -> None:
    one = labels_of(np.ones((4, 4, 4), np.uint8))
    with pytest.raises(GeometryError) as caught:
        measure_masks(one, labels_of(np.ones((4, 4, 5), np.uint8)))
    assert caught.value.fix
    with pytest.raises(ConfigError, match="no length"):
        measure_masks(one, one, tolerance_mm=math.nan)
    with pytest.raises(Cancelled):
        measure_masks(one, one, cancelled=lambda: True)


@given(masks, masks, st.integers(-3, 2), st.sampled_from([1, 7, 9]))
def test_the_worst_slice_has_the_most_wrong_voxels(
    one: NDArray[np.uint8], other: NDArray[np.uint8], axis: int, label: int
) -> None:
    worst = worst_slice(one, other, label, axis)
    wrong = [
        int(((a == label) != (b == label)).sum())
        for a, b in zip(np.moveaxis(one, axis, 0), np.moveaxis(other, axis, 0), strict=True)
    ]
    if any(wrong):
        assert worst == int(np.argmax(wrong))
    else:
        there = [int((part == label).sum()) for part in np.moveaxis(other, axis, 0)]
        assert worst == (int(np.argmax(there)) if any(there) else one.shape[axis] // 2)


def test_what_is_infinite_or_not_defined_is_counted() -> None:
    found = summarise("hd95", {"a": 2.0, "b": math.inf, "c": 4.0, "d": math.nan})
    assert (found.mean, found.median, found.worst, found.worst_case) == (3, 4, math.inf, "b")
    assert found.sd == pytest.approx(math.sqrt(2))
    assert (found.finite, found.infinite, found.undefined) == (2, 1, 1)
    volumes = summarise("volume_error", {"a": 0.1, "b": -0.5, "c": 0.2})
    assert (volumes.worst, volumes.worst_case) == (-0.5, "b")
    assert summarise("dice", {"a": 0.1, "b": 0.1}).worst_case == "a"
    nothing = summarise("nsd", {"a": math.nan})
    assert (math.isnan(nothing.mean), math.isnan(nothing.median), nothing.worst_case, nothing.undefined) == (True, True, "", 1)
    assert summarise("hd95", {"a": math.inf, "b": math.inf}).median == math.inf
    assert math.isnan(summarise("dice", {"a": 0.5}).sd)


def test_real_masks(shared_data: Path) -> None:
    reference = read_volume(shared_data / "totalseg" / "example_seg.nii.gz", "labels")
    shifted = np.roll(reference.data, 1, axis=1)
    rows = measure_masks(reference.with_data(shifted), reference)
    assert len(rows) > 5
    assert all(0 < row.hd95 <= 3.01 and row.hausdorff >= row.hd95 >= row.assd > 0 for row in rows if row.tp)
    assert all(row.volume_error == 0 for row in rows)
