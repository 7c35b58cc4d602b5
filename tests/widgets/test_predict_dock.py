"""Predictions of overlapping labels in the viewer: a layer each, painted by itself, and saved as one mask."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from napari.layers import Image, Labels

from napari_seg3d.datasets import read_mask
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, load_model, save_model
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.pumping import pump_until

PLUGIN = "napari-seg3d"


def _model(path: Path, labels: dict[int, str], dims: int = 3, **settings: Any) -> Path:
    strides, seen = ((2, 2, 2 if dims == 3 else 1),) * 2, 2 * settings.get("context", 0) + 1
    network = NetworkSpec(dims=dims, in_channels=seen, out_channels=len(labels), features=(4, 8, 16), strides=strides)  # type: ignore[arg-type]
    spec = ModelSpec(
        network=network,
        labels=labels,
        targets="overlapping",
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(8, 8, 8 if dims == 3 else 1),
        **{"mode": "whole"} | settings,
    )
    torch.manual_seed(0)
    save_model(path, spec, build_network(spec.network).state_dict())
    return path


@pytest.fixture
def dock(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy()
    return viewer.window.add_plugin_dock_widget(PLUGIN, "Predict")[1]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    data = np.random.default_rng(0).normal(0, 100, (1, 13, 11, 9)).astype(np.int16)
    affine = np.array([[0, -1.5, 0, 3], [-1, 0, 0, 2], [0, 0, 2, -7], [0, 0, 0, 1.0]])
    return write_volume(Volume(data, affine), tmp_path / "patient7.nii.gz")


def _predict(dock, model: Path) -> list[Labels]:
    dock.add_model(model)
    dock.run_button.click()
    pump_until(lambda: dock._model.job is None, what="the prediction")
    assert dock._model.error is None
    return [layer for layer in dock._viewer.layers if isinstance(layer, Labels)]


def test_overlapping_labels_have_a_layer_each_and_are_saved_as_one_mask(dock, scan: Path, tmp_path: Path) -> None:
    dock._viewer.open(str(scan), plugin=PLUGIN)
    model = _model(tmp_path / "model.pt", {2: "liver", 4: "tumour"})
    expected = Predictor.load(model).predict(read_volume(scan, "image")).labels
    liver, tumour = _predict(dock, model)
    assert [liver.name, tumour.name] == ["patient7 prediction [liver]", "patient7 prediction [tumour]"]
    assert [liver.selected_label, tumour.selected_label] == [2, 4]
    assert list(tumour.features["name"]) == ["background", "tumour"]
    assert "liver" in dock.notice.text()
    assert "ml" in dock.notice.text()
    assert dock.save_button.isEnabled()
    shown = expected.canonical().data.transpose(0, 3, 2, 1)
    assert np.array_equal(liver.data, shown[1])
    assert np.array_equal(tumour.data, shown[3])

    tumour.data_setitem((np.array([2]), np.array([3]), np.array([4])), 4 - tumour.data[2, 3, 4])
    for chosen, name in ((liver, "one.nii.gz"), (tumour, "two.nii.gz")):
        dock.save_to(chosen, tmp_path / name)
        pump_until(lambda: "Saving" not in dock.notice.text(), what="the saved mask")
        saved = read_mask(tmp_path / name, overlapping=True)
        shown[3, 2, 3, 4] = tumour.data[2, 3, 4]
        assert np.array_equal(saved.canonical().data.transpose(0, 3, 2, 1), shown)
        assert np.allclose(saved.affine, expected.affine)
    dock.save_to(tumour, tmp_path / "each.nii.gz", is_per_label=True)
    pump_until(lambda: "Saving" not in dock.notice.text(), what="the saved masks")
    assert sorted(file.name for file in tmp_path.glob("each_*")) == ["each_liver.nii.gz", "each_tumour.nii.gz"]


def test_predicting_again_replaces_the_layers_that_nobody_corrected(dock, scan: Path, tmp_path: Path) -> None:
    dock._viewer.open(str(scan), plugin=PLUGIN)
    model = _model(tmp_path / "model.pt", {1: "liver", 2: "tumour"})
    liver, tumour = _predict(dock, model)
    liver.data_setitem((np.array([2]), np.array([3]), np.array([4])), 1 - liver.data[2, 3, 4])
    again = _predict(dock, model)
    assert liver in again
    assert tumour not in again
    assert len(again) == 3
    dock.save_to(liver, tmp_path / "corrected.nii.gz")
    pump_until(lambda: "Saving" not in dock.notice.text(), what="the saved mask")
    saved = read_volume(tmp_path / "corrected.nii.gz", "labels")
    assert saved.data.shape[0] == 1, "the layer of the first prediction alone"


def test_a_model_is_described_before_it_is_loaded(dock, tmp_path: Path) -> None:
    dock.add_model(_model(tmp_path / "flat.pt", {1: "liver", 2: "tumour"}, dims=2, planes=("axial", "coronal")))
    assert "Finds liver, tumour, which may overlap. Sees whole axial and coronal slices." in dock.about.text()
    assert [dock.choices.modes.itemText(row) for row in range(3)] == [
        "As trained (whole slices)",
        "Whole slices",
        "Patches of slices",
    ]
    dock.choices.modes.setCurrentIndex(2)
    dock.add_model(_model(tmp_path / "deep.pt", {1: "liver"}))
    assert "Finds liver. Sees the whole scan." in dock.about.text()
    assert [dock.choices.modes.itemText(row) for row in range(3)] == ["As trained (whole scan)", "Whole scan", "Patches"]
    assert dock.choices.modes.currentData() == "patches", "the choice stays"
    (tmp_path / "text.pt").write_text("no model")
    dock.add_model(tmp_path / "text.pt")
    assert dock.about.text() == "What it finds is known when it is loaded."
    assert dock.choices.modes.itemText(0) == "As trained"


MODES = [(3, "whole"), (3, "patches"), (2, "whole"), (2, "patches")]


@pytest.mark.slow
@pytest.mark.parametrize(("dims", "mode"), MODES)
def test_every_mode_with_every_choice_from_the_dock(dock, scan: Path, tmp_path: Path, dims: int, mode: str) -> None:
    """What is drawn limits the mask; the maps lie over the scan, and the next prediction replaces them."""
    viewer = dock._viewer
    viewer.open(str(scan), plugin=PLUGIN)
    image = viewer.layers[0]
    model = _model(tmp_path / "model.pt", {1: "liver", 2: "tumour"}, dims)
    whole = np.stack([layer.data > 0 for layer in _predict(dock, model)])

    choices = dock.choices
    choices.modes.setCurrentIndex(choices.modes.findData(mode))
    assert choices.overlap.isEnabled() == choices.blending.isEnabled() == (mode == "patches")
    choices.overlap.setValue(25)
    choices.blending.setCurrentIndex(choices.blending.findData("hann"))
    choices.flips["A"].setChecked(True)
    choices.uncertainty.setChecked(True)
    choices.probabilities.setChecked(True)
    masks = np.stack([layer.data > 0 for layer in _predict(dock, model)])
    assert masks.shape == whole.shape
    maps = {layer.name: layer for layer in viewer.layers if isinstance(layer, Image) and layer.name != image.name}
    assert set(maps) == {
        f"{image.name} {what}"
        for what in ("probability [liver]", "probability [tumour]", "uncertainty [entropy]", "uncertainty [disagreement]")
    }
    for layer in maps.values():
        assert layer.data.shape == image.data.shape
        assert np.allclose(layer.extent.world, image.extent.world)
        assert 0 <= layer.data.min() <= layer.data.max() <= 1
    assert np.array_equal(masks[0], maps[f"{image.name} probability [liver]"].data > 0.5)

    dock.choices.drawRequested.emit()
    shapes = viewer.layers["region"]
    assert choices.region is not None
    dock.run_button.click()
    assert "Nothing is drawn" in dock.notice.text()
    (z0, y0, x0), (_, y1, x1) = image.data_to_world((1, 2, 3)), image.data_to_world((1, 6, 7))
    shapes.add_rectangles(np.array([[z0, y0, x0], [z0, y1, x0], [z0, y1, x1], [z0, y0, x1]]))
    inside = np.zeros(image.data.shape, bool)
    inside[:, 2:7, 3:8] = True
    regional = np.stack([layer.data > 0 for layer in _predict(dock, model)])
    assert not regional[:, ~inside].any()
    assert "by torch" in dock.notice.text() or "by OpenVINO" in dock.notice.text()
    choices.regions.setCurrentIndex(0)
    choices.uncertainty.setChecked(False)
    choices.probabilities.setChecked(False)
    _predict(dock, model)
    assert [layer.name for layer in viewer.layers if isinstance(layer, Image)] == [image.name], "the maps of before are gone"


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"dims": 3, "mode": "patches"},
        {"dims": 2, "planes": ("sagittal",)},
        {"dims": 2, "context": 2},
        {"dims": 2, "planes": ("axial", "coronal", "sagittal")},
    ],
    ids=["patches", "slices", "2.5D", "three planes"],
)
def test_a_sample_is_predicted_in_each_way_and_the_mask_lies_on_it(dock, tmp_path: Path, settings: dict[str, Any]) -> None:
    source = sorted((dataset_folder() / "imagesTs").iterdir())[0]
    viewer = dock._viewer
    viewer.open(str(source), plugin=PLUGIN)
    (image,) = viewer.layers
    model = _model(tmp_path / "model.pt", {1: "liver", 2: "kidneys"}, **settings)
    masks = _predict(dock, model)
    expected = Predictor.load(model).predict(read_volume(source, "image")).labels.canonical().data.transpose(0, 3, 2, 1)
    for channel, mask in enumerate(masks):
        assert np.array_equal(mask.data, expected[channel])
        assert np.allclose(mask.extent.world, image.extent.world)
    dock.save_to(masks[0], tmp_path / "mask.nii.gz")
    pump_until(lambda: "Saving" not in dock.notice.text(), what="the saved mask")
    assert read_mask(tmp_path / "mask.nii.gz", overlapping=True).grid.matches(read_volume(source).grid)


def test_a_region_outside_of_the_scan_is_told(dock, scan: Path, tmp_path: Path) -> None:
    dock._viewer.open(str(scan), plugin=PLUGIN)
    dock.add_model(_model(tmp_path / "model.pt", {1: "liver"}))
    dock.choices.drawRequested.emit()
    dock._viewer.layers["region"].add_rectangles(np.array([[0, 900, 900], [0, 950, 900], [0, 950, 950], [0, 900, 950.0]]))
    dock.run_button.click()
    assert "lies outside of the scan" in dock.notice.text()
    dock._viewer.layers.remove("region")
    assert dock.choices.region is None
    assert dock.choices.regions.count() == 1


def test_a_folder_of_scans_from_the_dock(dock, scan: Path, tmp_path: Path) -> None:
    """All formats; a bad scan is told and the rest goes on; the same again goes on where it stopped; nothing is needed in the viewer."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.nii.gz", "b.nrrd", "c.mha"):
        write_volume(read_volume(scan, "image"), folder / name)
    (folder / "d.nii.gz").write_bytes(b"broken")
    dock.add_model(_model(tmp_path / "model.pt", {1: "liver", 2: "tumour"}))
    panel = dock.folder
    panel.button.click()
    assert "Choose the folder" in panel.notice.text()
    panel.scans.setText(str(folder))
    panel._suggest()
    assert panel.out.text() == str(tmp_path / "scans_masks")
    for _ in range(2):
        panel.button.click()
        assert not dock.run_button.isEnabled()
        assert not panel.button.isEnabled()
        pump_until(lambda: dock._folder_model.job is None, what="the folder")
        assert dock._folder_model.error is None
        assert "3 scans have their masks, 1 could not be predicted" in panel.notice.text()
    told = {panel.table.item(row, 0).text(): panel.table.item(row, 1).text() for row in range(panel.table.rowCount())}
    assert set(told) == {"a", "b", "c", "d"}
    assert "was there" in told["a"]
    assert "liver" in told["b"]
    assert "d.nii.gz" in told["d"]
    assert read_mask(tmp_path / "scans_masks" / "b.nrrd", overlapping=True).data.any()
    assert (tmp_path / "scans_masks" / "predictions.csv").exists()
    assert not [layer.name for layer in dock._viewer.layers]


def test_a_model_that_is_none_is_told(dock, scan: Path, tmp_path: Path) -> None:
    dock._viewer.open(str(scan), plugin=PLUGIN)
    (tmp_path / "folder").mkdir()
    dock.add_model(tmp_path / "folder")
    assert "when it is loaded" in dock.about.text()
    dock.run_button.click()
    pump_until(lambda: dock._model.job is None, what="the prediction")
    assert dock._model.error is not None
    assert dock.notice.text()


def test_models_answer_together(dock, scan: Path, tmp_path: Path) -> None:
    viewer = dock._viewer
    viewer.open(str(scan), plugin=PLUGIN)
    first, second = _model(tmp_path / "a.pt", {1: "liver", 2: "tumour"}), tmp_path / "b.pt"
    spec = load_model(first).spec
    torch.manual_seed(1)
    save_model(second, spec, build_network(spec.network).state_dict())
    dock.add_model(second)
    dock.add_model(first)
    assert dock.choices.partners.text() == "no other model"
    offered = {action.text(): action for action in dock.choices._partner_menu.actions()}
    assert "b.pt" in offered
    assert "a.pt" not in offered
    offered["b.pt"].setChecked(True)
    assert dock.choices.partners.text() == "b.pt"
    dock.choices.uncertainty.setChecked(True)
    dock.choices.probabilities.setChecked(True)
    dock.run_button.click()
    pump_until(lambda: dock._model.job is None, what="the prediction")
    assert dock._model.error is None
    options = PredictOptions(probabilities=True)
    each = [Predictor.load(model, "cpu").predict(read_volume(scan, "image"), options).probabilities for model in (first, second)]
    mean = np.mean([one.data for one in each if one is not None], axis=0)
    name = viewer.layers[0].name
    shown = viewer.layers[f"{name} probability [liver]"].data
    assert np.isclose(np.sort(shown.ravel()), np.sort(mean[0].ravel()), atol=1e-5).all()
    assert viewer.layers[f"{name} uncertainty [disagreement]"].data.max() > 0


def test_the_memory_that_is_needed_is_told_before_the_start(dock, scan: Path, tmp_path: Path, monkeypatch) -> None:
    dock._viewer.open(str(scan), plugin=PLUGIN)
    assert dock.memory.text() == "", "no model, nothing to plan"
    dock.add_model(_model(tmp_path / "model.pt", {1: "liver", 2: "tumour"}))
    before = dock.memory.text()
    assert re.fullmatch(r"Needs about \d+ [MG]B of memory; [\d.]+ [MG]B are free\.", before)
    monkeypatch.setattr("napari_seg3d.widgets.predict.free_memory", lambda: 1)
    dock.choices.probabilities.setChecked(True)
    assert "0 MB are free: choose patches as the mode" in dock.memory.text()


def test_a_model_that_was_deleted_is_told_and_not_predicted_with(dock, scan: Path, tmp_path: Path) -> None:
    dock._viewer.open(str(scan), plugin=PLUGIN)
    model = _model(tmp_path / "model.pt", {1: "liver"})
    dock.add_model(model)
    assert dock.run_button.isEnabled()
    model.unlink()
    dock._viewer.layers.selection.clear()
    assert not dock.run_button.isEnabled()
    assert "was deleted or moved" in dock.about.text()


def test_a_dock_that_is_opened_again_shows_the_last_result(dock, scan: Path, tmp_path: Path) -> None:
    dock._viewer.open(str(scan), plugin=PLUGIN)
    (mask,) = _predict(dock, _model(tmp_path / "model.pt", {1: "liver"}))
    told = dock.notice.text()
    again = type(dock)(dock._viewer)
    assert "ml" in told
    assert again.notice.text() == told
    dock._viewer.layers.remove(mask)
    assert type(dock)(dock._viewer).notice.text() == "", "its layer is gone"
