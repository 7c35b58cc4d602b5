"""Who is who from the images alone: on crops of real heads, their names shuffled, and on scans changed on purpose."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from napari_seg3d.datasets import Case, Dataset, check_dataset
from napari_seg3d.datasets.doctor.signature import hash_of_labels, sign
from napari_seg3d.datasets.doctor.similarity import compare
from napari_seg3d.volumes import Volume

Images = dict[str, NDArray[np.generic]]


def volume(data: NDArray[np.generic], spacing: float = 1.0) -> Volume:
    return Volume(np.ascontiguousarray(data)[np.newaxis], np.diag([spacing, spacing, spacing, 1.0]))


@pytest.mark.slow
def test_the_two_sides_of_a_head_under_shuffled_names(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))
    order = np.random.default_rng(7).permutation(len(paths))
    number = {f"x{place:03d}": int(path.name[12:15]) for place, path in zip(order, paths, strict=True)}
    cases = []
    for place, path in sorted(zip(order.tolist(), paths, strict=True)):
        (link := tmp_path / f"x{place:03d}.nii.gz").symlink_to(path.resolve())
        cases.append(Case(f"x{place:03d}", (link,), None, f"x{place:03d}"))
    report = check_dataset(Dataset(tmp_path, tuple(cases), {}))
    subject = {number[case.id]: case.subject for case in report.dataset.cases}
    pairs = list(combinations(sorted(subject), 2))
    true = {pair for pair in pairs if (pair[0] + 1) // 2 == (pair[1] + 1) // 2}
    found = {pair for pair in pairs if subject[pair[0]] == subject[pair[1]]}
    assert len(true) == 67
    assert len(found & true) >= 0.85 * len(true)
    assert len(found - true) <= 0.05 * len(found)


def scan(seed: int) -> NDArray[np.float32]:
    """Return something like tissue: smooth structures of several sizes, of its own for each seed."""
    random = np.random.default_rng(seed)
    noise = [gaussian_filter(random.normal(size=(40, 44, 36)), size) * size**1.5 for size in (1.0, 2.5, 6.0)]
    return (1000 + 200 * np.sum(noise, axis=0)).astype(np.float32)


SCANS: Images = {f"s{seed:02d}": scan(seed) for seed in range(16)}
SIGNED = {name: sign(volume(data)) for name, data in SCANS.items()}


@pytest.mark.parametrize("number", [3, 16])
@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda data: data.copy(), {"same voxels"}),
        (lambda data: data[::-1], {"same voxels"}),
        (lambda data: data * 3.5 + 100, {"overlap"}),
        (lambda data: data[6:-4, 5:-9, 3:-3], {"overlap"}),
        (lambda data: data[:, :26], {"overlap"}),
        (lambda data: data[::-1][4:] * 2, {"overlap"}),
        (lambda data: data + np.random.default_rng(0).normal(0, 20, data.shape), {"overlap", "copy"}),
    ],
    ids=["same", "mirrored", "scaled", "cropped", "part", "mirrored part, scaled", "noise"],
)
def test_a_changed_copy_is_found_and_nothing_else(change: object, kinds: set[str], number: int) -> None:
    assert callable(change)
    signed = dict(list(SIGNED.items())[:number])
    signed["t"] = sign(volume(change(SCANS["s01"])))
    found = compare(signed, dict.fromkeys(signed)).matches
    assert {(match.one, match.other) for match in found} == {("s01", "t")}
    assert {match.kind for match in found} <= kinds


def test_a_resampled_copy_is_found_among_many() -> None:
    signed = SIGNED | {"t": sign(volume(zoom(SCANS["s01"], 1 / 1.25, order=1), 1.25))}
    (match,) = compare(signed, dict.fromkeys(signed)).matches
    assert (match.one, match.other, match.kind) == ("s01", "t", "copy")


def test_different_scans_do_not_match() -> None:
    assert compare(SIGNED, dict.fromkeys(SIGNED)).matches == ()
    assert compare({}, {}).matches == ()


def test_one_that_is_the_wrong_way_round() -> None:
    usual = scan(99)
    alike = {name: usual + 0.35 * (data - 1000) for name, data in SCANS.items()}
    assert compare({name: sign(volume(data)) for name, data in alike.items()}, dict.fromkeys(alike)).mirrored == ()
    alike["s05"] = alike["s05"][::-1]
    assert compare({name: sign(volume(data)) for name, data in alike.items()}, dict.fromkeys(alike)).mirrored == ("s05",)


@given(st.permutations(range(3)), st.tuples(*[st.sampled_from([1, -1])] * 3))
@settings(max_examples=10, deadline=None)
def test_the_order_in_which_voxels_are_stored_changes_nothing(order: list[int], flips: tuple[int, int, int]) -> None:
    data = scan(3)[:12, :10, :8]
    straight = volume(data)
    stored = data.transpose(order)[:: flips[0], :: flips[1], :: flips[2]]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (target, sign_of) in enumerate(zip(order, flips, strict=True)):
        affine[target, axis] = sign_of
        affine[target, 3] += 0 if sign_of > 0 else data.shape[target] - 1
    one, other = sign(straight), sign(Volume(stored[np.newaxis], affine))
    assert one.voxels == other.voxels
    np.testing.assert_array_equal(one.patterns, other.patterns)
    np.testing.assert_allclose(one.thumbnail, other.thumbnail, atol=2e-3)


def test_hashes_of_masks() -> None:
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[1, 1, 3], mask[2, 2, 2] = 1, 2
    own, mirrored = hash_of_labels(mask)
    assert hash_of_labels(mask[::-1]) == (mirrored, own)
    assert hash_of_labels(mask.astype(np.int64)) == (own, mirrored)
    assert own not in (mirrored, hash_of_labels(mask[:, ::-1])[0], hash_of_labels(mask * 2)[0], hash_of_labels(mask[:, :, 1:])[0])
