"""Surface distances against MONAI, against both definitions written down naively, and against geometry."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ConfigError, GeometryError
from napari_seg3d.evaluation import Surface, SurfaceDistances, surface_distances
from napari_seg3d.volumes import read_volume

Mask = NDArray[np.bool_]
Pair = tuple[Mask, Mask, list[float]]
SURFACES: tuple[Surface, ...] = ("voxels", "areas")


@st.composite
def pairs(draw: st.DrawFn, dimensions: Sequence[int] = (2, 3)) -> Pair:
    """Two masks of any density, empty ones among them, and a spacing."""
    shape = draw(array_shapes(min_dims=min(dimensions), max_dims=max(dimensions), min_side=2, max_side=6))
    both = [draw(arrays(np.bool_, shape, elements=st.booleans(), fill=st.booleans())) for _ in range(2)]
    return both[0], both[1], [draw(st.integers(2, 40)) / 10 for _ in shape]


def monai(one: Mask, other: Mask, spacing: Sequence[float], tolerance: float) -> list[float]:
    """HD95, Hausdorff, ASSD, and NSD by voxels and by areas."""
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    both = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (one, other)]
    whole = {"include_background": True, "spacing": list(spacing)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a mask is empty
        found = (
            compute_hausdorff_distance(*both, percentile=95, **whole),
            compute_hausdorff_distance(*both, **whole),
            compute_average_surface_distance(*both, symmetric=True, **whole),
            compute_surface_dice(*both, [tolerance], **whole),
            compute_surface_dice(*both, [tolerance], use_subvoxels=True, **whole),
        )
    return [float(value) for value in found]


def ours(one: Mask, other: Mask, spacing: Sequence[float], tolerance: float) -> list[float]:
    voxels, areas = (surface_distances(one, other, spacing, surface) for surface in SURFACES)
    return [
        voxels.hausdorff(95), voxels.hausdorff(), voxels.average(), voxels.surface_dice(tolerance), areas.surface_dice(tolerance),
    ]  # fmt: skip


def numbers(found: SurfaceDistances, tolerance: float = 1.0) -> list[float]:
    return [found.hausdorff(95), found.hausdorff(), found.average(), found.surface_dice(tolerance)]


@settings(deadline=None)
@given(pairs(), st.sampled_from([0.0, 0.5, 1.0, 2.1]))
def test_equal_to_monai(pair: Pair, tolerance: float) -> None:
    one, other, spacing = pair
    theirs = monai(one, other, spacing, tolerance)
    if one.any() != other.any():
        # Where one mask is empty, all distances are infinite. MONAI says so of ASSD and of the Hausdorff distance; of HD95 it says NaN,
        # because it interpolates between two infinities.
        assert theirs[0] != theirs[0]
        theirs[0] = math.inf
    np.testing.assert_allclose(ours(one, other, spacing, tolerance), theirs, rtol=1e-4)  # MONAI computes in 32 bit


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.4, 0.7, 5.0)])
def test_equal_to_monai_on_real_masks(spacing: tuple[float, float, float], shared_data: Path) -> None:
    mask = read_volume(shared_data / "hippocampus" / "labels" / "hippocampus_001.nii.gz", "labels").data[0]
    for label in (1, 2):
        one, other = mask == label, np.roll(mask, (1, 2, 0), axis=(0, 1, 2)) == label
        np.testing.assert_allclose(ours(one, other, spacing, 1.0), monai(one, other, spacing, 1.0), rtol=1e-4)


def border_by_hand(mask: Mask) -> list[tuple[int, ...]]:
    def is_inside(place: tuple[int, ...]) -> bool:
        return all(0 <= at < length for at, length in zip(place, mask.shape, strict=True)) and bool(mask[place])

    def neighbours(place: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*place[:axis], place[axis] + step, *place[axis + 1 :]) for axis in range(mask.ndim) for step in (-1, 1)]

    return [place for place in np.ndindex(mask.shape) if is_inside(place) and not all(map(is_inside, neighbours(place)))]


@settings(deadline=None)
@given(pairs())
def test_border_voxels_as_they_are_defined(pair: Pair) -> None:
    one, other, spacing = pair
    assume(one.any() and other.any())
    here, there = (np.array(border_by_hand(mask)) * spacing for mask in (one, other))
    apart = np.linalg.norm(here[:, None] - there[None], axis=2)
    found = surface_distances(one, other, spacing)
    np.testing.assert_allclose(found.predicted, apart.min(axis=1), atol=1e-9)
    np.testing.assert_allclose(found.reference, apart.min(axis=0), atol=1e-9)
    assert found.average() == pytest.approx(np.concatenate([apart.min(axis=1), apart.min(axis=0)]).mean())


@settings(deadline=None)
@given(pairs())
def test_areas_as_deepmind_defines_them(pair: Pair) -> None:
    # Elements and areas are MONAI's; what DeepMind's program makes of them is written down here.
    from monai.metrics.utils import get_mask_edges

    one, other, spacing = pair
    assume(one.any() and other.any())
    edges = get_mask_edges(one, other, spacing=spacing, always_return_as_numpy=False)
    here, there = (np.argwhere(np.asarray(edge)) * spacing for edge in edges[:2])
    weights = [np.asarray(area)[np.asarray(edge)] for edge, area in zip(edges[:2], edges[2:], strict=True)]
    apart = np.linalg.norm(here[:, None] - there[None], axis=2)
    found = surface_distances(one, other, spacing, "areas")
    expected = []
    for directed, weight, mine in zip(
        (apart.min(axis=1), apart.min(axis=0)), weights, (found.predicted, found.reference), strict=True
    ):
        order = np.argsort(directed)
        reached = np.cumsum(weight[order]) / weight.sum()
        expected.append([directed[order][min(np.searchsorted(reached, share), len(order) - 1)] for share in (0.9499, 0.9501)])
        np.testing.assert_allclose(np.average(mine, weights=np.asarray(weight)), np.average(directed, weights=weight), rtol=1e-5)
    low, high = np.max(expected, axis=0)
    assert low - 1e-9 <= found.hausdorff(95) <= high + 1e-9


@settings(deadline=None)
@given(pairs(), st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3), st.sampled_from(SURFACES))
def test_how_the_voxels_are_stored_does_not_matter(pair: Pair, order: list[int], flips: list[bool], surface: Surface) -> None:
    one, other, spacing = pair
    axes = [axis for axis in order if axis < one.ndim]
    turned = [np.flip(mask.transpose(axes), [axis for axis in range(mask.ndim) if flips[axis]]) for mask in (one, other)]
    found = surface_distances(turned[0], turned[1], [spacing[axis] for axis in axes], surface)
    expected = surface_distances(one, other, spacing, surface)
    if surface == "voxels":
        assert numbers(found) == pytest.approx(numbers(expected), nan_ok=True)
    else:
        # The elements are the same; but in ambiguous corners the table of areas takes diagonals of its own, and a mirrored surface differs
        # a little in what they count.
        assert found.hausdorff() == pytest.approx(expected.hausdorff(), nan_ok=True)
        np.testing.assert_allclose(np.sort(found.predicted), np.sort(expected.predicted), atol=1e-9)
        np.testing.assert_allclose(np.sort(found.reference), np.sort(expected.reference), atol=1e-9)


@settings(deadline=None)
@given(pairs(), st.sampled_from(SURFACES), st.floats(1.5, 4))
def test_symmetric_and_in_millimetres(pair: Pair, surface: Surface, factor: float) -> None:
    one, other, spacing = pair
    found = numbers(surface_distances(one, other, spacing, surface))
    assert numbers(surface_distances(other, one, spacing, surface)) == pytest.approx(found, nan_ok=True)
    larger = numbers(surface_distances(one, other, [factor * step for step in spacing], surface), factor)
    assert larger == pytest.approx([factor * found[0], factor * found[1], factor * found[2], found[3]], nan_ok=True)


@settings(deadline=None)
@given(pairs(), st.sampled_from(SURFACES))
def test_what_a_box_leaves_out_does_not_matter(pair: Pair, surface: Surface) -> None:
    one, other, spacing = pair
    wide = [np.pad(mask, 3) for mask in (one, other)]
    assert numbers(surface_distances(wide[0], wide[1], spacing, surface)) == pytest.approx(
        numbers(surface_distances(one, other, spacing, surface)), nan_ok=True
    )


@settings(deadline=None)
@given(pairs(dimensions=(2,)), st.integers(0, 2), st.sampled_from(SURFACES))
def test_a_single_slice_is_a_picture(pair: Pair, axis: int, surface: Surface) -> None:
    one, other, spacing = pair
    flat = [np.expand_dims(mask, axis) for mask in (one, other)]
    steps = [*spacing[:axis], 7.0, *spacing[axis:]]
    assert numbers(surface_distances(flat[0], flat[1], steps, surface)) == pytest.approx(
        numbers(surface_distances(one, other, spacing, surface)), nan_ok=True
    )


@pytest.mark.parametrize("surface", SURFACES)
def test_empty_masks(surface: Surface) -> None:
    empty, full = np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    assert all(math.isnan(value) for value in numbers(surface_distances(empty, empty, (1, 1, 1), surface)))
    for one, other in ((empty, full), (full, empty)):
        assert numbers(surface_distances(one, other, (1, 1, 1), surface)) == [math.inf, math.inf, math.inf, 0]
    assert numbers(surface_distances(full, full, (1, 1, 1), surface)) == [0, 0, 0, 1]


@pytest.mark.parametrize("surface", SURFACES)
def test_one_voxel_each(surface: Surface) -> None:
    one, other = np.zeros((2, 5, 6, 7), bool)
    one[1, 2, 3] = other[2, 2, 5] = True
    found = surface_distances(one, other, (3.0, 1.0, 2.0), surface)
    if surface == "voxels":
        assert numbers(found) == pytest.approx([5, 5, 5, 0])
        assert found.surface_dice(5) == 1
    else:
        # Eight corners each, of which the nearest lie as far as one voxel less on each axis that the voxels differ along.
        assert found.hausdorff() == pytest.approx(5)
        assert found.average() < 5


def test_one_voxel_off_lies_within_one_voxel() -> None:
    # 0.7 * 4 - 0.7 * 3 is a little more than 0.7.
    one, other = np.zeros((2, 9, 9, 9), bool)
    one[3:5, 2:7, 2:7] = other[4:6, 2:7, 2:7] = True
    assert surface_distances(one, other, (0.7, 0.7, 0.7)).surface_dice(0.7) == 1


def test_balls_lie_as_far_apart_as_their_radii() -> None:
    place = np.stack(np.meshgrid(*[np.arange(-30, 31) * step for step in (0.5, 0.5, 1.0)], indexing="ij"))
    radius = np.linalg.norm(place, axis=0)
    for surface in SURFACES:
        found = surface_distances(radius < 12, radius < 9, (0.5, 0.5, 1.0), surface)
        assert [found.average(), found.hausdorff(95)] == pytest.approx([3, 3], abs=0.35)
        assert found.surface_dice(2) < 0.02
        assert found.surface_dice(4) > 0.98
    areas = surface_distances(radius < 12, radius < 9, (0.5, 0.5, 1.0), "areas")
    assert areas.predicted_areas is not None
    # A mesh through voxels has edges that the ball has not, a tenth of its surface.
    assert areas.predicted_areas.sum() == pytest.approx(1.1 * 4 * math.pi * 12**2, rel=0.05)


@example(np.zeros((3, 3), bool), [1.0])
@example(np.zeros((3, 3), bool), [1.0, 0.0])
@example(np.zeros((3, 3), bool), [1.0, math.nan])
@example(np.zeros((3, 3), bool), [1.0, -2.0])
@example(np.zeros(3, bool), [1.0])
@given(st.just(np.zeros((2, 2, 2, 2), bool)), st.just([1.0] * 4))
def test_impossible_masks_and_spacings(mask: Mask, spacing: list[float]) -> None:
    with pytest.raises(GeometryError) as caught:
        surface_distances(mask, mask, spacing)
    assert caught.value.fix


def test_other_mistakes_are_said_too() -> None:
    one, other = np.ones((3, 4, 5), bool), np.ones((3, 4, 6), bool)
    with pytest.raises(GeometryError, match="3x4x5 voxels, the reference 3x4x6"):
        surface_distances(one, other, (1, 1, 1))
    with pytest.raises(ConfigError, match="no surface 'mesh'"):
        surface_distances(one, one, (1, 1, 1), "mesh")  # type: ignore[arg-type]
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="no length"):
            surface_distances(one, one, (1, 1, 1)).surface_dice(tolerance)
    with pytest.raises(Cancelled):
        surface_distances(one, np.zeros_like(one) | (np.arange(5) < 2), (1, 1, 1), cancelled=lambda: True)
