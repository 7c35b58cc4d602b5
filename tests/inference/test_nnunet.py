import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_seg3d.errors import ModelError
from napari_seg3d.evaluation import dice
from napari_seg3d.inference.foreign import load_predictor, open_foreign
from napari_seg3d.volumes import Volume

needs_nnunet = pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="the package nnunetv2 is not installed")

RESAMPLING = {
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
}
NETWORK: dict[str, Any] = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def _plans(
    spacing: tuple[float, float, float], normalisation: str = "ZScoreNormalization", patch: tuple[int, int, int] = (8, 16, 16)
) -> dict[str, Any]:
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "spacing": list(spacing),
        "normalization_schemes": [normalisation],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": NETWORK,
        **RESAMPLING,
    }
    intensities = {"mean": 20.0, "std": 150.0, "percentile_00_5": -300.0, "percentile_99_5": 400.0}
    return {
        "dataset_name": "Dataset042_Organs",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [1, 0, 2],
        "transpose_backward": [1, 0, 2],
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {"3d_fullres": configuration},
    }


DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1, "spleen": 2},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


def _results(folder: Path, plans: dict[str, Any], weights: list[Any], **more: Any) -> Path:
    root = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    root.mkdir()
    (root / "plans.json").write_text(json.dumps(plans))
    (root / "dataset.json").write_text(json.dumps(DATASET))
    for fold, state in enumerate(weights):
        (root / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": state,
            "optimizer_state": {"state": {}, "param_groups": []},
            "grad_scaler_state": None,
            "logging": {"ema_fg_dice": [np.float64(0.1), np.float32(0.2)], "lrs": [0.01]},
            "_best_ema": np.float64(0.5),
            "current_epoch": 1,
            "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": fold, "device": torch.device("cpu")},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, 1, 2),
            **more,
        }
        torch.save(checkpoint, root / f"fold_{fold}" / "checkpoint_final.pth")
    return root


def _state(seed: int, **changed: Any) -> dict[str, torch.Tensor]:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    torch.manual_seed(seed)
    arguments = {**NETWORK["arch_kwargs"], **changed}
    name, parts = NETWORK["network_class_name"], NETWORK["_kw_requires_import"]
    network = get_network_from_plans(name, arguments, parts, 1, 3, allow_init=False, deep_supervision=True)
    state: dict[str, torch.Tensor] = network.state_dict()
    return state


def _scan(order: str, spacing: tuple[float, float, float]) -> Volume:
    """Return a smooth scan in a rim of zeros, alike in no two directions."""
    shape = (24, 20, 16)
    noise = np.random.default_rng(5).normal(size=shape)
    spectrum = np.fft.fftn(noise) * np.exp(-200 * sum(np.meshgrid(*(np.fft.fftfreq(n) ** 2 for n in shape), indexing="ij")))
    smooth = np.fft.ifftn(spectrum).real
    data = np.zeros((32, 28, 20), dtype=np.float32)
    data[4:28, 6:26, 1:17] = 200 * smooth / smooth.std() + np.linspace(-100, 100, 24)[:, None, None] + 0.5
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = 5, -20, 30
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(order))
    turned = nib.Nifti1Image(data, affine).as_reoriented(turn)
    return Volume(np.asarray(turned.dataobj)[np.newaxis], np.asarray(turned.affine))


def _nnunet(root: Path, scan: Volume, folds: tuple[int, ...]) -> np.ndarray:
    """Return what nnU-Net itself makes of a scan, in the order of the scan's axes."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(root), folds)
    array = np.ascontiguousarray(scan.data.transpose(0, 3, 2, 1), dtype=np.float32)
    return np.asarray(predictor.predict_single_npy_array(array, {"spacing": list(scan.spacing)[::-1]})).transpose(2, 1, 0)


@needs_nnunet
@pytest.mark.parametrize("order", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("normalisation", ["ZScoreNormalization", "CTNormalization"])
def test_in_one_window_labels_are_nnunets(tmp_path: Path, order: str, normalisation: str) -> None:
    scan = _scan(order, (1.0, 1.0, 1.0))
    root = _results(tmp_path, _plans((1.0, 1.0, 1.0), normalisation, (24, 24, 28)), [_state(7), _state(16)])
    expected = _nnunet(root, scan, (0, 1))
    predictor = load_predictor(root, "cpu", "32")
    assert predictor.name == "Dataset042_Organs"
    assert predictor.labels == {1: "liver", 2: "spleen"}
    found = predictor.predict(scan)
    assert f"({order})" in found.notes[0]
    assert np.bincount(expected.ravel()).min() > 100
    assert (found.labels.data[0] == expected).mean() > 0.999  # nnU-Net adds up its folds in half precision


@needs_nnunet
def test_in_several_windows_labels_are_nearly_nnunets(tmp_path: Path) -> None:
    scan = _scan("LPS", (1.0, 1.0, 1.0))
    root = _results(tmp_path, _plans((1.0, 1.0, 1.0)), [_state(7), _state(16)])
    expected = _nnunet(root, scan, (0, 1))
    found = load_predictor(root, "cpu", "32").predict(scan).labels.data[0]
    for label in (1, 2):  # the windows are the same; nnU-Net weighs them around a centre half a voxel away
        assert dice(found == label, expected == label) >= 0.98


@needs_nnunet
def test_resampled_scans_come_home_as_nnunets_do(tmp_path: Path) -> None:
    scan = _scan("LPS", (1.0, 1.2, 2.0))
    root = _results(tmp_path, _plans((1.5, 1.0, 1.2), patch=(32, 32, 32)), [_state(7)])
    expected = _nnunet(root, scan, (0,))
    found = load_predictor(root / "fold_0", "cpu", "32").predict(scan).labels.data[0]
    for label in (1, 2):  # nnU-Net resamples logits, we probabilities
        assert dice(found == label, expected == label) >= 0.95


class _Evil:
    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._target),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    evil = _Evil(tmp_path / "HOSTILE")
    root = _results(tmp_path, _plans((1, 1, 1)), [{"a": torch.zeros(1)}], logging=evil)
    with pytest.raises(ModelError, match="not run"):
        load_predictor(root, "cpu", "32")
    assert not (tmp_path / "HOSTILE").exists()


def _named(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(plans: dict[str, Any]) -> None:
        inside: Any = plans
        *path, last = place.split("/")
        for part in path:
            inside = inside[part]
        inside[last] = value

    return change


_FULL = "configurations/3d_fullres"


@needs_nnunet
@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (f"{_FULL}/architecture/network_class_name", "os.mkdir", "os.mkdir"),
        (f"{_FULL}/architecture/network_class_name", "dynamic_network_architectures.architectures.resnet.ResNetD", "ResNetD"),
        (f"{_FULL}/architecture/arch_kwargs/conv_op", "os.system", "os.system"),
        (f"{_FULL}/architecture/arch_kwargs/nonlin", "torch.hub.load", "torch.hub.load"),
        (f"{_FULL}/preprocessor_name", "Evil", "preprocessor Evil"),
        (f"{_FULL}/normalization_schemes", ["Evil"], "normalisation Evil"),
        (f"{_FULL}/resampling_fn_data", "evil", "resample by evil"),
        (f"{_FULL}/patch_size", [16, 16], "slices"),
        (f"{_FULL}/previous_stage", "3d_lowres", "cascade"),
        ("image_reader_writer", "Evil", "with Evil"),
        ("transpose_forward", [0, 0, 1], "transpose"),
    ],
)
def test_plans_can_name_nothing_but_what_is_on_the_lists(tmp_path: Path, place: str, value: Any, said: str) -> None:
    plans = json.loads(json.dumps(_plans((1, 1, 1))))
    _named(place, value)(plans)
    root = _results(tmp_path, plans, [_state(1)])
    with pytest.raises(ModelError, match=said) as caught:
        load_predictor(root, "cpu", "32")
    assert caught.value.fix


@needs_nnunet
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    root = _results(tmp_path, _plans((1, 1, 1)), [_state(1, features_per_stage=[4, 8, 16])])
    with pytest.raises(ModelError, match="do not fit"):
        load_predictor(root, "cpu", "32")


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "nnunetv2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    root = _results(tmp_path, _plans((1, 1, 1)), [{"a": torch.zeros(1)}])
    with pytest.raises(ModelError, match="package") as caught:
        load_predictor(root, "cpu", "32")
    assert "pip install" in caught.value.fix


def test_results_are_recognised_by_what_is_in_them(tmp_path: Path) -> None:
    root = _results(tmp_path, _plans((1, 1, 1)), [{"a": torch.zeros(1)}] * 2)
    for path, count in ((root, 2), (root / "fold_1", 1), (root / "fold_1" / "checkpoint_final.pth", 1)):
        found = open_foreign(path)
        assert found is not None
        assert len(found.checkpoints) == count  # type: ignore[union-attr]
    (root / "fold_0" / "checkpoint_final.pth").unlink()
    with pytest.raises(ModelError, match="No fold"):
        open_foreign(root / "fold_0")
    assert open_foreign(tmp_path) is None
