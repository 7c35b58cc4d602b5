"""What is exported computes what the model computes, as other programs read it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.errors import ConfigError, ModelError, WriteError
from napari_seg3d.inference import Crop, Model, ModelSpec, Predictor, load_model, save_model
from napari_seg3d.inference.export import export_model
from napari_seg3d.inference.offline import import_openvino
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Volume


def _spec(dims: int, **settings: Any) -> ModelSpec:
    network = NetworkSpec(
        dims=dims,  # type: ignore[arg-type]
        in_channels=3 if dims == 2 else 1,
        out_channels=2,
        features=(4, 8, 16),
        strides=((2, 2, 2 if dims == 3 else 1),) * 2,
    )
    stored: dict[str, Any] = {
        "network": network,
        "labels": {1: "liver", 2: "tumour"},
        "targets": "overlapping",
        "pipeline": preprocessing_pipeline((1.5, 1.5, 3.0), "zscore").to_list(),
        "patch_size": (16, 24, 8 if dims == 3 else 1),
        "mode": "patches",
        "context": 1 if dims == 2 else 0,
    }
    return ModelSpec(**stored | settings)


def _save(path: Path, spec: ModelSpec, roi: ModelSpec | None = None) -> Path:
    torch.manual_seed(0)
    first = Model(roi, build_network(roi.network).state_dict()) if roi is not None else None
    save_model(path, spec, build_network(spec.network).state_dict(), first)
    return path


def _answers(model: Model, file: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a file answers, and what torch does."""
    network = build_network(model.spec.network).eval()
    network.load_state_dict(model.weights)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    if file.suffix == ".xml":
        compiled = import_openvino().Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return compiled(images)["logits"], expected
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(file).run(["logits"], {"image": images})[0], expected


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dims", "mode", "shapes", "kind"),
    [
        (3, "patches", [(1, 1, 16, 24, 8), (3, 1, 16, 24, 8)], "onnx"),
        (2, "whole", [(1, 3, 16, 24), (2, 3, 40, 20)], "openvino"),
    ],
)
def test_other_programs_compute_the_same(tmp_path: Path, dims: int, mode: str, shapes: list[tuple[int, ...]], kind: Any) -> None:
    path = _save(tmp_path / "model.pt", _spec(dims, mode=mode))
    file, *beside = export_model(path, tmp_path / "out" / "liver", kind)
    assert all(one.exists() for one in (file, *beside))
    assert {one.name for one in file.parent.iterdir()} == {file.name, *(one.name for one in beside)}
    for shape in shapes:
        answer, expected = _answers(load_model(path), file, _noise(*shape))
        assert np.abs(answer - expected).max() < 1e-4
    said = json.loads((tmp_path / "out" / "liver.json").read_text())
    assert said["network"] == file.name
    assert said["labels"] == {"1": "liver", "2": "tumour"}
    assert said["channels"] == ["liver", "tumour"]
    assert said["activation"] == "sigmoid"
    assert said["spacing"] == [1.5, 1.5, 3.0]
    assert said["patch_size"] == [16, 24, 8][:dims]
    assert said["sides_fixed"] == (mode == "patches")
    assert [step["name"] for step in said["preprocessing"]] == ["ToCanonical", "Resample", "RescaleIntensity", "ZNormalization"]


@pytest.mark.slow
def test_both_networks_of_a_cascade_are_exported(tmp_path: Path) -> None:
    first = _spec(3, mode="whole", labels={1: "object"}, network=_spec(3).network.model_copy(update={"out_channels": 1}))
    path = _save(tmp_path / "model.pt", _spec(3, crop=Crop()), first)
    files = export_model(path, tmp_path / "organ.onnx", "onnx")
    assert [file.name for file in files] == ["organ.onnx", "organ.json", "organ_roi.onnx", "organ_roi.json"]
    model = load_model(path)
    assert model.roi is not None
    for part, file in ((model, files[0]), (model.roi, files[2])):
        answer, expected = _answers(part, file, _noise(1, 1, 16, 24, 8))
        assert np.abs(answer - expected).max() < 1e-4
    assert json.loads(files[1].read_text())["crop"] == {"margin": 0.2, "smallest": 28}


def test_one_file_is_a_model_that_predicts_the_same(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = _save(run / "checkpoints" / "best.pt", _spec(3, crop=Crop()), _spec(3, mode="whole"))
    (run / "run.yaml").write_text("")
    result = CliRunner().invoke(app, ["export-model", str(run), "--out", str(tmp_path / "liver")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "liver.pt" in result.output
    scan = Volume(_noise(1, 20, 18, 12), np.diag([1.0, 2.0, 3.0, 1.0]))
    one, other = (Predictor.load(file, "cpu").predict(scan).labels.data for file in (path, tmp_path / "liver.pt"))
    assert np.array_equal(one, other)


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    path = _save(tmp_path / "model.pt", _spec(3))
    with pytest.raises(WriteError, match="the model itself"):
        export_model(path, path, "model", overwrite=True)
    (tmp_path / "other.json").write_text("mine")
    with pytest.raises(WriteError, match=r"other\.json exists already"):
        export_model(path, tmp_path / "other.onnx", "onnx")
    with pytest.raises(ModelError, match="does not exist"):
        export_model(tmp_path / "nothing.pt", tmp_path / "out.pt", "model")
    with pytest.raises(ConfigError, match="no format 'keras'"):
        CliRunner().invoke(
            app, ["export-model", str(path), "--out", str(tmp_path / "x"), "--format", "keras"], catch_exceptions=False
        )


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path / "model.pt", _spec(3))
    found = __import__("importlib.util", fromlist=["util"]).find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "onnxscript" else found(name, *more))
    with pytest.raises(ConfigError, match=r"takes onnxscript") as refused:
        export_model(path, tmp_path / "out.onnx", "onnx")
    assert "napari-seg3d[export]" in refused.value.fix
    assert not (tmp_path / "out.onnx").exists()


def test_openvino_comes_without_its_telemetry() -> None:
    import subprocess
    import sys

    code = (
        "from napari_seg3d.inference.offline import import_openvino; import_openvino(); import sys;"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
