from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets import check_dataset, open_dataset
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.sample_data.make_phantoms import TEST, TRAINING, make_phantom, make_phantoms
from napari_seg3d.volumes import read_grid, read_volume


@pytest.mark.slow
def test_the_script_makes_the_files_that_are_here(tmp_path: Path) -> None:
    make_phantoms(tmp_path)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {path.relative_to(dataset_folder()) for path in dataset_folder().rglob("*") if path.is_file()}
    for path in made:
        if path.suffix == ".json":
            assert (tmp_path / path).read_text() == (dataset_folder() / path).read_text()
            continue
        new, here = read_volume(tmp_path / path), read_volume(dataset_folder() / path)
        assert new.grid.matches(here.grid)
        # Another processor may round a sine the other way at a border.
        assert np.mean(new.data != here.data) < 1e-3, path


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in dataset_folder().rglob("*") if path.is_file()) < 2_000_000


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
