"""What the memory of one process does while it predicts hundreds of scans, one after the other.

    python benchmarks/many_cases.py                     # 300 scans, or --cases 20
    python benchmarks/many_cases.py --model best.pt --scans folder
    scripts/with_display.sh python benchmarks/many_cases.py --viewer        # a person who steps through them in a viewer

The scans are the samples under other names, the model one that nobody trained: memory does not depend on what the weights know. Prints
the resident memory after twenty scans, when everything that is allocated once is there, and at the end, with the slope of a line through
all that follow.

In the viewer each scan is opened, predicted with the docks open, and closed with its mask; every tenth mask is painted on before.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
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


def in_a_folder(scans: list[Path], model: Path, folder: Path) -> Iterator[None]:
    """Predict scans as the command line does; yields after each."""
    predictor, options = Predictor.load(model), PredictOptions()
    cases = find_scans([scans[0].parent])
    batch = BatchFolder(BatchOutput(folder / "masks"), batch_model(predictor, [model]), options, cases)
    for result in predict_cases(predictor, batch, options):
        if result.error is not None:
            raise result.error
        yield


def in_a_viewer(scans: list[Path], model: Path, _folder: Path) -> Iterator[None]:
    """Open, predict and close one scan after the other in a viewer; yields after each."""
    import napari
    from napari.layers import Image, Labels

    from napari_seg3d.viewer.session import session_of

    viewer = napari.Viewer()
    viewer.window.add_plugin_dock_widget("napari-seg3d", "Predict")
    session, options = session_of(viewer), PredictOptions()
    for number, scan in enumerate(scans):
        session.scans.open([scan])
        live_until(lambda: session.scans.job is None)
        (image,) = [layer for layer in viewer.layers if isinstance(layer, Image)]
        session.prediction.predict([model], image, options)
        live_until(lambda: session.prediction.job is None)
        error = session.scans.error or session.prediction.error
        if error is not None:
            raise error
        (mask,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
        if number % 10 == 0:
            mask.paint(np.array(mask.data.shape) // 2, 1)
        del image, mask
        viewer.layers.clear()
        live_until(lambda: not viewer.layers)
        yield
    viewer.close()


def live_until(condition: Callable[[], bool]) -> None:
    """Let the window draw, and do whatever else it does, until `condition` holds."""
    from qtpy.QtCore import QEventLoop, QTimer

    while True:
        loop = QEventLoop()
        QTimer.singleShot(20, loop.quit)
        loop.exec()
        if condition():
            return


def main(count: int, model: Path | None, folder_of_scans: Path | None, step: Callable[..., Iterator[None]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = model or untrained_model(folder / "model.pt")
        sources = find_scans([folder_of_scans or dataset_folder() / "imagesTr"])
        (folder / "scans").mkdir()
        scans = []
        for number, source in zip(range(count), itertools.cycle(sources), strict=False):
            file = source.images[0]
            scans.append(folder / "scans" / f"{number:04}{''.join(file.suffixes)}")
            shutil.copyfile(file, scans[-1])
        process, start = psutil.Process(), time.perf_counter()
        memory = [process.memory_info().rss / 1e6 for _ in step(scans, path, folder)]
        seconds = time.perf_counter() - start
    for done in sorted({min(_SETTLED, count), *range(50, count, 50), count}):
        print(f"after {done:4} scans: {memory[done - 1]:7.1f} MB")
    print(f"highest: {max(memory):.1f} MB; {count} scans in {seconds:.1f} s, {seconds / count:.2f} s each")
    if count > 2 * _SETTLED:
        slope = np.polyfit(np.arange(_SETTLED, count), memory[_SETTLED:], 1)[0]
        print(f"slope after {_SETTLED} scans: {slope:+.3f} MB per scan")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--scans", type=Path)
    parser.add_argument("--viewer", action="store_true", help="step through them in a viewer")
    given = parser.parse_args()
    main(given.cases, given.model, given.scans, in_a_viewer if given.viewer else in_a_folder)
