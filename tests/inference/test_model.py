import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_seg3d.errors import ModelError
from napari_seg3d.inference import ModelSpec, Predictor, load_model, save_model
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
