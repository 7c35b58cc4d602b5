"""Open and save through napari itself."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager

from napari_seg3d.errors import ReadError
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.viewer.layers import native_of
from napari_seg3d.viewer.reader import read
from napari_seg3d.volumes import read_volume, write_volume

PLUGIN = "napari-seg3d"
CASES = sorted((dataset_folder() / "imagesTr").glob("*.nii.gz"))


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


def _mask_of(image: Path) -> Path:
    return image.parents[1] / "labelsTr" / image.name


def test_a_scan_lies_right_and_a_mask_opens_as_labels(viewer):
    (image,) = viewer.open(str(CASES[0]), plugin=PLUGIN)
    (mask,) = viewer.open(str(_mask_of(CASES[0])), plugin=PLUGIN)
    volume = read_volume(CASES[0])
    assert isinstance(image, Image)
    assert isinstance(mask, Labels)
    assert viewer.scene.camera.orientation2d == ("up", "left")
    assert viewer.canvas.overlays.scale_bar.visible
    assert np.allclose(image.scale, volume.grid.canonical().spacing[::-1])
    assert np.allclose(image.scale, mask.scale)
    assert np.allclose(image.translate, mask.translate)
    assert all(f"{unit:~}" == "mm" for unit in image.units)
    # The middle slice, not the first, which is air.
    middle = image.data.shape[0] // 2
    assert abs(viewer.dims.current_step[0] - middle) <= 1


def test_the_axes_of_the_screen_are_those_of_a_radiologist(viewer):
    """The liver lies on the patient's right: on the left of the screen; further up is the patient's front."""
    case = CASES[0]
    (mask,) = viewer.open(str(_mask_of(case)), plugin=PLUGIN)
    liver = np.argwhere(mask.data == 1).mean(axis=0)
    middle = (np.array(mask.data.shape) - 1) / 2
    assert liver[2] > middle[2], "x grows to the patient's right"
    # camera.orientation2d says that y grows upwards and x to the left: right is left, front is up.
    assert viewer.scene.camera.orientation2d == ("up", "left")


@pytest.mark.parametrize("case", CASES[:8], ids=lambda path: path.name[:12])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_painted_mask_is_saved_onto_the_scan(viewer, case, ending, tmp_path):
    viewer.open(str(case), plugin=PLUGIN)
    (mask,) = viewer.open(str(_mask_of(case)), plugin=PLUGIN)
    where = tuple(size // 3 for size in mask.data.shape)
    mask.data_setitem(tuple(np.array([index]) for index in where), 2)
    saved = mask.save(str(tmp_path / f"painted{ending}"), plugin=PLUGIN)
    written = read_volume(saved[0], "labels")
    assert written.grid.matches(read_volume(case).grid)
    assert np.array_equal(written.canonical().data[0].transpose(2, 1, 0), mask.data)


def test_a_mask_from_napari_takes_the_grid_of_the_scan_below(viewer, tmp_path):
    (image,) = viewer.open(str(CASES[1]), plugin=PLUGIN)
    drawn = viewer.add_labels(np.zeros(image.data.shape, np.uint8), scale=image.scale, translate=image.translate)
    drawn.data[3, 4, 5] = 1
    viewer.layers.selection.active = drawn
    (path,) = viewer.layers.save(str(tmp_path / "drawn.nii.gz"), selected=True, plugin=PLUGIN)
    saved = read_volume(path, "labels")
    assert saved.grid.matches(read_volume(CASES[1]).grid)
    assert np.array_equal(np.argwhere(saved.canonical().data[0]), [[5, 4, 3]])


@pytest.fixture
def messages():
    """What napari told the user since the test began."""
    notification_manager.records.clear()
    return lambda: [record.message for record in notification_manager.records]


@pytest.mark.parametrize("spoil", [lambda content: content[: len(content) // 2], lambda _content: b"no scan at all"])
def test_a_bad_file_is_one_message_and_no_layer(viewer, messages, spoil, tmp_path):
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(spoil(CASES[0].read_bytes()))
    assert viewer.open(str(path), plugin=PLUGIN) == []
    (message,) = messages()
    assert message.startswith("bad.nii.gz ")  # not the folders in front of it: a notification shows little more
    assert len(viewer.layers) == 0


def test_one_bad_file_among_several_leaves_none(viewer, messages, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan at all")
    viewer.open([str(CASES[0]), str(bad)], stack=True, plugin=PLUGIN)
    assert len(viewer.layers) == 0
    assert len(messages()) == 1


def test_without_a_viewer_a_bad_file_raises(tmp_path):
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan at all")
    with pytest.raises(ReadError, match=r"bad\.nii\.gz"):
        read(str(tmp_path / "bad.nii.gz"))


def test_the_source_is_never_overwritten(viewer, tmp_path):
    copy = write_volume(read_volume(CASES[0]), tmp_path / "scan.nii.gz")
    before = copy.read_bytes()
    (image,) = viewer.open(str(copy), plugin=PLUGIN)
    with pytest.raises(Exception, match="never overwritten"):
        image.save(str(copy), plugin=PLUGIN)
    assert copy.read_bytes() == before


def test_the_sample_opens_with_its_mask(viewer):
    image, mask = viewer.open_sample(PLUGIN, "phantom")
    assert isinstance(image, Image)
    assert isinstance(mask, Labels)
    assert native_of(image).grid.matches(native_of(mask).grid)


def test_the_manifest_is_valid():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution(PLUGIN)
    manifest.validate_imports()
    names = [widget.display_name for widget in manifest.contributions.widgets]
    assert names == ["Scans", "Look", "Data", "Transforms", "Train", "Runs", "Predict", "Correct", "Review", "Measure"]


def test_real_scans_of_every_order_look_the_same(viewer, shared_data):
    seen = [viewer.open(str(path), plugin=PLUGIN)[0] for path in sorted((shared_data / "orient48").glob("*.nii.gz"))]
    assert len(seen) == 12
    for layer in seen[1:]:
        assert np.array_equal(layer.data, seen[0].data)
        assert np.allclose(layer.scale, seen[0].scale)
        assert np.allclose(layer.translate, seen[0].translate)


def test_an_ome_zarr_is_looked_at_without_being_read(viewer, tmp_path):
    whole = np.arange(24 * 40 * 44, dtype=np.uint16).reshape(24, 40, 44)
    group = zarr.open_group(str(tmp_path / "scan.zarr"), mode="w", zarr_format=2)
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    levels = []
    for level, step in enumerate((1, 2)):
        group.create_array(str(level), data=whole[:, ::step, ::step], chunks=(8, 16, 16))
        scale = {"type": "scale", "scale": [3.0, 0.5 * step, 0.5 * step]}
        levels.append({"path": str(level), "coordinateTransformations": [scale]})
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    (layer,) = viewer.open(str(tmp_path / "scan.zarr"), plugin=PLUGIN)
    assert layer.multiscale
    assert [type(level).__module__.split(".")[0] for level in layer.data] == ["dask", "dask"]
    assert np.allclose(layer.scale, (3, 0.5, 0.5))
    # As it is stored: the first row on top, the first column on the left, where the display has y up and x to the left.
    assert np.array_equal(np.asarray(layer.data[0])[:, ::-1, ::-1], whole)
    saved = layer.save(str(tmp_path / "copy.nii.gz"), plugin=PLUGIN)
    assert np.array_equal(read_volume(saved[0]).data[0].T, whole)
