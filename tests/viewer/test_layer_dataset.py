"""What is open in the viewer as a data set on disk."""

from pathlib import Path

import numpy as np
import pytest

from napari_seg3d.datasets import check_dataset, open_dataset, read_case_image, read_case_mask
from napari_seg3d.errors import Cancelled, DatasetError, GeometryError, WriteError
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.viewer.layer_dataset import LayerPair, dataset_from_layers
from napari_seg3d.volumes import read_volume

_SCANS = sorted((dataset_folder() / "imagesTr").glob("*.nii.gz"))
_STRAIGHT = [path for path in _SCANS if (np.abs(read_volume(path).affine[:3, :3]) > 1e-6).sum() == 3]
#: A straight scan to draw on (the first one gives the frame of the viewer), another, and an oblique one.
IMAGES = [*_STRAIGHT[:2], next(path for path in _SCANS if path not in _STRAIGHT)]


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def layers(viewer):
    """Three scans: on the first a mask drawn with napari's own button, none on the second, on the third that of its file."""
    images = [viewer.open(str(path), plugin="napari-seg3d")[0] for path in IMAGES]
    (mask,) = viewer.open(str(IMAGES[2].parents[1] / "labelsTr" / IMAGES[2].name), plugin="napari-seg3d")
    drawn = viewer.add_labels(
        np.zeros(images[0].data.shape, np.uint8),
        name="Labels",
        scale=images[0].scale,
        translate=images[0].translate,
        units=images[0].units,
    )
    drawn.data[3:6, 4:8, 5:9] = 9
    return [LayerPair(images[0], drawn), LayerPair(images[1], None), LayerPair(images[2], mask)]


def test_layers_become_a_data_set_that_can_move_and_be_trained_on(layers, tmp_path):
    told = []
    dataset = dataset_from_layers(layers, tmp_path / "mine", progress=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert dataset.name == "mine"
    assert dataset.file == tmp_path / "mine" / "dataset.yaml"
    (tmp_path / "mine").rename(tmp_path / "moved")
    dataset = open_dataset(tmp_path / "moved")
    by_image = [dataset.case(pair.image.name) for pair in layers]
    for path, case in zip(IMAGES, by_image, strict=True):
        assert case.images[0].name == path.name
        image, source = read_case_image(case), read_volume(path)
        assert np.array_equal(image.data, source.data)
        assert np.array_equal(image.affine, source.affine)
    drawn, bare, oblique = by_image
    truth = read_volume(IMAGES[2].parents[1] / "labelsTr" / IMAGES[2].name)
    assert np.array_equal(read_case_mask(oblique, read_case_image(oblique)).data, truth.data)
    marked = read_case_mask(drawn, read_case_image(drawn))
    assert np.array_equal(np.unique(marked.data), [0, 9])
    shown = np.transpose(marked.canonical().data[0], (2, 1, 0))
    assert np.array_equal(shown == 9, layers[0].mask.data == 9)
    assert bare.mask is None
    assert set(dataset.labels) == {*np.unique(truth.data).tolist(), 9} - {0}
    assert {case.id for case in check_dataset(dataset).sound} == {drawn.id, oblique.id}


def test_it_is_written_whole_or_not_at_all_and_over_nothing(layers, tmp_path):
    asked = []
    with pytest.raises(Cancelled):
        dataset_from_layers(layers, tmp_path / "a", lambda done, _: asked.append(done), lambda: len(asked) == 1)
    with pytest.raises(GeometryError, match="another grid"):
        dataset_from_layers([LayerPair(layers[1].image, layers[2].mask)], tmp_path / "a")
    with pytest.raises(DatasetError, match="no image"):
        dataset_from_layers([], tmp_path / "a")
    with pytest.raises(DatasetError, match="twice"):
        dataset_from_layers([layers[0], layers[0]], tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    layers[0].image.name, layers[1].image.name = "a scan: [1]", "a/scan/1"
    dataset = dataset_from_layers(layers[:2], tmp_path / "a")
    assert [case.id for case in dataset.cases] == ["a_scan_1", "a_scan_1_2"]
    with pytest.raises(WriteError, match="holds something already"):
        dataset_from_layers(layers, tmp_path / "a")
    assert Path(tmp_path / "a" / "dataset.yaml").is_file()
