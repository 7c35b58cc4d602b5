"""Which entries of a folder are volumes, on files that are what they seem to be, and on some that are not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets.pairing.listing import Listing, list_folder, scan_name, without_pictures
from napari_seg3d.errors import DatasetError, ReadError
from napari_seg3d.volumes import read_volume
from tests.datasets.scans import ball, write_ct, write_radiograph, write_seg
from tests.volumes.dicom.series_writer import write_series

Touch = Callable[..., Path]
STORED = np.arange(3 * 5 * 4, dtype=np.int16).reshape(3, 5, 4)


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_of_slices_is_one_volume_whatever_its_files_are_called(tmp_path: Path) -> None:
    write_series(tmp_path / "s", STORED)
    (tmp_path / "s" / "README").write_text("no slice")
    (tmp_path / "s" / "DICOMDIR.txt").write_text("no slice either")
    assert list_folder(tmp_path / "s") == Listing(dicom=(tmp_path / "s",))
    assert list_folder(tmp_path) == Listing(folders=(tmp_path / "s",))


def test_masks_beside_slices_are_found(tmp_path: Path) -> None:
    files = write_ct(tmp_path / "p1", "A")
    write_seg(tmp_path / "p1" / "0_first.dcm", files, ball())
    (tmp_path / "p1" / "mask.nii.gz").write_bytes(b"only the name matters")
    listing = list_folder(tmp_path / "p1")
    assert listing.dicom == (tmp_path / "p1",)
    assert names(listing.segmentations) == ["0_first.dcm"]
    assert names(listing.files) == ["mask.nii.gz"]
    assert read_volume(tmp_path / "p1", "image").grid.shape == (12, 10, 8)


def test_radiographs_are_a_volume_each_even_in_one_series(tmp_path: Path) -> None:
    pixels = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30)
    for name in ("b", "a.dcm", "1.2.840.77"):
        write_radiograph(tmp_path / name, pixels, "A")
    listing = list_folder(tmp_path)
    assert names(listing.volumes) == ["1.2.840.77", "a.dcm", "b"]
    assert [scan_name(path) for path in listing.volumes] == ["1.2.840.77", "a", "b"]


def test_single_slices_and_files_with_many_frames(tmp_path: Path, shared_data: Path) -> None:
    write_series(tmp_path, STORED[:1], series="1.2.3")
    write_series(tmp_path, STORED[:1], series="1.2.4", order=[7])
    assert len(list_folder(tmp_path).dicom) == 2
    enhanced = list_folder(shared_data / "dicom" / "enhanced")
    assert len(enhanced.dicom) == 6
    assert list_folder(shared_data / "dicom" / "enhanced_siemens_xa_4timepoints").dicom == (
        shared_data / "dicom" / "enhanced_siemens_xa_4timepoints",
    )


def test_two_series_in_one_folder_are_refused_by_whoever_reads_them(tmp_path: Path) -> None:
    write_series(tmp_path / "s", STORED, series="1.2.3", order=[0, 1, 2])
    write_series(tmp_path / "s", STORED, series="1.2.4", order=[3, 4, 5], SeriesDescription="Abdomen")
    assert list_folder(tmp_path / "s").dicom == (tmp_path / "s",)
    with pytest.raises(ReadError, match="2 series.*Thorax.*Abdomen|2 series.*Abdomen.*Thorax"):
        read_volume(tmp_path / "s")


def test_a_damaged_radiograph_is_not_passed_over(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm", np.zeros((8, 8), np.uint16), "A")
    (tmp_path / "b.dcm").write_bytes(b"this was a radiograph")
    (tmp_path / "c.txt").write_text("and this never was")
    assert names(list_folder(tmp_path).dicom) == ["a.dcm", "b.dcm"]


def test_reports_are_no_volumes(tmp_path: Path) -> None:
    write_series(tmp_path, STORED)
    write_series(tmp_path, STORED[:1], series="1.2.9", order=[9], modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    assert list_folder(tmp_path).volumes == (tmp_path,)


def test_an_image_in_several_files_is_listed_once(touch: Touch) -> None:
    root = touch("a.hdr", "a.img", "a.mat", "b.hdr.gz", "b.img.gz", "c.mhd", "c.raw", "other.mat")
    assert names(list_folder(root).files) == ["a.hdr", "b.hdr.gz", "c.mhd", "other.mat"]


def test_a_zarr_is_one_volume_and_is_not_looked_into(touch: Touch) -> None:
    root = touch("scan.ome.zarr/0/0/0.png", "scan.ome.zarr/labels/x.nii.gz", "further/x.nii")
    assert list_folder(root) == Listing(files=(root / "scan.ome.zarr",), folders=(root / "further",))
    assert scan_name(root / "scan.ome.zarr") == "scan"


def test_hidden_entries_are_passed_over(touch: Touch) -> None:
    assert list_folder(touch("._a.nii.gz", ".git/a.nii.gz", ".DS_Store")) == Listing()


def test_a_link_that_leads_nowhere_is_listed_so_that_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert names(list_folder(tmp_path).files) == ["gone.nii.gz"]


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be opened"):
        list_folder(tmp_path / "gone")
    (tmp_path / "closed").mkdir(mode=0)
    try:
        if not os.access(tmp_path / "closed", os.R_OK):  # root may read everything
            with pytest.raises(DatasetError, match="closed cannot be opened"):
                list_folder(tmp_path / "closed")
    finally:
        (tmp_path / "closed").chmod(0o755)


@pytest.mark.parametrize(
    ("listed", "kept"),
    [
        (["a.nii.gz", "a.png", "stats.npy", "x.mat"], ["a.nii.gz"]),
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (["a.dcm", "a_mask.png"], ["a.dcm", "a_mask.png"]),
        (["a.dcm", "a_mask.png", "screenshot.png"], ["a.dcm", "a_mask.png"]),
        (["a.nii.gz", "a_seg.nii.gz", "a_seg.png"], ["a.nii.gz", "a_seg.nii.gz"]),
        (["IM0001", "x.tif"], ["IM0001"]),
    ],
)
def test_screenshots_and_arrays_beside_scans_are_no_scans(listed: list[str], kept: list[str]) -> None:
    assert [path.name for path in without_pictures([Path(name) for name in listed])] == kept


def test_pictures_elsewhere_in_a_data_set_are_none_either() -> None:
    assert without_pictures([Path("overview.png")], beside=[Path("images/a.nii.gz")]) == []
    assert without_pictures([Path("overview.png")], beside=[Path("images/a.png")]) == [Path("overview.png")]
