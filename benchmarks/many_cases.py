"""What the memory of one process does while it predicts hundreds of scans, one after the other.

    python benchmarks/many_cases.py                     # 300 scans, or --cases 20
    python benchmarks/many_cases.py --model best.pt --scans folder

The scans are the samples under other names, the model one that nobody trained: memory does not depend on what the weights know. Prints
the resident memory after twenty scans, when everything that is allocated once is there, and at the end.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from napari_seg3d.datasets import find_scans
from napari_seg3d.inference import ModelSpec, PredictOptions, Predictor, save_model
from napari_seg3d.inference.batch import batch_model, predict_cases
from napari_seg3d.inference.batch_folder import BatchFolder, BatchOutput
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.transforms import preprocessing_pipeline

_SETTLED = 20


def untrained_model(path: Path) -> Path:
    """Write a small model with random weights that predicts in patches."""
    network = NetworkSpec(dims=3, in_channels=1, out_channels=3, features=(8, 16, 32), strides=((2, 2, 2),) * 2)
    pipeline = preprocessing_pipeline(None, "zscore").to_list()
    spec = ModelSpec(
        network=network, labels={1: "liver", 2: "spleen"}, pipeline=pipeline, patch_size=(32, 32, 32), mode="patches"
    )
    save_model(path, spec, build_network(network).state_dict())
    return path


def main(count: int, model: Path | None, scans: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = model or untrained_model(folder / "model.pt")
        sources = find_scans([scans or dataset_folder() / "imagesTr"])
        (folder / "scans").mkdir()
        for number, source in zip(range(count), itertools.cycle(sources), strict=False):
            file = source.images[0]
            shutil.copyfile(file, folder / "scans" / f"{number:04}{''.join(file.suffixes)}")
        predictor, options = Predictor.load(path), PredictOptions()
        cases = find_scans([folder / "scans"])
        batch = BatchFolder(BatchOutput(folder / "masks"), batch_model(predictor, [path]), options, cases)
        process, start = psutil.Process(), time.perf_counter()
        memory = []
        for result in predict_cases(predictor, batch, options):
            if result.error is not None:
                raise result.error
            memory.append(process.memory_info().rss / 1e6)
        seconds = time.perf_counter() - start
    for done in sorted({min(_SETTLED, count), *range(50, count, 50), count}):
        print(f"after {done:4} scans: {memory[done - 1]:7.1f} MB")
    print(f"highest: {max(memory):.1f} MB; {count} scans in {seconds:.1f} s, {seconds / count:.2f} s each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--scans", type=Path)
    given = parser.parse_args()
    main(given.cases, given.model, given.scans)
