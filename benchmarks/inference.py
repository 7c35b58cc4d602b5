"""Prediction against TorchIO's and MONAI's loops: the same trained network, the same windows and overlap, the same volume, in one run.

The loops are those of the libraries' documentation, in 32 bit: `torchio.GridSampler` and `GridAggregator` (hann), and MONAI's
`sliding_window_inference` (gaussian). Ours is what the Predict dock does after preprocessing. Each runs in a process of its own, by turns,
and the fastest of several counts. Dice compares the labels with those of MONAI's loop.

    python benchmarks/inference.py MODEL.pt                         # a model of ours, from the folder of a run
    python benchmarks/inference.py MODEL.pt --size 256 256 160 --rounds 2 --precision 32
    python benchmarks/inference.py                                  # first trains one for eight minutes on the sample data
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from napari_seg3d.datasets import find_scans, read_case_image
from napari_seg3d.evaluation import dice_per_label
from napari_seg3d.inference import PredictOptions, Predictor
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import TrainConfig, start_run
from napari_seg3d.transforms import preprocess
from napari_seg3d.volumes import Grid

_LOOPS = ("torchio", "monai", "ours")


def make_volume(predictor: Predictor, size: tuple[int, int, int]) -> np.ndarray:
    """Return a preprocessed scan of the sample data, enlarged to `size`: ``(1, I, J, K)``, float32."""
    scan = read_case_image(find_scans([dataset_folder() / "imagesTs"])[0])
    image, _ = preprocess(predictor.pipeline, scan)
    data = torch.from_numpy(np.asarray(image.data, np.float32))[None]
    return torch.nn.functional.interpolate(data, size, mode="trilinear")[0].numpy()


def with_torchio(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    import torchio

    window = predictor.spec.patch_size
    subject = torchio.Subject(image=torchio.ScalarImage(tensor=torch.from_numpy(image)))
    sampler = torchio.GridSampler(subject, window, tuple(side // 2 for side in window))
    aggregator = torchio.GridAggregator(sampler, overlap_mode="hann")
    loader = torchio.SubjectsLoader(sampler, batch_size=1)
    with torch.inference_mode():
        for batch in loader:
            aggregator.add_batch(predictor.network(batch["image"]["data"]), batch[torchio.LOCATION])
    return aggregator.get_output_tensor().argmax(dim=0).numpy()


def with_monai(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(image)[None], predictor.spec.patch_size, 1, predictor.network, overlap=0.5, mode="gaussian"
        )
    return logits[0].argmax(dim=0).numpy()


def with_ours(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    grid = Grid(image.shape[1:], np.eye(4))
    return predictor.classes(image, grid, grid, PredictOptions(mode="patches"))[0]


class Timed:
    """How long a network computes."""

    def __init__(self, forward: Callable[..., torch.Tensor]) -> None:
        self._forward, self.seconds = forward, 0.0

    def __call__(self, *given: object, **named: object) -> torch.Tensor:
        """Compute it."""
        start = time.perf_counter()
        try:
            return self._forward(*given, **named)
        finally:
            self.seconds += time.perf_counter() - start


def run_loop(name: str, options: argparse.Namespace, labels: Path) -> None:
    """Run one loop on a corner of the scan, for everything to be compiled and warm, then on all of it; print what that took."""
    ours = name == "ours"
    predictor = Predictor.load(
        options.model, "cpu", options.precision if ours else "32", engine=options.engine if ours else "torch"
    )
    if options.window is not None:
        predictor.spec = predictor.spec.model_copy(update={"patch_size": tuple(options.window)})
    if not ours:
        predictor.network.to(memory_format=torch.contiguous_format)
    timed = Timed(predictor.computer.forward if ours else predictor.network.forward)
    if ours:
        predictor.computer.forward = timed  # type: ignore[method-assign]
    else:
        predictor.network.forward = timed  # type: ignore[method-assign]
    image = make_volume(predictor, tuple(options.size))
    loop = {"torchio": with_torchio, "monai": with_monai, "ours": with_ours}[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    loop(predictor, np.ascontiguousarray(image[(slice(None), *(slice(0, 3 * side // 2) for side in predictor.spec.patch_size))]))
    first, before_last = time.perf_counter() - start, timed.seconds
    start = time.perf_counter()
    result = loop(predictor, image)
    seconds = time.perf_counter() - start
    inside = timed.seconds - before_last
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    np.save(labels, result.astype(np.uint8))
    told = {"first": first, "seconds": seconds, "peak": peak, "outside": 1 - inside / seconds, "engine": predictor.engine}
    print(json.dumps(told), flush=True)


def measured(name: str, labels: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", *sys.argv, "--only", name, "--labels", str(labels)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in child.stdout.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(child.stderr)


def five_classes(folder: Path) -> Path:
    """Write the sample data with the right and the left half of each organ as labels of their own."""
    for kind in ("imagesTr", "labelsTr"):
        shutil.copytree(dataset_folder() / kind, folder / kind)
    for path in sorted((folder / "labelsTr").iterdir()):
        mask = nib.load(path)
        data = np.asarray(mask.dataobj).copy()
        across = int(np.abs(mask.affine[0, :3]).argmax())
        for value in (1, 2):
            places = np.argwhere(data == value)
            left = places[places[:, across] > np.median(places[:, across])]
            data[tuple(left.T)] = value + 2
        nib.save(nib.Nifti1Image(data, mask.affine), path)
    return folder


def trained(folder: Path, minutes: float) -> Path:
    """Return a model of five classes that has seen the sample data."""
    data = five_classes(folder / "data")
    config = TrainConfig.parse({"data": {"images": str(data)}, "optimization": {"minutes": minutes}})
    run = start_run(config, folder / "run")
    while not (status := run.status()).ended:
        time.sleep(1)
    if status.state != "finished":
        raise SystemExit(status.message)
    return run.best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=8, help="of training, where no model is given")
    parser.add_argument("--keep", type=Path, help="folder for that model; left out: it is thrown away")
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 160))
    parser.add_argument("--window", type=int, nargs=3, help="sides of the windows; left out: those of the model")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", default="auto", help="of ours")
    parser.add_argument("--engine", default="auto", help="of ours")
    parser.add_argument("--only", choices=_LOOPS)
    parser.add_argument("--labels", type=Path)
    options = parser.parse_args()
    if options.only is not None:
        run_loop(options.only, options, options.labels)
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.model is None:
            options.model = trained(options.keep or Path(scratch), options.minutes)
            sys.argv.insert(1, str(options.model))
        predictor = Predictor.load(options.model, "cpu", engine="torch")
        sides = " x ".join(str(side) for side in options.size)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
        window, classes = tuple(options.window or predictor.spec.patch_size), predictor.spec.network.out_channels
        print(f"{sides} voxels, windows of {window}, {classes} classes", flush=True)
        files = {name: Path(scratch) / f"{name}.npy" for name in _LOOPS}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in _LOOPS}
        for _ in range(options.rounds):
            for name in _LOOPS:
                found[name].append(measured(name, files[name]))
        best = {name: min(runs, key=lambda run: run["seconds"]) for name, runs in found.items()}
        reference = np.load(files["monai"])[None]
        values = [int(value) for value in np.unique(reference) if value]
        for name, run in best.items():
            dice = dice_per_label(np.load(files[name])[None], reference, values)
            print(
                f"{name:8} {run['seconds']:7.1f} s (warm after {run['first']:.1f} s)  outside the network {run['outside']:4.0%}"
                f"  peak {run['peak']:6.0f} MB"
                f"  {best['monai']['seconds'] / run['seconds']:5.2f} x MONAI  {best['torchio']['seconds'] / run['seconds']:5.2f} x TorchIO"
                f"  Dice against MONAI's {min(dice.values()):.4f}  {run['engine']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
