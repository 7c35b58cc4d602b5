from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets import check_dataset, open_dataset, read_case_image, read_case_mask
from napari_seg3d.sample_data import Kind, dataset_folder, make
from napari_seg3d.sample_data.make_lungs import make_lung
from napari_seg3d.sample_data.make_phantoms import TEST, TRAINING, make_phantom
from napari_seg3d.sample_data.make_spleens import make_spleen
from napari_seg3d.training.plan import fingerprint_of
from napari_seg3d.volumes import Volume, read_grid, read_volume


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["abdomen", "spine"])
def test_the_script_makes_the_files_that_are_here(kind: Kind, tmp_path: Path) -> None:
    make(kind, tmp_path)
    here = dataset_folder(kind)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {path.relative_to(here) for path in here.rglob("*") if path.is_file()}
    for path in made:
        if path.suffix == ".json":
            assert (tmp_path / path).read_text() == (here / path).read_text()
            continue
        new, old = read_volume(tmp_path / path), read_volume(here / path)
        assert new.grid.matches(old.grid)
        # Another processor may round a sine the other way at a border.
        assert np.mean(new.data != old.data) < 1e-3, path


@pytest.mark.parametrize(
    ("kind", "name", "made"),
    [("spleen", "rat-03", partial(make_spleen, 3)), ("lung", "lung-03", partial(make_lung, 3))],
    ids=["spleen", "lung"],
)
def test_the_script_makes_the_case_that_is_here(kind: Kind, name: str, made: Callable[[], tuple[Volume, Volume]]) -> None:
    for folder, new in zip(("imagesTr", "labelsTr"), made(), strict=True):
        here = read_volume(dataset_folder(kind) / folder / f"{name}.nii.gz")
        assert new.grid.matches(here.grid)
        assert np.mean(new.data != here.data) < 1e-3


def test_they_are_small() -> None:
    package = dataset_folder().parent
    assert sum(path.stat().st_size for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc") < 2_000_000


@pytest.mark.parametrize(("kind", "labels"), [("spleen", {1: "spleen", 2: "left kidney"}), ("lung", {1: "nodule"})])
def test_ct_is_known_for_what_it_is(kind: Kind, labels: dict[int, str]) -> None:
    report = check_dataset(open_dataset(dataset_folder(kind)))
    assert report.problems == ()
    assert len(report.sound) == 8
    assert report.dataset.labels == labels
    fingerprint = fingerprint_of(report)
    assert fingerprint.is_ct
    assert not fingerprint.overlapping
    assert all(0 < share < 0.05 for share in fingerprint.share.values())


def test_the_left_kidney_is_on_the_left() -> None:
    for file in sorted((dataset_folder("spleen") / "labelsTr").glob("*.nii.gz")):
        mask = read_volume(file, "labels")
        assert mask.grid.to_world(np.argwhere(mask.data[0] == 2)).mean(axis=0)[0] < -4, "x grows to the right"


def test_vertebrae_overlap_and_keep_a_channel_each() -> None:
    dataset = open_dataset(dataset_folder("spine"))
    assert len(dataset.pairs) == 12
    shapes = set()
    for case in dataset.pairs[:4]:
        image = read_case_image(case)
        mask = read_case_mask(case, image, overlapping=True)
        channels = mask.data[:6] > 0
        assert all(100 < channel.sum() < 3000 for channel in channels)
        assert all((one & other).sum() > 20 for one, other in pairwise(channels))
        assert not (channels[0] & channels[2]).any()
        shapes.add(image.data.shape)
    assert len(shapes) == 4


def test_they_show_what_goes_wrong_with_geometry() -> None:
    grids = [read_grid(path) for path in sorted((dataset_folder() / "imagesTr").glob("*.nii.gz"))]
    assert len({grid.orientation for grid in grids}) >= 8
    assert sum(grid.is_oblique for grid in grids) >= 6
    assert all(max(grid.spacing) / min(grid.spacing) > 1.05 for grid in grids)
    assert len({grid.spacing for grid in grids}) >= 5


@pytest.mark.parametrize("scan", [TRAINING[0], TRAINING[7], TEST[2]], ids=lambda scan: scan.id)
def test_the_liver_is_on_the_right(scan: object) -> None:
    _, mask = make_phantom(scan)  # type: ignore[arg-type]
    places = {label: mask.grid.to_world(np.argwhere(mask.data[0] == label)) for label in (1, 2)}
    assert places[1].mean(axis=0)[0] > 20, "x grows to the patient's right"
    assert abs(places[2].mean(axis=0)[0]) < 20, "a kidney on either side"


def test_they_are_a_sound_data_set() -> None:
    report = check_dataset(open_dataset(dataset_folder()))
    assert report.problems == ()
    assert len(report.sound) == 20
    assert report.dataset.labels == {1: "liver", 2: "kidneys"}
    assert len({case.subject for case in report.sound}) == 14
