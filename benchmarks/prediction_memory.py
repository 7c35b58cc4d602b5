"""How much memory a prediction takes above the scan, and how time and memory grow with the scan.

A network that costs nothing answers with 14 classes in windows of 96 voxels, so that what is measured is ours: preparing the scan, putting
windows together, going home. Each size runs in a process of its own; memory is that of the operating system (resident), looked at every
20 ms.

    python benchmarks/prediction_memory.py                          # 128 x 512 x 400 to 1024 x 512 x 400
    python benchmarks/prediction_memory.py --lengths 512
    python benchmarks/prediction_memory.py --figure docs/images/prediction-memory.svg
    python benchmarks/prediction_memory.py --window 64 --classes 5
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from napari_seg3d.inference import Computer, ModelSpec, Predictor
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Volume

_LENGTHS = (128, 256, 384, 512, 768, 1024)


class Cheap(torch.nn.Module):
    """Answers each voxel by its own value."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.slopes = [number - classes / 2 for number in range(classes)]

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return logits ``(N, classes, ...)``."""
        return torch.cat([batch * slope for slope in self.slopes], dim=1)


def make_scan(shape: tuple[int, int, int]) -> Volume:
    """Return noise, in LPS order."""
    random = np.random.default_rng(0)
    data = np.empty((1, *shape), np.int16)
    for plane in data[0]:
        plane[:] = random.integers(-1000, 1000, plane.shape)
    return Volume(data, np.diag([-1.0, -1.0, 1.5, 1.0]))


def measure(shape: tuple[int, int, int], window: int, classes: int) -> dict[str, float]:
    """Return seconds and peak in GB for a scan of `shape`."""
    spec = ModelSpec(
        network=NetworkSpec(in_channels=1, out_channels=classes),
        labels={value: f"label {value}" for value in range(1, classes)},
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(window,) * 3,
        mode="patches",
    )
    predictor = Predictor(spec, Computer(Cheap(classes), "cpu", "32"))
    predictor.predict(make_scan((window + 8, window + 8, window)))  # whatever is loaded at the first time
    scan = make_scan(shape)
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    start, started = time.perf_counter(), time.process_time()
    predictor.predict(scan)
    seconds, of_processor = time.perf_counter() - start, time.process_time() - started
    done.set()
    watcher.join()
    return {"seconds": seconds, "processor": of_processor, "peak": (peak[0] - before) / 1e9}


def draw(found: dict[int, dict[str, float]], path: Path) -> None:
    """Draw time and memory over the number of voxels."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "napari-seg3d", "font.family": "sans-serif"})
    drawing, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), constrained_layout=True)
    voxels = [length * 512 * 400 / 1e6 for length in found]
    left.plot(voxels, [run["processor"] for run in found.values()], marker="o")
    left.set(ylabel="seconds of processor time", xlabel="million voxels", ylim=(0, None), xlim=(0, None))
    right.plot(voxels, [run["peak"] for run in found.values()], marker="o")
    right.set(ylabel="GB above the scan, at most", xlabel="million voxels", ylim=(0, 2), xlim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    drawing.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=96)
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--lengths", type=int, nargs="+", default=_LENGTHS)
    parser.add_argument("--figure", type=Path, help="an SVG of time and memory")
    parser.add_argument("--only", type=int, help="measure one length, and print it as JSON")
    options = parser.parse_args()
    if options.only is not None:
        print(json.dumps(measure((options.only, 512, 400), options.window, options.classes)), flush=True)
        return
    print(f"windows of {options.window}, {options.classes} classes; above the scan itself", flush=True)
    results: dict[int, dict[str, float]] = {}
    for length in options.lengths:
        child = subprocess.run(
            [sys.executable, "-W", "ignore", *sys.argv, "--only", str(length)], capture_output=True, text=True, check=False
        )
        if child.returncode:
            raise SystemExit(child.stderr)
        found = results[length] = json.loads(child.stdout.splitlines()[-1])
        voxels = length * 512 * 400
        print(
            f"{length:4} x 512 x 400  {found['seconds']:7.1f} s  {1e9 * found['processor'] / voxels:6.0f} ns of a core per voxel"
            f"  peak {found['peak']:.2f} GB",
            flush=True,
        )
    if options.figure is not None:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
