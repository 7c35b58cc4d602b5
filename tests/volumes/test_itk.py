"""NRRD and MetaImage files as other programs write them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes import read_grid, read_volume

VALUES = np.random.default_rng(0).normal(100, 20, (3, 4, 5)).astype(np.int16)


def nrrd(path: Path, fields: str, data: bytes) -> Path:
    path.write_bytes(f"NRRD0004\ntype: int16\ndimension: 3\nsizes: 3 4 5\nencoding: raw\n{fields}\n\n".encode() + data)
    return path


@pytest.mark.parametrize(
    ("space", "orientation", "origin"),
    [
        ("left-posterior-superior", "LPS", (-1, -2, 3)),
        ("right-anterior-superior", "RAS", (1, 2, 3)),
        ("left-anterior-superior", "LAS", (-1, 2, 3)),
    ],
)
def test_spaces_of_nrrd(space: str, orientation: str, origin: tuple[int, int, int], tmp_path: Path) -> None:
    fields = f"space: {space}\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\nendian: little"
    path = nrrd(tmp_path / "scan.nrrd", fields, VALUES.astype("<i2").tobytes("F"))
    volume = read_volume(path)
    assert volume.orientation == orientation
    assert volume.spacing == (2.0, 3.0, 4.0)
    np.testing.assert_allclose(volume.affine[:3, 3], origin)
    np.testing.assert_array_equal(volume.data[0], VALUES)
    assert read_grid(path).matches(volume.grid)


def test_big_endian_nrrd(tmp_path: Path) -> None:
    volume = read_volume(nrrd(tmp_path / "scan.nrrd", "endian: big", VALUES.astype(">i2").tobytes("F")))
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(volume.data[0], VALUES)


def test_big_endian_metaimage(tmp_path: Path) -> None:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nElementSpacing = 2 3 4\n"
        "DimSize = 3 4 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "scan.mha").write_bytes(header.encode() + VALUES.astype(">i2").tobytes("F"))
    volume = read_volume(tmp_path / "scan.mha")
    assert volume.data.dtype == np.int16
    assert volume.spacing == (2.0, 3.0, 4.0)
    np.testing.assert_array_equal(volume.data[0], VALUES)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_two_and_four_axes(ending: str, compress: bool, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    flat = sitk.GetImageFromArray(VALUES[:, :, 0].T)
    flat.SetSpacing((2, 3))
    flat.SetOrigin((10, 20))
    sitk.WriteImage(flat, str(path), useCompression=compress)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, VALUES[np.newaxis, :, :, :1])
    np.testing.assert_allclose(volume.affine, [[-2, 0, 0, -10], [0, -3, 0, -20], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert read_grid(path).matches(volume.grid)

    times = [VALUES, VALUES + 1]
    series = sitk.JoinSeries([sitk.GetImageFromArray(values.T) for values in times])
    series.SetSpacing((2, 3, 4, 1.5))
    sitk.WriteImage(series, str(path), useCompression=compress)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, times)
    assert volume.spacing == (2.0, 3.0, 4.0)
    assert "fourth axis" in volume.notes[0]
    assert read_grid(path).matches(volume.grid)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_complex_numbers_and_vectors_in_time_are_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    vector = sitk.GetImageFromArray(np.zeros((5, 4, 3, 2), np.float32), isVector=True)
    sitk.WriteImage(sitk.JoinSeries([vector, vector]), str(path))
    with pytest.raises(ReadError, match=r"scan\.\w+ "):
        read_volume(path)


def test_one_file_per_slice(tmp_path: Path) -> None:
    for k in range(5):
        (tmp_path / f"slice{k}.raw").write_bytes(VALUES[:, :, k].tobytes("F"))
    header = "ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\nElementType = MET_SHORT\nElementDataFile = "
    for files in ("slice%d.raw 0 4 1\n", "LIST\n" + "".join(f"slice{k}.raw\n" for k in range(5))):
        (tmp_path / "scan.mhd").write_text(header + files)
        np.testing.assert_array_equal(read_volume(tmp_path / "scan.mhd").data[0], VALUES)


def test_text_that_ends_within_its_last_number_says_so(tmp_path: Path) -> None:
    numbers = "\n".join(map(str, VALUES.ravel("F"))).encode()
    whole = nrrd(tmp_path / "scan.nrrd", "", b"")
    whole.write_bytes(whole.read_bytes().replace(b"encoding: raw", b"encoding: text") + numbers + b"\n")
    np.testing.assert_array_equal(read_volume(whole).data[0], VALUES)
    assert not read_volume(whole).notes
    (tmp_path / "cut.nrrd").write_bytes(whole.read_bytes()[:-2])
    assert "its last value may lack digits" in read_volume(tmp_path / "cut.nrrd").notes[0]


def test_a_number_of_axes_that_cannot_be_is_refused_before_itk_sees_it(tmp_path: Path) -> None:
    expected = []
    (tmp_path / "scan.raw").write_bytes(bytes(120))
    for number, dimensions in enumerate(["99999999999", "-3", "17", "3.5", "0", "many"]):
        meta, nrrd = tmp_path / f"{number}.mhd", tmp_path / f"{number}.nrrd"
        meta.write_text(f"NDims = {dimensions}\nDimSize = 3 4 5\nElementType = MET_SHORT\nElementDataFile = scan.raw\n")
        text = f"NRRD0004\ntype: int16\ndimension: {dimensions}\nsizes: 3 4 5\nendian: little\nencoding: raw\n\n"
        nrrd.write_bytes(text.encode() + bytes(120))
        expected += [f"{path} names {dimensions} axes, which no image has." for path in (meta, nrrd) for _ in range(2)]
    # In a process of its own: ITK writes past its memory for some of these.
    code = (
        "import sys\nfrom napari_seg3d.errors import ReadError\nfrom napari_seg3d.volumes import read_grid, read_volume\n"
        "for path in sys.argv[1:]:\n  for read in (read_grid, read_volume):\n"
        "    try: read(path)\n    except ReadError as error: print(error.what)"
    )
    paths = [tmp_path / f"{number}{ending}" for number in range(6) for ending in (".mhd", ".nrrd")]
    child = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    assert child.returncode == 0
    assert child.stdout.splitlines() == expected
