import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_seg3d.errors import ModelError
from napari_seg3d.inference import Crop, Model, ModelSpec, Predictor, load_model, read_spec, save_model
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline


def _spec() -> ModelSpec:
    return ModelSpec(
        network=NetworkSpec(out_channels=3, features=(8, 16, 32), strides=((2, 2, 2),) * 2),
        labels={3: "ball", 7: "core"},
        pipeline=preprocessing_pipeline((1.0, 1.0, 1.0), "zscore").to_list(),
        patch_size=(16, 16, 16),
        mode="patches",
        info={"mean_dice": 0.5},
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    save_model(path, _spec(), build_network(_spec().network).state_dict())
    return path


def test_a_model_comes_back_as_it_was_saved(model: Path) -> None:
    loaded = load_model(model)
    assert loaded.spec == _spec()
    assert loaded.roi is None
    assert loaded.spec.label_values == [0, 3, 7]
    build_network(loaded.spec.network).load_state_dict(loaded.weights)


def test_a_model_of_the_first_version_still_loads(model: Path) -> None:
    content = torch.load(model, weights_only=True)
    del content["roi"]
    content["version"] = 1
    for new in ("targets", "planes", "context", "crop"):
        del content["spec"][new]
    stored = content["spec"]["network"]
    content["spec"]["network"] = {key: stored[key] for key in ("in_channels", "out_channels", "features", "strides")}
    content["spec"]["network"]["name"] = "unet3d"
    torch.save(content, model)
    assert load_model(model).spec == _spec()
    assert Predictor.load(model, "cpu").roi is None


def _finding() -> ModelSpec:
    network = NetworkSpec(out_channels=1, features=(8, 16, 32), strides=((2, 2, 2),) * 2)
    return _spec().model_copy(update={"network": network, "labels": {1: "object"}, "targets": "overlapping", "mode": "whole"})


@pytest.fixture
def cascade(tmp_path: Path) -> Path:
    path = tmp_path / "cascade model.pt"
    finding = Model(_finding(), build_network(_finding().network).state_dict())
    cropped = _spec().model_copy(update={"crop": Crop(margin=0.1, smallest=12)})
    save_model(path, cropped, build_network(cropped.network).state_dict(), finding)
    return path


def test_both_networks_of_a_cascade_come_back(cascade: Path) -> None:
    loaded = load_model(cascade)
    assert loaded.roi is not None
    assert loaded.roi.spec == _finding()
    assert loaded.spec.crop == Crop(margin=0.1, smallest=12)
    predictor = Predictor.load(cascade, "cpu")
    assert predictor.roi is not None
    assert all(torch.equal(value, loaded.roi.weights[key]) for key, value in predictor.roi.network.state_dict().items())


def test_a_model_says_what_it_is_without_torch(model: Path, cascade: Path) -> None:
    code = (
        "import sys; from napari_seg3d.inference import read_spec; print(read_spec(sys.argv[1]).labels, 'torch' in sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", code, model], text=True)
    assert printed.strip() == "{3: 'ball', 7: 'core'} False"
    assert read_spec(cascade) == load_model(cascade).spec


def test_what_says_nothing_about_itself_is_no_error(model: Path, tmp_path: Path) -> None:
    assert read_spec(model) == _spec()
    torch.save(torch.load(model, weights_only=True), model)
    assert read_spec(model) is None
    assert read_spec(tmp_path / "nothing.pt") is None
    (tmp_path / "text.pt").write_text("no model")
    assert read_spec(tmp_path / "text.pt") is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "pieces of 16 x 16 x 16 voxels"),
        ({"mode": "whole"}, "the whole scan"),
        ({"crop": {}}, "pieces of 16 x 16 x 16 voxels, inside the box of what a first network finds in the whole scan"),
        ({"dims": 2, "planes": ("axial", "coronal")}, "axial and coronal slices in pieces of 16 x 16 pixels"),
        ({"dims": 2, "mode": "whole", "context": 3}, "whole axial slices, with 3 neighbours on each side"),
        ({"dims": 2, "mode": "whole", "context": 1}, "whole axial slices, with 1 neighbour on each side"),
    ],
)
def test_a_model_says_what_it_sees(values: dict[str, Any], words: str) -> None:
    stored = _spec().model_dump() | {name: value for name, value in values.items() if name != "dims"}
    stored["network"] |= {"in_channels": 2 * values.get("context", 0) + 1}
    if values.get("dims") == 2:
        stored["network"] |= {"dims": 2, "strides": ((2, 2, 1),) * 2}
    assert ModelSpec.model_validate(stored).what_it_sees == words


class _Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


def test_a_payload_in_a_checkpoint_does_not_run(model: Path, tmp_path: Path) -> None:
    content = torch.load(model, weights_only=True)
    content["weights"]["evil"] = _Payload(tmp_path / "it-ran")
    torch.save(content, model)
    with pytest.raises(ModelError, match="other than numbers"):
        Predictor.load(model)
    assert not (tmp_path / "it-ran").exists()
    torch.load(model, weights_only=False)
    assert (tmp_path / "it-ran").exists(), "the payload of this test is harmless by itself"


def _text(path: Path) -> None:
    path.write_text("this is no model")


def _plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"format": "napari-seg3d model"}))


def _other_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}}, path)


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def _damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\0" * 400
    path.write_bytes(content)


def _newer(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "version": 3}, path)


def _evil_step(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["spec"]["pipeline"].append({"name": "Lambda", "parameters": {"function": "print"}})
    torch.save(content, path)


def _no_weights(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "weights": "none"}, path)


def _label_too_many(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["spec"]["labels"]["9"] = "extra"
    torch.save(content, path)


def _other_weights(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["weights"].popitem()
    torch.save(content, path)


@pytest.mark.parametrize(
    "spoil",
    [
        _text,
        _plain_pickle,
        _other_checkpoint,
        _cut_off,
        _damaged,
        _newer,
        _evil_step,
        _no_weights,
        _label_too_many,
        _other_weights,
    ],
)
def test_what_is_no_model_of_ours_is_refused_by_name(model: Path, spoil: Callable[[Path], None]) -> None:
    spoil(model)
    with pytest.raises(ModelError, match=r"model\.pt") as refused:
        Predictor.load(model)
    assert refused.value.fix


def _first_network_gone(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "roi": None}, path)


def _first_network_is_text(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "roi": "yes"}, path)


def _first_network_of_other_labels(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["roi"]["spec"]["labels"]["2"] = "extra"
    torch.save(content, path)


def _endless_cascade(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["roi"] = {"spec": content["spec"], "weights": content["weights"], "roi": content["roi"]}
    torch.save(content, path)


@pytest.mark.parametrize("spoil", [_first_network_gone, _first_network_is_text, _first_network_of_other_labels, _endless_cascade])
def test_a_spoilt_cascade_is_refused_by_name(cascade: Path, spoil: Callable[[Path], None]) -> None:
    spoil(cascade)
    with pytest.raises(ModelError, match=r"cascade model\.pt") as refused:
        Predictor.load(cascade)
    assert refused.value.fix


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": "overlapping"},  # as many channels as labels
        {"context": 1},  # a third of one channel
        {"planes": ()},
        {"planes": ("oblique",)},
        {"labels": {0: "background", 3: "ball"}},
    ],
)
def test_a_description_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if "planes" in wrong or "labels" in wrong else "channels|2D"):
        ModelSpec.model_validate(_spec().model_dump() | wrong)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_model(tmp_path / "nothing.pt")


def test_a_failed_save_leaves_the_old_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model.read_bytes()

    class Unstorable:
        def __reduce__(self) -> tuple[Any, ...]:
            raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match=r"disk is full|No space"):
        save_model(model, _spec(), {"weight": Unstorable()})  # type: ignore[dict-item]
    assert model.read_bytes() == before
    assert [file.name for file in model.parent.iterdir()] == ["model.pt"]
