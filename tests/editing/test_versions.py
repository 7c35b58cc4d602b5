"""Versions of a mask: each a file of its own, readable by a person, on the grid of the mask; no data set takes them for scans."""

import json
from datetime import UTC, datetime, timedelta

import nibabel
import numpy as np
import pytest

from napari_seg3d.datasets import open_dataset
from napari_seg3d.editing.versions import list_versions, read_version, save_version, versions_beside
from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import Label, Volume, read_volume, write_volume

_AFFINE = np.array([[-0.7, 0.1, 0, 12], [0.1, 0.7, 0, -30], [0, 0, 3, 7], [0, 0, 0, 1.0]])


@pytest.fixture
def mask() -> Volume:
    data = np.zeros((1, 8, 9, 5), np.uint8)
    data[0, 2:5, 3:6, 1:4] = 2
    return Volume(data, _AFFINE, "labels", labels={2: Label("liver")})


def test_each_version_is_kept_with_who_when_and_how(mask, tmp_path):
    folder = tmp_path / "case 1"
    first = save_version(folder, mask, "Anna Ö.", ["brush", "smooth"], "first look – left lobe")
    changed = mask.with_data(np.where(mask.data == 2, 1, mask.data))
    second = save_version(folder, changed, "Anna Ö.")
    third = save_version(folder, mask, "../../etc/passwd")
    found = list_versions(folder)
    assert [one.path for one in found] == [first.path, second.path, third.path]
    assert [one.path.parent for one in found] == [folder] * 3
    assert found[0] == first
    assert (found[0].author, found[0].tools, found[0].comment) == ("Anna Ö.", ("brush", "smooth"), "first look – left lobe")
    assert found[0].voxels == {2: 27}
    assert abs(found[0].time - datetime.now(UTC)) < timedelta(minutes=1)
    assert np.array_equal(read_version(found[1]).data, changed.data)
    assert read_version(found[0]).grid.matches(mask.grid)
    # Another program reads the mask, and a person the notes.
    assert np.array_equal(np.asarray(nibabel.load(first.path).dataobj), mask.data[0])
    notes = first.path.with_name(first.path.name.replace(".nii.gz", ".json")).read_text(encoding="utf-8")
    assert "first look – left lobe" in notes
    assert json.loads(notes)["author"] == "Anna Ö."


def test_the_source_is_never_written_over(mask, tmp_path):
    source = write_volume(mask, tmp_path / "liver.nii.gz")
    before = source.read_bytes()
    read = read_volume(source)
    for _ in range(3):
        version = save_version(versions_beside(source), read, "anna")
        assert version.path != source
    assert source.read_bytes() == before
    assert len(list_versions(versions_beside(source))) == 3


def test_masks_without_notes_are_versions_too(mask, tmp_path):
    write_volume(mask, tmp_path / "20200102-030405-bob-2.nii.gz")
    write_volume(mask, tmp_path / "from a mail.nii.gz")
    write_volume(mask, tmp_path / "20209999-030405-bob.nii.gz")
    broken = save_version(tmp_path, mask, "carla")
    broken.path.with_name(broken.path.name.replace(".nii.gz", ".json")).write_text("{not json")
    found = {one.path.name: one for one in list_versions(tmp_path)}
    assert len(found) == 4
    assert found["20200102-030405-bob-2.nii.gz"].author == "bob"
    assert found["20200102-030405-bob-2.nii.gz"].time == datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found["from a mail.nii.gz"].author == ""
    assert found[broken.path.name].author == "carla"
    assert np.array_equal(read_version(found["from a mail.nii.gz"]).data, mask.data)


def test_no_data_set_takes_versions_for_scans(mask, tmp_path):
    for number in range(2):
        write_volume(Volume(np.zeros((1, 8, 9, 5), np.float32), _AFFINE, "image"), tmp_path / "images" / f"case_{number}.nii.gz")
        path = write_volume(mask, tmp_path / "labels" / f"case_{number}.nii.gz")
        save_version(versions_beside(path), mask, "anna")
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["case_0", "case_1"]
    assert not dataset.problems


def test_a_version_that_is_gone(mask, tmp_path):
    assert list_versions(tmp_path / "nowhere") == []
    version = save_version(tmp_path, mask, "anna")
    version.path.unlink()
    with pytest.raises(ReadError, match="not there any more"):
        read_version(version)
