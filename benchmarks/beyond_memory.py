"""Whether a scan larger than the memory that a process may take is predicted, in how much of it, and how fast.

An OME-Zarr of so many GB is made in a temporary folder. A child process, whose address space may not grow by more than the limit once its
libraries are loaded, predicts it with a network that costs nothing, z-score normalisation and windows of 96 voxels. Memory is that of the
operating system (resident), looked at every 20 ms, above what the libraries take.

    python benchmarks/beyond_memory.py                         # 2 GB of float32, 1 GB may be taken
    python benchmarks/beyond_memory.py --gigabytes 8 --limit 2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import torch
import zarr

from napari_seg3d.inference import Computer, ModelSpec, Predictor
from napari_seg3d.inference.beyond import predict_beyond_memory
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import preprocessing_pipeline

_SIDE = 512  # of two sides; the third is as long as asked for


class Cheap(torch.nn.Module):
    """Answers each voxel by its own value."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return logits ``(N, 2, ...)``."""
        return torch.cat([-batch, batch], dim=1)


def make_scan(path: Path, length: int) -> None:
    """Write noise of int16 in blocks of 64 voxels."""
    random = np.random.default_rng(0)
    block = random.integers(-1000, 1000, (64, _SIDE, _SIDE), np.int16)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = group.create_array("0", shape=(length, _SIDE, _SIDE), dtype="i2", chunks=(64, 64, 64))
    for start in range(0, length, 64):
        array[start : start + 64] = np.roll(block, start, axis=1)[: length - start]
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.5, 1, 1]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def measure(folder: Path, limit: int) -> dict[str, float]:
    """Return seconds, and GB above what the libraries take."""
    import resource

    torch.set_num_threads(1)
    spec = ModelSpec(
        network=NetworkSpec(in_channels=1, out_channels=2),
        labels={1: "bright"},
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(96, 96, 96),
        mode="patches",
    )
    predictor = Predictor(spec, Computer(Cheap(), "cpu", "32"))
    predict_beyond_memory(predictor, folder / "small.ome.zarr", folder / "first.ome.zarr")  # loads whatever is loaded once
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info()
    resource.setrlimit(resource.RLIMIT_AS, (before.vms + limit, before.vms + limit))

    def look() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    start = time.perf_counter()
    try:
        predict_beyond_memory(predictor, folder / "large.ome.zarr", folder / "mask.ome.zarr")
    finally:
        done.set()
        watcher.join()
    return {"seconds": time.perf_counter() - start, "peak": (peak[0] - before.rss) / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of the scan as float32")
    parser.add_argument("--limit", type=float, default=1.0, help="GB that may be taken")
    parser.add_argument("--within", type=Path, help="measure what lies in this folder, and print it as JSON")
    options = parser.parse_args()
    if options.within is not None:
        print(json.dumps(measure(options.within, int(options.limit * 1e9))), flush=True)
        return
    length = round(options.gigabytes * 1e9 / 4 / _SIDE**2)
    with tempfile.TemporaryDirectory() as name:
        make_scan(Path(name) / "small.ome.zarr", 64)
        make_scan(Path(name) / "large.ome.zarr", length)
        child = subprocess.run(
            [sys.executable, "-W", "ignore", *sys.argv, "--within", name], capture_output=True, text=True, check=False
        )
        if child.returncode:
            raise SystemExit(child.stderr)
        found = json.loads(child.stdout.splitlines()[-1])
    print(
        f"{length} x {_SIDE} x {_SIDE} voxels, {4e-9 * length * _SIDE**2:.2f} GB as float32; limit {options.limit:g} GB; "
        f"peak {found['peak']:.2f} GB, {found['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
