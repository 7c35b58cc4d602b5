"""Regions from one click: against scipy's labels, and where they must not leak."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_seg3d.datasets import nodule_mask
from napari_seg3d.editing import regions
from napari_seg3d.editing.nodules import add_nodules, centres_in
from napari_seg3d.editing.regions import flood_fill, grow_region, trace_level
from napari_seg3d.errors import ConfigError, DatasetError, GeometryError
from tests.editing.blobs import after, distances, places, scenes


def _piece(where: np.ndarray, voxel: tuple[int, ...], across: int | None = None) -> np.ndarray:
    if across is not None:
        slab = np.zeros_like(where)
        at = tuple(slice(None) if axis != across else voxel[axis] for axis in range(where.ndim))
        slab[at] = where[at]
        where = slab
    pieces, _ = ndimage.label(where)
    return (pieces == pieces[voxel]) & where[voxel]


@pytest.fixture(params=[24, 1], ids=["one box", "growing boxes"])
def first_reach(request, monkeypatch):
    """How many voxels around the click are looked at first."""
    monkeypatch.setattr(regions, "_FIRST_REACH", request.param)


@given(scenes(), st.data())
@settings(max_examples=60, deadline=None)
def _check_fill(scene: tuple, data: st.DataObject) -> None:
    mask, spacing, _ = scene
    voxel = data.draw(places(mask.shape))
    across = data.draw(st.none() | st.integers(0, mask.ndim - 1))
    wanted = _piece(mask == mask[voxel], voxel, across)
    found = after(mask, flood_fill(mask, voxel, spacing, 5, across=across))
    assert np.array_equal(found == 5, wanted)
    assert np.array_equal(found[~wanted], mask[~wanted])


def test_fill_takes_the_connected_region_of_one_value(first_reach: None) -> None:
    _check_fill()


def test_fill_goes_no_further_than_it_may() -> None:
    mask = np.zeros((30, 30, 30), np.uint8)
    with pytest.raises(ConfigError, match=r"larger than 26\.9 ml"):
        flood_fill(mask, (3, 3, 3), (1, 1, 1), 2, most_ml=26.9)
    assert (after(mask, flood_fill(mask, (3, 3, 3), (1, 1, 1), 2, most_ml=27)) == 2).all()
    with pytest.raises(GeometryError, match="does not lie"):
        flood_fill(mask, (30, 3, 3), (1, 1, 1), 2)


@pytest.mark.slow
@given(scenes(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_region_is_what_is_like_the_click_near_it_and_connected(scene: tuple, data: st.DataObject) -> None:
    mask, spacing, image = scene
    voxel = data.draw(places(mask.shape))
    tolerance, radius = data.draw(st.sampled_from([0, 1.0, 4.0])), data.draw(st.sampled_from([0.5, 2.0, 6.0, 99.0]))
    seed = np.zeros(mask.shape, bool)
    seed[voxel] = True
    alike = np.abs(image.astype(float) - float(image[voxel])) <= tolerance
    near = distances(seed, spacing) <= radius * (1 + 1e-9)
    found = after(mask, grow_region(mask, image, voxel, spacing, 5, tolerance=tolerance, radius_mm=radius, over_others=True)) == 5
    assert np.array_equal(found, _piece(alike & near, voxel))
    walled = after(mask, grow_region(mask, image, voxel, spacing, 5, tolerance=tolerance, radius_mm=radius)) == 5
    assert np.array_equal(walled, _piece(alike & near & (mask == 0), voxel))
    some = (float(image.min()), float(np.median(image)))
    ranged = after(mask, grow_region(mask, image, voxel, spacing, 5, intensities=some, radius_mm=99, over_others=True)) == 5
    assert np.array_equal(ranged, _piece((image >= some[0]) & (image <= some[1]), voxel))


def test_a_region_does_not_leak_through_a_neck() -> None:
    image = np.zeros((40, 40, 80))
    image[10:30, 10:30, 5:35] = image[10:30, 10:30, 45:75] = 100  # two chambers
    image[19:21, 18:22, 35:45] = 100  # and a passage of 2 x 4 mm
    mask = np.zeros(image.shape, np.uint8)
    leaks = after(mask, grow_region(mask, image, (20, 20, 20), (1, 1, 1), 1, radius_mm=80)) == 1
    assert np.array_equal(leaks, image > 0)
    for click in ((20, 20, 20), (10, 10, 5)):
        stays = after(mask, grow_region(mask, image, click, (1, 1, 1), 1, radius_mm=80, neck_mm=6)) == 1
        assert not stays[:, :, 38:].any()
        assert stays[12:28, 12:28, 8:32].all()
        assert not stays[image == 0].any()
    wide = after(mask, grow_region(mask, image, (20, 20, 20), (1, 1, 1), 1, radius_mm=80, neck_mm=1)) == 1
    assert wide[20, 20, 60]
    flat = after(mask, grow_region(mask, image, (20, 20, 20), (1, 1, 1), 1, radius_mm=80, neck_mm=6, across=0)) == 1
    assert flat.any(axis=(1, 2)).sum() == 1


def test_a_region_with_an_impossible_range() -> None:
    mask = np.zeros((4, 4), np.uint8)
    with pytest.raises(ConfigError, match="empty"):
        grow_region(mask, np.zeros((4, 4)), (1, 1), (1, 1), 1, intensities=(3, 2))


@pytest.mark.parametrize(("inside", "outside"), [(100.0, 0.0), (0.0, 100.0)], ids=["bright", "dark"])
def test_a_click_on_an_edge_takes_the_object(inside: float, outside: float) -> None:
    row, column = np.ogrid[:60, :60]
    far = np.hypot(row - 30, column - 28)
    image = np.broadcast_to(outside + (inside - outside) / (1 + np.exp((far - 15) / 1.5)), (3, 60, 60)).copy()
    image[1, 28:31, 26:30] = outside  # a hole in it
    mask = np.zeros(image.shape, np.uint8)
    found = after(mask, trace_level(mask, image, (1, 30, 43), 4, across=0))
    assert not found[[0, 2]].any()
    assert np.array_equal(found[1] == 4, far <= 15 + 1e-9)
    chosen = "bright" if inside > outside else "dark"
    assert np.array_equal(after(mask, trace_level(mask, image, (1, 30, 43), 4, across=0, side=chosen)), found)  # type: ignore[arg-type]
    flat = after(mask[1], trace_level(mask[1], image[1], (30, 43), 4))
    assert np.array_equal(flat, found[1])


def test_an_outline_needs_a_slice_and_a_number() -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(ConfigError, match="slice"):
        trace_level(mask, np.zeros(mask.shape), (1, 1, 1), 1)
    assert not trace_level(mask, np.full(mask.shape, np.nan), (1, 1, 1), 1, across=0).values.any()


# -- nodules -------------------------------------------------------------------------------------------------------------------------------


def _lung() -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    ct = np.full((30, 32, 34), -850, np.int16)
    i, j, k = np.ogrid[:30, :32, :34]
    centres = [(8, 9, 10), (20, 22, 24), (1, 30, 2)]
    for number, (a, b, c) in enumerate(centres):
        ct[(i - a) ** 2 + (j - b) ** 2 + (k - c) ** 2 <= (3 + number) ** 2] = 30
    return ct, centres


def test_nodules_are_those_of_the_reference_code() -> None:
    ct, centres = _lung()
    mask = np.zeros(ct.shape, np.int32)
    found = after(mask, add_nodules(mask, ct, centres, (1, 1, 1), 3))
    assert np.array_equal(found == 3, nodule_mask(ct, centres) == 1)
    mask[20, 22, 24] = 9
    assert after(mask, add_nodules(mask, ct, centres[1], (1, 1, 1), 3))[20, 22, 24] == 9
    flat = after(mask[8], add_nodules(mask[8], ct[8], (9, 10), (1, 1), 3))
    assert np.array_equal(flat == 3, found[8] == 3)
    assert add_nodules(mask, ct, [], (1, 1, 1), 3).is_empty


def test_what_is_larger_than_any_nodule_is_not_painted() -> None:
    ct, (centre, *_) = _lung()
    mask = np.zeros(ct.shape, np.uint8)
    with pytest.raises(ConfigError, match=r"voxel \(8, 9, 10\) the scan stays above -700 HU for more than 30 mm"):
        add_nodules(mask, ct, centre, (5, 1, 1), 3, most_mm=30)
    chest_wall = np.full((60, 60, 60), 40, np.int16)
    with pytest.raises(ConfigError, match="no nodule in air"):
        add_nodules(np.zeros(chest_wall.shape, np.uint8), chest_wall, (30, 30, 30), (2, 2, 2), 3)


def test_centres_of_a_table_are_found_in_any_voxel_order(tmp_path: Path) -> None:
    ct, centres = _lung()
    affine = np.array([[0, -0.7, 0.1, 40.0], [0.8, 0, 0, -30.0], [0, 0.1, 1.5, 12.0], [0, 0, 0, 1]])
    lines = ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    for series, centre in [("a", centre) for centre in centres] + [("a", (99, 0, 0)), ("b", (3, 3, 3))]:
        x, y, z = (affine @ [*centre, 1])[:3]
        lines.append(f"{series},{-x},{-y},{z},5")
    (tmp_path / "annotations.csv").write_text("\n".join(lines))
    voxels, outside = centres_in(tmp_path / "annotations.csv", affine, ct.shape, "a")
    assert voxels.tolist() == [list(centre) for centre in centres]
    assert outside == (5,), "the line of the table"
    with pytest.raises(DatasetError, match="2 CTs"):
        centres_in(tmp_path / "annotations.csv", affine, ct.shape)
    with pytest.raises(DatasetError, match="no nodule of c"):
        centres_in(tmp_path / "annotations.csv", affine, ct.shape, "c")
    unnamed = tmp_path / "centres.csv"
    x, y, z = (affine @ [*centres[1], 1])[:3]
    unnamed.write_text(f"x;y;z\n{-x};{-y};{z}\n")
    assert centres_in(unnamed, affine, ct.shape, "a")[0].tolist() == [list(centres[1])], "a table of one CT need not name it"
    unnamed.write_text("x,y,z\n1,2,3\n1,2,far\n")
    with pytest.raises(DatasetError, match=r"centres.csv, line 3: z is 'far'"):
        centres_in(unnamed, affine, ct.shape)
    unnamed.write_text("x,y\n1,2\n")
    with pytest.raises(DatasetError, match=r"centres.csv, line 1: there is no column coordz"):
        centres_in(unnamed, affine, ct.shape)
    unnamed.write_text("x,y,z\n")
    with pytest.raises(DatasetError, match="lists no places"):
        centres_in(unnamed, affine, ct.shape)
