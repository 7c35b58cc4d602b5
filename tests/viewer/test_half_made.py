"""A mask shows with its first part, fills while the network goes on, and goes with the prediction or the scan that it belongs to."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from napari.layers import Image, Labels

from napari_seg3d.errors import ModelError
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, save_model
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume
from tests.pumping import pump, pump_until

AFFINE = np.array([[0, -1.5, 0, 3], [-1, 0, 0, 2], [0, 0, 2, -7], [0, 0, 0, 1.0]])
MADE = "patient7 prediction (being made)"


def _model(path: Path, labels: dict[int, str], targets: str = "exclusive") -> Path:
    channels = len(labels) + (targets == "exclusive")
    spec = ModelSpec(
        network=NetworkSpec(out_channels=channels, features=(4, 8, 16), strides=((2, 2, 2), (2, 2, 2))),
        labels=labels,
        targets=targets,  # type: ignore[arg-type]
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(8, 8, 8),
        mode="patches",
    )
    torch.manual_seed(0)
    save_model(path, spec, build_network(spec.network).state_dict())
    return path


class Room:
    """A viewer with a scan, and a network that sees a window only when it is let."""

    def __init__(self, viewer, model: Path, times: int = 1) -> None:
        data = np.random.default_rng(0).normal(0, 100, (times, 40, 11, 9)).astype(np.int16)
        self.scan = Volume(data, AFFINE, fourth="time" if times > 1 else "channel")
        self.viewer, self.model = viewer, model
        ((shown, settings, _),) = layer_data(self.scan, "patient7")
        self.image: Image = viewer.add_image(shown, **settings)
        self.prediction = session_of(viewer).prediction
        self.stage = session_of(viewer).stage
        self.error: Exception | None = None
        self._windows = threading.Semaphore(0)
        predictor = self.prediction.predictor([model], "torch")
        assert isinstance(predictor, Predictor)
        predictor.network.register_forward_pre_hook(self._wait)

    def _wait(self, _network, _images) -> None:
        assert self._windows.acquire(timeout=60)
        if self.error is not None:
            raise self.error

    def begin(self) -> list[Labels]:
        """Predict until the first part is there; return its layers."""
        self.prediction.predict([self.model], self.image, PredictOptions(), engine="torch")
        pump_until(lambda: self._windows.release() or self.made, what="the first part")
        return self.made

    def end(self) -> list[Labels]:
        """Let the network see everything; return the masks that there are."""
        self._windows.release(1000)
        pump_until(lambda: self.prediction.job is None, what="the end")
        return self.masks

    @property
    def masks(self) -> list[Labels]:
        return [layer for layer in self.viewer.layers if isinstance(layer, Labels)]

    @property
    def made(self) -> list[Labels]:
        return [layer for layer in self.masks if layer.name.startswith(MADE)]


@pytest.fixture
def room(make_napari_viewer, tmp_path: Path):
    room = Room(make_napari_viewer(), _model(tmp_path / "model.pt", {2: "liver", 5: "tumour"}))
    yield room
    room.end()


def _expected(model: Path, scan: Volume) -> np.ndarray:
    """Return what the layers of a prediction show, ``(C, z, y, x)``."""
    return Predictor.load(model, "cpu", engine="torch").predict(scan).labels.canonical().data.transpose(0, 3, 2, 1)


def test_the_mask_fills_and_becomes_the_whole_one_while_the_user_looks_elsewhere(room: Room) -> None:
    viewer = room.viewer
    own = viewer.add_labels(np.zeros((4, 4, 4), int), name="own")
    own.mode = "paint"
    viewer.dims.set_point(0, -3.0)
    viewer.scene.camera.zoom = 7.5
    point = viewer.dims.point
    (half,) = room.begin()
    assert half.name == MADE
    assert not half.editable
    assert not room.prediction.is_whole(half), "nobody saves half a mask"
    assert half.visible
    assert np.allclose(half.scale, room.image.scale)
    assert np.allclose(half.translate, room.image.translate)
    assert list(half.features["name"]) == ["background", "liver", "tumour"]
    expected = _expected(room.model, room.scan)[0]
    known = half.data != 0
    assert 0 < known.sum() < (expected != 0).sum()
    assert np.array_equal(half.data[known], expected[known])
    redrawn = [known.sum()]
    half.events.data.connect(lambda event: redrawn.append((half.data != 0).sum()))
    pump_until(lambda: room._windows.release() or redrawn[-1] > redrawn[0], what="another part")
    assert room.prediction.job is not None
    half.opacity = 0.3

    own_too, whole = room.end()
    assert own_too == own
    assert whole == half
    assert whole.name == "patient7 prediction"
    assert np.array_equal(whole.data, expected)
    assert whole.editable
    assert whole.opacity == 0.3
    assert not room.stage.is_edited(whole)
    whole.undo()
    assert np.array_equal(whole.data, expected), "there is nothing to undo"
    assert (viewer.layers.selection.active, own.mode) == (own, "paint"), "who draws goes on drawing"
    assert (viewer.dims.point, viewer.scene.camera.zoom) == (point, 7.5)


def test_the_whole_mask_is_ready_to_be_corrected_and_replaces_the_last_one(room: Room) -> None:
    room.viewer.layers.selection = {room.image}
    room.begin()
    assert room.viewer.layers.selection == {room.image}
    (first,) = room.end()
    assert room.viewer.layers.selection == {first}
    assert room.stage.is_edited(first) is False
    room._windows = threading.Semaphore(0)
    (half,) = room.begin()
    assert first in room.viewer.layers, "the last one stays until there is another"
    assert room.end() == [half]
    assert half.name == "patient7 prediction"


def test_overlapping_labels_fill_a_layer_each(make_napari_viewer, tmp_path: Path) -> None:
    room = Room(make_napari_viewer(), _model(tmp_path / "model.pt", {2: "liver", 4: "tumour"}, "overlapping"), times=2)
    expected = _expected(room.model, Volume(room.scan.data[:1], AFFINE))
    room.viewer.dims.set_point(0, 0)
    halves = room.begin()
    assert [half.name for half in halves] == [f"{MADE} [liver]", f"{MADE} [tumour]"]
    room.viewer.layers.remove(halves[0])
    masks = {layer.name: layer for layer in room.end()}
    assert sorted(masks) == ["patient7 prediction [liver]", "patient7 prediction [tumour]"]
    liver, tumour = masks["patient7 prediction [liver]"], masks["patient7 prediction [tumour]"]
    assert tumour == halves[1]
    assert np.array_equal(liver.data, expected[1])
    assert np.array_equal(tumour.data, expected[3])
    assert [liver.selected_label, tumour.selected_label] == [2, 4]


def test_a_prediction_that_does_not_end_leaves_nothing(room: Room) -> None:
    room.begin()
    room.prediction.cancel()
    assert not room.masks
    assert not room.end()
    assert room.prediction.error is None

    room._windows = threading.Semaphore(0)
    room.begin()
    room.error = ModelError("The network fell ill.", "Take another.")
    assert not room.end()
    assert room.prediction.error == room.error
    room.error = None


def test_what_the_user_deletes_comes_back_whole(room: Room) -> None:
    (half,) = room.begin()
    room.viewer.layers.remove(half)
    room._windows.release(3)
    pump(0.4)
    assert not room.masks
    (whole,) = room.end()
    assert np.array_equal(whole.data, _expected(room.model, room.scan)[0])
    assert whole.name == "patient7 prediction"


def test_the_mask_goes_with_its_scan(room: Room) -> None:
    room.begin()
    room.viewer.layers.remove(room.image)
    pump_until(lambda: not room.masks, what="the mask that goes")
    assert not room.end()
    assert "was closed before" in str(room.prediction.error)
