"""LUNA: places in mm become voxels on any grid, centres become masks, and these move with their folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_seg3d.datasets import check_dataset, import_dataset, open_dataset, read_case_image, read_case_mask
from napari_seg3d.datasets.layouts.luna import find_tables, read_candidates, read_nodules, world_to_voxel
from napari_seg3d.datasets.layouts.nodules import FOLDER, nodule_mask, read_sizes
from napari_seg3d.errors import Cancelled, DatasetError, WriteError
from tests.datasets.makers import make_luna

ANGLES = st.floats(-3, 3).map(lambda angle: round(angle, 9))  # ITK inverts no matrix with numbers next to nothing


@settings(max_examples=25)
@given(
    st.tuples(ANGLES, ANGLES, ANGLES), st.tuples(*[st.booleans()] * 3), st.tuples(*[st.floats(0.3, 5)] * 3), st.integers(0, 10**6)
)
def test_places_become_the_voxels_that_itk_finds(
    angles: tuple[float, float, float], flips: tuple[bool, bool, bool], spacing: tuple[float, float, float], seed: int
) -> None:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*angles)
    direction = np.reshape(turn.GetMatrix(), (3, 3)) @ np.diag(np.where(flips, -1.0, 1.0))
    origin = np.random.default_rng(seed).uniform(-300, 300, 3)
    image = sitk.Image((20, 30, 10), sitk.sitkUInt8)
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(origin.tolist())
    image.SetSpacing(spacing)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS -> RAS
    places = np.random.default_rng(seed).uniform(-400, 400, (4, 3))
    wanted = [image.TransformPhysicalPointToContinuousIndex(place.tolist()) for place in places]
    assert np.allclose(world_to_voxel(places, affine), wanted, atol=1e-6 * np.abs(wanted).max())


def test_the_walk_from_the_centre_ends_where_either_side_is_air() -> None:
    ct = np.full((30, 30, 30), -1000, np.int16)
    ct[8:17, 12:17, 14:15] = 0  # 9 x 5 x 1 voxels: from the centre 4 to either side along I, 2 along J, none along K
    mask = nodule_mask(ct, [(12, 14, 14)])
    assert np.array_equal(mask == 1, ct > -700)
    # Further tissue beyond the box stays out: the walk along I ends one voxel behind the shorter side.
    ct[17:25, 14, 14] = 0
    assert np.flatnonzero(nodule_mask(ct, [(12, 14, 14)])[:, 14, 14]).tolist() == [*range(8, 18)]
    # It starts two voxels out: the gap right beside the centre is not seen, and not marked either.
    ct[13, 14, 14] = -1000
    assert np.flatnonzero(nodule_mask(ct, [(12, 14, 14)])[:, 14, 14]).tolist() == [*range(8, 13), *range(14, 18)]


@pytest.mark.parametrize("centre", [(0, 0, 0), (1, 5, 9), (9, 9, 9), (0, 9, 4), (1, 1, 8)])
def test_nothing_wraps_around_the_edges(centre: tuple[int, int, int]) -> None:
    solid = np.zeros((10, 10, 10), np.int16)
    marked = np.argwhere(nodule_mask(solid, [centre]))
    for axis, place in enumerate(centre):
        reach = max(1, min(place, 9 - place))  # as far as both sides stay inside, and one voxel at least
        assert marked[:, axis].min() == max(0, place - reach)
        assert marked[:, axis].max() == min(9, place + reach)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_a_mask_is_tissue_connected_to_nothing_but_its_box(seed: int) -> None:
    random = np.random.default_rng(seed)
    ct = random.choice([-1000, 0], (9, 8, 7), p=[0.3, 0.7]).astype(np.int16)
    centres = [tuple(int(random.integers(size)) for size in ct.shape) for _ in range(3)]
    mask = nodule_mask(ct, centres)
    assert not mask[ct <= -700].any()
    together = np.maximum.reduce([nodule_mask(ct, [centre]) for centre in centres])
    assert np.array_equal(mask, together)
    mirrored = nodule_mask(ct[::-1], [(ct.shape[0] - 1 - i, j, k) for i, j, k in centres])
    assert np.array_equal(mirrored[::-1], mask)


def test_a_folder_is_imported_with_masks_and_can_move(tmp_path: Path) -> None:
    series = make_luna(tmp_path / "luna")
    opened = open_dataset(tmp_path / "luna")
    assert [problem.what for problem in opened.problems] == [
        "annotations_with_malignancy.csv lists nodules by their centres; the masks have not been made yet."
    ]
    told: list[tuple[int, int]] = []
    imported = import_dataset(tmp_path / "luna", progress=lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert imported.problems == ()
    shutil.move(tmp_path / "luna", tmp_path / "moved")
    dataset = open_dataset(tmp_path / "moved")
    assert dataset.labels == {1: "nodule"}
    assert dataset.modality == "CT"
    sizes = read_sizes(tmp_path / "moved" / FOLDER)
    for one in series:
        case = dataset.case(one.uid)
        image = read_case_image(case)
        assert np.allclose(image.affine, one.affine)
        mask = read_case_mask(case, image).data[0]
        assert np.array_equal(mask == 1, image.data[0] > -500)  # the balls, whole and nothing else
        assert sizes[one.uid].shape == image.data.shape[1:]
        assert list(sizes[one.uid].positive) == np.flatnonzero(mask.any(axis=(0, 1))).tolist()
    assert not read_case_mask(dataset.case(series[-1].uid)).data.any()
    report = check_dataset(dataset)
    assert len(report.sound) == 4
    candidates = read_candidates(dataset.root)
    assert len(candidates.of(series[0].uid).centres) == len(series[0].balls) + 1
    voxels = np.rint(world_to_voxel(candidates.of(series[1].uid).centres, series[1].affine)).astype(int)
    assert voxels.tolist() == [*(list(centre) for centre, _ in series[1].balls), [2, 2, 2]]
    assert candidates.of(series[1].uid).is_nodule.tolist() == [True] * len(series[1].balls) + [False]
    assert {nodule.malignant for nodule in read_nodules(dataset.root)} <= {True, False}


def test_an_import_that_was_stopped_goes_on_and_makes_nothing_twice(tmp_path: Path) -> None:
    series = make_luna(tmp_path)
    done: list[int] = []
    with pytest.raises(Cancelled):
        import_dataset(tmp_path, progress=lambda number, _: done.append(number), cancelled=lambda: len(done) == 2)
    assert not (tmp_path / "dataset.yaml").exists()
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).glob("*.nii.gz")}
    assert len(first) == 2
    import_dataset(tmp_path)
    assert len(list((tmp_path / FOLDER).glob("*.nii.gz"))) == 4
    table = tmp_path / "annotations_with_malignancy.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if line != lines[1]) + "\n")  # one nodule fewer in the first series
    with pytest.raises(WriteError, match="exists already"):
        import_dataset(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).glob("*.nii.gz")}
    assert {name: before[name] for name in first} == first
    import_dataset(tmp_path, overwrite=True)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).glob("*.nii.gz")}
    assert {name for name in after if after[name] != before[name]} == {f"{series[0].uid}.nii.gz"}


def test_what_the_tables_lack_or_say_wrongly(tmp_path: Path) -> None:
    make_luna(tmp_path, count=2)
    table = tmp_path / "annotations_with_malignancy.csv"
    good = table.read_text()
    for row, said in (
        ("x,1,2\n", "line 3: it is cut off"),
        ("x,a,2,3,4,True\n", "line 3: x is 'a'"),
        ("x,1,2,3,4,maybe\n", "malignant is 'maybe'"),
    ):
        table.write_text(good + row)
        with pytest.raises(DatasetError, match=said):
            import_dataset(tmp_path)
    uid = read_nodules(tmp_path / "candidates.csv")[0].series
    table.write_text(good + f"{uid},9000,0,0,4,True\nnobody,1,1,1,4,False\n")
    imported = import_dataset(tmp_path)
    assert ["lies outside of the scan" in problem.what for problem in imported.problems] == [True]
    assert len(imported.pairs) == 2
    (tmp_path / "notes.csv").write_text("a,b\n")
    assert find_tables(tmp_path / "subset0") is None
