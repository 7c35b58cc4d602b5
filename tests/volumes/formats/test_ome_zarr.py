"""OME-Zarr, written by zarr and read by us."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError, Seg3dError
from napari_seg3d.volumes import Label, is_volume_path, open_pyramid, read_grid, read_volume, recognise

Z, Y, X = 6, 7, 8
STACK = np.random.default_rng(0).integers(1, 60000, (Z, Y, X)).astype(np.uint16)
VERSIONS = ["0.4", "0.5"]


def axes_of(names: str, unit: str | None = "micrometer", orientations: dict[str, str] | None = None) -> list[dict[str, Any]]:
    kinds = {"t": "time", "c": "channel"}
    axes: list[dict[str, Any]] = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    for axis in axes:
        if axis["type"] == "space" and unit is not None:
            axis["unit"] = unit
        if orientations and axis["name"] in orientations:
            axis["orientation"] = {"type": "anatomical", "value": orientations[axis["name"]]}
    return axes


def save(
    path: Path,
    levels: list[NDArray[np.generic]],
    axes: list[dict[str, Any]],
    transforms: list[list[dict[str, Any]]],
    version: str = "0.4",
    whole: list[dict[str, Any]] | None = None,
    **more: object,
) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    for number, level in enumerate(levels):
        stored = group.create_array(
            str(number), shape=level.shape, dtype=level.dtype, chunks=tuple(min(4, n) for n in level.shape)
        )
        stored[...] = level
    datasets = [{"path": str(number), "coordinateTransformations": one} for number, one in enumerate(transforms)]
    multiscale: dict[str, Any] = {"axes": axes, "datasets": datasets}
    if whole is not None:
        multiscale["coordinateTransformations"] = whole
    content = {"multiscales": [{**multiscale, "version": version}], **more}
    group.attrs.update(content if version == "0.4" else {"ome": {"version": version, **content}})
    return path


def scale(*factors: float) -> dict[str, Any]:
    return {"type": "scale", "scale": list(factors)}


def shift(*by: float) -> dict[str, Any]:
    return {"type": "translation", "translation": list(by)}


@pytest.mark.parametrize("version", VERSIONS)
def test_levels_units_and_transformations(version: str, tmp_path: Path) -> None:
    levels = [STACK, STACK[::2, ::2, ::2]]
    transforms = [[scale(3, 2, 1), shift(30, 20, 10)], [scale(6, 4, 2), shift(31.5, 21, 10.5)]]
    path = save(
        tmp_path / "scan.ome.zarr", levels, axes_of("zyx"), transforms, version, [scale(1000, 1000, 1000), shift(0, 0, 5000)]
    )
    assert is_volume_path(path)
    pyramid = open_pyramid(path)
    assert [level.data.shape for level in pyramid.levels] == [(1, X, Y, Z), (1, X // 2, Y // 2 + 1, Z // 2)]
    for level, stored in zip(pyramid.levels, levels, strict=True):
        np.testing.assert_array_equal(level.data[0].compute(), stored.transpose(2, 1, 0))
    # From micrometres to mm; x to the left and y to posterior, as it is stored.
    np.testing.assert_allclose(pyramid.levels[0].affine @ (1, 1, 1, 1), (-(1 + 10 + 5), -(2 + 20), 3 + 30, 1))
    np.testing.assert_allclose(pyramid.levels[1].affine @ (0, 0, 0, 1), (-(10.5 + 5), -21, 31.5, 1))
    assert not pyramid.is_oriented
    assert any("left and right" in note for note in pyramid.notes)

    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data[0], STACK.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, pyramid.levels[0].affine)
    assert volume.spacing == (1, 2, 3)
    assert read_grid(path).matches(volume.grid)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]], "0.5")
    shutil.rmtree(path / "0" / "c" / "1")
    lazy = open_pyramid(path).levels[0].data
    np.testing.assert_array_equal(lazy[0, :, :, :4].compute(), STACK[:4].transpose(2, 1, 0))
    assert (lazy[0, :, :, 4:].compute() == 0).all()
    assert any("4 of 8 blocks are not stored" in note for note in read_volume(path).notes)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("names", "fourth"), [("czyx", "channel"), ("tzyx", "time"), ("tczyx", "channel"), ("zcyx", "channel"), ("cyx", "channel")]
)
def test_channels_and_time(names: str, fourth: str, version: str, tmp_path: Path) -> None:
    sizes = {"t": 3 if fourth == "time" else 1, "c": 2, "z": Z, "y": Y, "x": X}
    data = np.random.default_rng(1).normal(0, 1, [sizes[name] for name in names]).astype(np.float32)
    omero = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    path = save(tmp_path / "scan.zarr", [data], axes_of(names), [[scale(*[1.0] * len(names))]], version, omero=omero)
    volume = read_volume(path)
    index = tuple(0 if name in "tc" and sizes[name] == 1 else slice(None) for name in names)
    kept = "".join(name for name in names if not (name in "tc" and sizes[name] == 1))
    expected = data[index].transpose([kept.index(name) for name in "tcxyz" if name in kept])
    np.testing.assert_array_equal(volume.data, expected if "z" in names else expected[..., np.newaxis])
    assert volume.fourth == fourth
    assert volume.channels == (("DAPI", "GFP") if fourth == "channel" else ())
    assert any(("time" if fourth == "time" else "channels") in note for note in volume.notes)
    np.testing.assert_array_equal(open_pyramid(path).levels[0].data.compute(), volume.data)


def test_time_and_channels_are_too_much(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.zarr", [np.zeros((3, 2, Z, Y, X), np.uint8)], axes_of("tczyx"), [[scale(1, 1, 1, 1, 1)]])
    for read in (open_pyramid, read_volume):
        with pytest.raises(ReadError, match=r"t \(3\), c \(2\)"):
            read(path)


@pytest.mark.parametrize("unit", [None, "furlong"])
def test_a_size_without_a_unit_is_said(unit: str | None, tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "scan.zarr", [STACK], axes_of("zyx", unit), [[scale(3, 2, 1)]]))
    assert volume.spacing == (1, 2, 3)
    assert any("without a unit" in note for note in volume.notes)


def test_anatomical_orientation(tmp_path: Path) -> None:
    directions = {"z": "superior-to-inferior", "y": "posterior-to-anterior", "x": "right-to-left"}
    transforms = [[scale(3, 2, 1), shift(30, 20, 10)]]
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx", "millimeter", directions), transforms, "0.5")
    volume = read_volume(path)
    assert volume.is_oriented
    assert volume.orientation == "LAI"
    np.testing.assert_allclose(volume.affine @ (1, 2, 3, 1), (-11, 24, -39, 1))
    assert open_pyramid(path).is_oriented
    assert not volume.notes

    sagittal = {"z": "left-to-right", "y": "superior-to-inferior", "x": "anterior-to-posterior"}
    volume = read_volume(save(tmp_path / "other.zarr", [STACK], axes_of("zyx", "millimeter", sagittal), transforms, "0.5"))
    assert volume.orientation == "PIR"
    np.testing.assert_allclose(volume.affine @ (1, 2, 3, 1), (39, -11, -24, 1))


def test_directions_that_do_not_span_a_space_are_no_orientation(tmp_path: Path) -> None:
    wrong = {"z": "left-to-right", "y": "right-to-left", "x": "anterior-to-posterior"}
    assert not read_volume(
        save(tmp_path / "scan.zarr", [STACK], axes_of("zyx", "millimeter", wrong), [[scale(1, 1, 1)]])
    ).is_oriented


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_inside_an_image(version: str, tmp_path: Path) -> None:
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]], version)
    group = zarr.open_group(path / "labels", mode="w", zarr_format=2 if version == "0.4" else 3)
    listed = {"labels": ["liver", "../../elsewhere"]}
    group.attrs.update(listed if version == "0.4" else {"ome": listed})
    mask = (STACK > 30000).astype(np.int32) * 5
    about = {
        "colors": [{"label-value": 5, "rgba": [255, 128, 0, 255]}, {"label-value": 0, "rgba": [0, 0, 0, 0]}],
        "properties": [{"label-value": 5, "name": "Liver"}],
    }
    save(path / "labels" / "liver", [mask], axes_of("zyx"), [[scale(1, 1, 1)]], version, **{"image-label": about})
    image = open_pyramid(path)
    assert not image.is_labels
    assert image.label_paths == (path / "labels" / "liver",)
    labels = open_pyramid(image.label_paths[0])
    assert labels.is_labels
    assert labels.labels == {5: Label("Liver", "#ff8000")}
    for volume in (read_volume(path / "labels" / "liver"), read_volume(path, variable="liver")):
        assert volume.kind == "labels"
        np.testing.assert_array_equal(volume.data[0], mask.transpose(2, 1, 0))
        assert volume.labels == {5: Label("Liver", "#ff8000")}
    with pytest.raises(ReadError, match="no labels spleen"):
        read_volume(path, variable="spleen")


def test_the_first_of_several_images(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "scan.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for number in range(2):
        save(tmp_path / "scan.zarr" / str(number), [STACK + number], axes_of("zyx"), [[scale(1, 1, 1)]])
    volume = read_volume(tmp_path / "scan.zarr")
    np.testing.assert_array_equal(volume.data[0], STACK.transpose(2, 1, 0))
    assert any("2 images" in note for note in volume.notes)


def test_shards_and_codecs(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]], "0.5")
    for compressor in (zarr.codecs.GzipCodec(), zarr.codecs.BloscCodec(), zarr.codecs.ZstdCodec(checksum=True)):
        stored = zarr.create_array(
            path / "0",
            shape=STACK.shape,
            dtype=STACK.dtype,
            chunks=(2, 2, 2),
            shards=(6, 8, 8),
            compressors=compressor,
            overwrite=True,
        )
        stored[...] = STACK
        np.testing.assert_array_equal(read_volume(path).data[0], STACK.transpose(2, 1, 0))


def test_programs_in_an_array_are_never_run(tmp_path: Path) -> None:
    class Shell:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'stolen'}",)

    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]])
    content = json.loads((path / "0" / ".zarray").read_text())
    pickled = numcodecs.Pickle().encode(np.array([Shell()], dtype=object))
    for change in (
        {"filters": [{"id": "pickle", "protocol": 5}], "dtype": "|O"},
        {"compressor": {"id": "pickle"}},
        {"dtype": "|O"},
    ):
        (path / "0" / ".zarray").write_text(json.dumps({**content, **change}))
        for block in (path / "0").glob("[0-9]*"):
            block.write_bytes(pickled)
        with pytest.raises(ReadError, match="not trusted"):
            read_volume(path)
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize("name", ["../other.zarr/0", "/etc", "..", ""])
def test_arrays_outside_the_folder_are_not_read(name: str, tmp_path: Path) -> None:
    save(tmp_path / "other.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]])
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]])
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["datasets"][0]["path"] = name
    (path / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(ReadError, match="outside its own folder"):
        open_pyramid(path)


def test_an_image_larger_than_memory_opens_and_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]], "0.5")
    zarr.create_array(path / "0", shape=(10_000, 10_000, 10_000), dtype="u2", chunks=(64, 64, 64), overwrite=True)
    pyramid = open_pyramid(path)
    assert pyramid.levels[0].data.shape == (1, 10_000, 10_000, 10_000)
    assert (pyramid.levels[0].data[0, :8, :8, :8].compute() == 0).all()
    with pytest.raises(ReadError, match=r"2000\.0 GB"):
        read_volume(path)


def test_a_block_of_terabytes_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]], "0.5")
    zarr.create_array(path / "0", shape=(50_000, 50_000, 50_000), dtype="u2", chunks=(50_000, 50_000, 50_000), overwrite=True)
    with pytest.raises(ReadError, match="does not fit into memory"):
        open_pyramid(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_damaged_metadata_and_blocks_never_crash(version: str, tmp_path: Path) -> None:
    path = save(tmp_path / "scan.zarr", [STACK], axes_of("zyx"), [[scale(1, 1, 1)]], version)
    random = np.random.default_rng(0)
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        whole = file.read_bytes()
        for _ in range(12):
            damaged = bytearray(whole)
            damaged[random.integers(0, len(whole))] ^= 1 << random.integers(0, 8)
            file.write_bytes(damaged if random.random() < 0.7 else damaged[: random.integers(0, len(whole))])
            try:
                read_volume(path)
            except Seg3dError as error:
                assert str(path) in error.what  # noqa: PT017
        file.write_bytes(whole)


def test_what_is_no_image(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    with pytest.raises(ReadError, match=r"group\.zarr"):
        open_pyramid(tmp_path / "group.zarr")
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    plate.attrs["plate"] = {}
    assert recognise(tmp_path / "plate.zarr") is not None
    with pytest.raises(ReadError, match="plate of many images"):
        read_volume(tmp_path / "plate.zarr")
    with pytest.raises(ReadError):
        open_pyramid(tmp_path / "nothing.zarr")
