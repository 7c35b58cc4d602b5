import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.networks.nets import SegResNet, UNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityd,
    ScaleIntensityRanged,
    Spacingd,
)

from napari_seg3d.errors import ModelError
from napari_seg3d.evaluation import dice
from napari_seg3d.inference import PredictOptions
from napari_seg3d.inference.foreign import load_predictor, open_foreign
from napari_seg3d.volumes import Volume, read_volume

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8, 16], "strides": [2, 2], "norm": "batch"}
LOAD: list[dict[str, Any]] = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "@key"}]
SCALE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -200, "a_max": 300, "b_min": 0, "b_max": 1, "clip": True}
SOFTMAX: list[dict[str, Any]] = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False},
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
]


def _config(steps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "imports": ["$import os"],
        "key": "image",
        "window": [16, 16, 16],
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": "UNet", **UNET},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *steps]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@window", "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": SOFTMAX},
        **more,
    }


def _metadata(*names: str) -> dict[str, Any]:
    channels = {str(index): name for index, name in enumerate(names)}
    return {"network_data_format": {"outputs": {"pred": {"num_channels": len(names), "channel_def": channels}}}}


def _network(**more: Any) -> UNet:
    torch.manual_seed(6)
    return UNet(**{**UNET, **more}).eval()


def _bundle(
    folder: Path, config: dict[str, Any], weights: Any = None, names: tuple[str, ...] = ("background", "liver", "spleen")
) -> Path:
    root = folder / "organs"
    for part in ("configs", "models"):
        (root / part).mkdir(parents=True)
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    (root / "configs" / "metadata.json").write_text(json.dumps(_metadata(*names)))
    torch.save(_network().state_dict() if weights is None else weights, root / "models" / "model.pt")
    return root


def _zipped(root: Path) -> Path:
    target = root.parent / "organs.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, f"organs/{file.relative_to(root).as_posix()}")
    return target


def _scan(folder: Path, order: str, spacing: tuple[float, float, float] = (1.0, 1.5, 2.0)) -> Path:
    """Write a smooth scan that is alike in no two directions."""
    shape = (32, 24, 40)
    noise = np.random.default_rng(5).normal(size=shape)
    spectrum = np.fft.fftn(noise) * np.exp(-400 * sum(np.meshgrid(*(np.fft.fftfreq(n) ** 2 for n in shape), indexing="ij")))
    smooth = np.fft.ifftn(spectrum).real
    data = (400 * smooth / smooth.std()).astype(np.float32) + np.linspace(-100, 100, shape[0], dtype=np.float32)[:, None, None]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = 5, -20, 30
    turned = nib.Nifti1Image(data, affine).as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(order))
    )
    path = folder / "scan.nii.gz"
    nib.save(turned, path)
    return path


def _monai(path: Path, steps: list[Any], network: torch.nn.Module, post: list[Any]) -> np.ndarray:
    """Return what MONAI itself makes of a scan, on the scan's own voxels."""
    before = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), *steps])
    data = before({"image": str(path)})
    with torch.no_grad():
        data["pred"] = sliding_window_inference(data["image"][None], (16, 16, 16), 4, network, overlap=0.5, mode="constant")[0]
    assert isinstance(data["pred"], MetaTensor)
    activation, decision = post
    invert = Invertd("pred", transform=before, orig_keys="image", nearest_interp=False)
    return np.asarray(Compose([activation, invert, decision])(data)["pred"])


EXCLUSIVE = [Activationsd("pred", softmax=True), AsDiscreted("pred", argmax=True)]


@pytest.mark.parametrize(
    ("order", "wanted"), [("RAS", "RAS"), ("LAS", "RAS"), ("PIR", "RAS"), ("RAS", "LPS"), ("SLP", "LPS"), ("PIR", "SPL")]
)
def test_whatever_the_orientation_of_file_and_bundle_the_labels_are_monais(tmp_path: Path, order: str, wanted: str) -> None:
    config = _config([{"_target_": "Orientationd", "keys": "image", "axcodes": wanted}, SCALE])
    root = _bundle(tmp_path, config)
    scan = _scan(tmp_path, order)
    steps = [Orientationd("image", wanted), ScaleIntensityRanged("image", -200, 300, 0, 1, clip=True)]
    expected = _monai(scan, steps, _network(), EXCLUSIVE)
    predictor = load_predictor(root, "cpu", "32")
    assert predictor.name == "organs"
    assert predictor.labels == {1: "liver", 2: "spleen"}
    found = predictor.predict(read_volume(scan), PredictOptions(blending="average"))
    assert found.notes == ()
    assert len(np.unique(expected)) == 3
    assert (found.labels.data == expected).mean() > 0.9999  # ties of float32 alone


def test_resampled_scans_come_home_as_monais_do(tmp_path: Path) -> None:
    turn = {"_target_": "Orientationd", "keys": "@key", "axcodes": "PIR"}
    root = _bundle(tmp_path, _config([turn, {"_target_": "Spacingd", "keys": "image", "pixdim": [2, 1.5, 1]}, SCALE]))
    scan = _scan(tmp_path, "LAS", (1.5, 4 / 3, 1.2))
    steps = [Orientationd("image", "PIR"), Spacingd("image", (2, 1.5, 1)), ScaleIntensityRanged("image", -200, 300, 0, 1, True)]
    expected = _monai(scan, steps, _network(), EXCLUSIVE)
    predictor = load_predictor(root, "cpu", "32")
    found = predictor.predict(read_volume(scan), PredictOptions(blending="average")).labels.data
    assert predictor.spec.pipeline[1]["parameters"]["target"] == [1, 2, 1.5]  # along R, A and S
    for label in (1, 2):  # ITK brings the probabilities home here, torch there
        assert dice(found == label, expected == label) >= 0.98


def test_cropped_and_normalised_scans_come_home_as_monais_do(tmp_path: Path) -> None:
    more = [
        {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": "$lambda x: x > 0", "margin": 4},
        {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        {"_target_": "monai.transforms.ScaleIntensityD", "keys": ["image"], "minv": -1.0, "maxv": 1.0},
    ]
    root = _bundle(tmp_path, _config(more))
    scan = _scan(tmp_path, "PIR")
    steps = [
        CropForegroundd("image", "image", margin=4),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
        ScaleIntensityd("image", -1, 1),
    ]
    expected = _monai(scan, steps, _network(), EXCLUSIVE)
    found = load_predictor(root, "cpu", "32").predict(read_volume(scan), PredictOptions(blending="average"))
    assert "(PIR)" in found.notes[0]
    assert (found.labels.data == expected).mean() > 0.9999


def test_an_archive_with_yaml_is_the_same_as_a_folder(tmp_path: Path) -> None:
    import yaml

    config = _config([{"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}, SCALE])
    root = _bundle(tmp_path, config, {"model": {f"module.{key}": value for key, value in _network().state_dict().items()}})
    scan = read_volume(_scan(tmp_path, "LPS"))
    expected = load_predictor(root, "cpu", "32").predict(scan).labels.data
    (root / "configs" / "inference.json").unlink()
    (root / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    found = load_predictor(_zipped(root), "cpu", "32").predict(scan).labels
    np.testing.assert_array_equal(found.data, expected)
    assert found.labels[2].name == "spleen"


def test_a_sigmoid_has_a_channel_for_each_label(tmp_path: Path) -> None:
    post = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: os.system('false')"},
    ]
    network = {"_target_": "SegResNet", "init_filters": 8, "in_channels": 2, "out_channels": 3, "dropout_prob": 0.2}
    torch.manual_seed(0)
    reference = SegResNet(init_filters=8, in_channels=2, out_channels=3).eval()
    config = _config(
        [], network_def=network, inferer={"_target_": "SimpleInferer"}, postprocessing={"_target_": "Compose", "transforms": post}
    )
    root = _bundle(tmp_path, config, reference.state_dict(), ("core", "whole", "enhancing"))
    data = np.random.default_rng(0).normal(size=(2, 16, 24, 16)).astype(np.float32)
    predictor = load_predictor(root, "cpu", "32")
    found = predictor.predict(Volume(data, np.diag([-1.0, 1.0, 1.0, 1.0])))
    with torch.no_grad():
        expected = torch.sigmoid(reference(torch.from_numpy(data)[None]))[0].numpy() > 0.5
    assert predictor.labels == {1: "core", 2: "whole", 3: "enhancing"}
    np.testing.assert_array_equal(found.labels.data > 0, expected)
    # What it does not do, and that it saw the file as it lies, is said.
    assert "Lambdad" in found.notes[0]
    assert "(LAS)" in found.notes[1]
    assert "left and right" in found.notes[1]


def test_mirror_images_are_made_along_the_axes_of_the_patient(tmp_path: Path) -> None:
    config = _config([{"_target_": "Orientationd", "keys": "image", "axcodes": "SPL"}, SCALE], window=[40, 24, 32])
    predictor = load_predictor(_bundle(tmp_path, config), "cpu", "32")
    scan = read_volume(_scan(tmp_path, "RAS"))
    found = predictor.predict(scan, PredictOptions(flips=("R",), probabilities=True)).probabilities
    image = torch.from_numpy(np.clip((scan.data + 200) / 500, 0, 1)).permute(0, 3, 2, 1).flip(2, 3)[None]
    with torch.no_grad():
        both = [_network()(image), _network()(image.flip(4)).flip(4)]
    expected = torch.stack([torch.softmax(logits, 1) for logits in both]).mean(0)[0].flip(2, 3).permute(0, 3, 2, 1)
    assert found is not None
    np.testing.assert_allclose(found.data, expected.numpy(), atol=1e-5)


def test_a_scan_with_other_channels_is_refused(tmp_path: Path) -> None:
    predictor = load_predictor(_bundle(tmp_path, _config([SCALE])), "cpu", "32")
    with pytest.raises(ModelError, match="2 channels, organs was trained on 1"):
        predictor.predict(Volume(np.random.default_rng(0).normal(size=(2, 16, 16, 16)).astype(np.float32), np.eye(4)))


def test_a_network_far_larger_than_its_weights_is_never_made(tmp_path: Path) -> None:
    root = _bundle(tmp_path, _config([SCALE], network_def={"_target_": "UNet", **UNET, "channels": [8000, 8000, 8000]}))
    with pytest.raises(ModelError, match="do not fit"):  # 21 GB of random numbers
        load_predictor(root, "cpu", "32")


def test_windows_that_the_network_cannot_see_are_told(tmp_path: Path) -> None:
    predictor = load_predictor(_bundle(tmp_path, _config([SCALE], window=[18, 17, 16])), "cpu", "32")
    with pytest.raises(ModelError, match="cannot see 18 x 17 x 16 voxels"):
        predictor.predict(read_volume(_scan(tmp_path, "RAS")))


def test_what_is_no_bundle_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.pt")
    for path in (tmp_path / "empty", tmp_path / "model.pt", tmp_path / "missing"):
        assert open_foreign(path) is None


class _Evil:
    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._target),)


def _changed(config: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    *path, last = place.split("#")
    inside = config
    for part in path:
        inside = inside[part]
    inside[last] = value
    return config


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("network_def", {"_target_": "os.mkdir", "path": "HOSTILE"}, "os.mkdir, which is not a part of MONAI"),
        ("network_def", {"_target_": "monai.networks.nets.Evil"}, "Evil, which is not known"),
        ("network_def", {"_target_": "monai.bundle.download", "name": "x"}, "download, which is not known"),
        ("network_def", "$__import__('os').mkdir('HOSTILE')", "names no component"),
        ("network_def#channels", "$[__import__('os').mkdir('HOSTILE')]", "an expression"),
        ("network_def#channels", [4, 10**9, 16], "which no network needs"),
        ("network_def#dropout", {"_target_": "os.mkdir", "path": "HOSTILE"}, "os.mkdir"),
        ("network_def#strides", "@network_def#strides", "refers to itself"),
        ("network_def#strides", "@nothing", "not there"),
        ("network_def#pretrained", True, "pretrained"),
        ("network_def#spatial_dims", 2, "slices"),
        ("preprocessing", {"_target_": "Compose", "transforms": [{"_target_": "Lambdad", "keys": "image", "func": "$x"}]}, "Lambdad"),
        ("preprocessing", [*LOAD, {"_target_": "os.mkdir", "path": "HOSTILE"}], "os.mkdir"),
        ("preprocessing", [*LOAD, {**SCALE, "a_min": "$__import__('os').mkdir('HOSTILE')"}], "an expression"),
        ("preprocessing", [*LOAD, {**SCALE, "extra": 1}], "extra"),
        ("preprocessing", [*LOAD, {"_target_": "Orientationd", "keys": "image", "axcodes": "RRS"}], "no orientation"),
        ("preprocessing", [{"_target_": "LoadImaged", "keys": ["t1", "t2"]}], "t1, t2"),
        ("inferer", {"_target_": "os.mkdir", "path": "HOSTILE"}, "os.mkdir"),
        ("inferer", {"_target_": "SliceInferer"}, "SliceInferer"),
        ("inferer#roi_size", [0, 16, 16], "no window"),
        ("postprocessing", [], "does not say how"),
    ],
)  # fmt: skip
def test_a_bundle_can_name_nothing_but_what_is_on_the_lists(
    tmp_path: Path, place: str, value: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = () if place == "postprocessing" else ("background", "liver", "spleen")
    config = json.loads(json.dumps(_config([SCALE])))
    root = _bundle(tmp_path, _changed(config, place, value), names=names)
    with pytest.raises(ModelError, match=said) as caught:
        load_predictor(root, "cpu", "32")
    assert caught.value.fix
    assert not (tmp_path / "HOSTILE").exists()


def test_an_object_in_yaml_is_not_made(tmp_path: Path) -> None:
    root = _bundle(tmp_path, _config([SCALE]))
    (root / "configs" / "inference.json").unlink()
    (root / "configs" / "inference.yaml").write_text(f"network_def: !!python/object/apply:os.mkdir ['{tmp_path}/HOSTILE']")
    with pytest.raises(ModelError, match="cannot be read"):
        load_predictor(root, "cpu", "32")
    assert not (tmp_path / "HOSTILE").exists()


def test_what_a_bundle_crops_away_is_background(tmp_path: Path) -> None:
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": True}
    data = np.zeros((1, 30, 28, 26), dtype=np.float32)
    data[:, 7:20, 5:15, 9:21] = np.random.default_rng(0).uniform(1, 300, (13, 10, 12))
    network = _network()
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        dict(network.named_parameters())["model.2.conv.bias"][2] = 5.0  # says spleen everywhere
    root = _bundle(tmp_path, _config([crop, SCALE]), network.state_dict())
    labels = load_predictor(root, "cpu", "32").predict(Volume(data, np.diag([-1.0, 1.0, 2.0, 1.0]))).labels.data
    np.testing.assert_array_equal(labels, np.where(data > 0, 2, 0))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("make", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_the_weights_is_not_run(tmp_path: Path, make: Callable[[Any, Path], Any], packed: bool) -> None:
    root = _bundle(tmp_path, _config([SCALE]))
    make({"model": _Evil(tmp_path / "HOSTILE")}, root / "models" / "model.pt")
    with pytest.raises(ModelError, match=r"not run|cannot be read"):
        load_predictor(_zipped(root) if packed else root, "cpu", "32")
    assert not (tmp_path / "HOSTILE").exists()


def test_a_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    root = _bundle(tmp_path, _config([SCALE]))
    torch.jit.save(torch.jit.trace(torch.nn.Conv3d(1, 3, 1), torch.zeros(1, 1, 2, 2, 2)), root / "models" / "model.pt")
    with pytest.raises(ModelError, match="TorchScript"):
        load_predictor(root, "cpu", "32")
    (root / "models" / "model.pt").rename(root / "models" / "model.ts")
    with pytest.raises(ModelError, match="TorchScript"):
        load_predictor(root, "cpu", "32")


def test_weights_of_another_network_or_with_a_flipped_bit_are_refused(tmp_path: Path) -> None:
    root = _bundle(tmp_path, _config([SCALE]), _network(channels=(4, 8, 32)).state_dict())
    with pytest.raises(ModelError, match="do not fit"):
        load_predictor(root, "cpu", "32")
    torch.save(_network().state_dict(), root / "models" / "model.pt")
    content = bytearray((root / "models" / "model.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (root / "models" / "model.pt").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_predictor(root, "cpu", "32")


@pytest.mark.parametrize(
    ("member", "said"), [("../HOSTILE", "outside"), ("/HOSTILE", "outside"), ("organs\\..\\..\\HOSTILE", "outside")]
)
def test_an_archive_that_reaches_out_of_itself_is_refused(tmp_path: Path, member: str, said: str) -> None:
    packed = _zipped(_bundle(tmp_path, _config([SCALE])))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(member, "x")
    with pytest.raises(ModelError, match=said):
        open_foreign(packed)
    assert not list(tmp_path.parent.rglob("HOSTILE"))


def test_links_and_bombs_in_an_archive_are_refused(tmp_path: Path) -> None:
    root = _bundle(tmp_path, _config([SCALE]))
    link = zipfile.ZipInfo("organs/configs/link")
    link.external_attr = 0o120777 << 16
    packed = _zipped(root)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelError, match="link"):
        open_foreign(packed)
    (root / "models" / "model.pt").write_bytes(bytes(2**24))  # packs to some kilobytes
    with pytest.raises(ModelError, match="almost nothing"):
        open_foreign(_zipped(root))


def test_settings_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    config = _config([SCALE], a=[1] * 90, **{f"a{n}": [f"@a{n - 1}" if n else "@a"] * 90 for n in range(5)})
    root = _bundle(tmp_path, _changed(config, "network_def#channels", "@a4"))
    with pytest.raises(ModelError, match="more than any setting"):
        load_predictor(root, "cpu", "32")
