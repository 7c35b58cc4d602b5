"""How long a prediction takes to stop once somebody asked, for every way to predict.

    python benchmarks/cancelling.py                                  # 256 x 256 x 160 voxels, eight moments of each way
    python benchmarks/cancelling.py --size 128 128 96 --moments 4 --only whole cascade

Networks of default width that nobody trained; the scan is noise with a bright ball, in LPS order. Each way runs once without being stopped,
or for a minute at most; then it is asked to stop at random moments of that time. What is measured ends when
`Cancelled` is raised, and with it every thread that computed.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from napari_seg3d.datasets import find_scans
from napari_seg3d.errors import Cancelled
from napari_seg3d.inference import Computer, Crop, Ensemble, ModelSpec, PredictOptions, Predictor
from napari_seg3d.inference.batch import batch_model, predict_cases
from napari_seg3d.inference.batch_folder import BatchFolder, BatchOutput
from napari_seg3d.inference.postprocess import Rule, Rules
from napari_seg3d.networks import NetworkSpec, build_network
from napari_seg3d.transforms import Pipeline, Step, preprocessing_pipeline
from napari_seg3d.volumes import Volume, write_volume

_CLASSES = 5
_LONGEST = 60.0  # seconds: later than this no moment is drawn


#: A way to predict, called with what is asked whether to stop.
Way = Callable[[Callable[[], bool]], object]


def make_scan(shape: Sequence[int]) -> Volume:
    """Return noise around a bright ball, in LPS order, with voxels of 1 x 1 x 1.5 mm."""
    random = np.random.default_rng(0)
    grid = np.ogrid[tuple(slice(-1, 1, side * 1j) for side in shape)]
    data = random.normal(0, 50, (1, *shape)).astype(np.int16)
    data[0][sum(axis**2 for axis in grid) < 0.1] += 300
    return Volume(data, np.diag([-1.0, -1.0, 1.5, 1.0]))


def model(
    dims: Literal[2, 3] = 3,
    mode: Literal["patches", "whole"] = "patches",
    spacing: tuple[float, float, float] | None = (1.25, 1.25, 1.5),
    engine: Any = "torch",
    pipeline: Pipeline | None = None,
    window: tuple[int, int, int] = (96, 96, 96),
    **more: Any,
) -> Predictor:
    """Return a model with a network of default width; `more` are fields of its spec."""
    context = more.get("context", 0)
    network = NetworkSpec(dims=dims, in_channels=2 * context + 1, out_channels=_CLASSES)
    spec = ModelSpec(
        network=network,
        labels={value: f"organ {value}" for value in range(1, _CLASSES)},
        pipeline=(pipeline or preprocessing_pipeline(spacing, "zscore")).to_list(),
        patch_size=window if dims == 3 else (256, 256, 1),
        mode=mode,
        **more,
    )
    torch.manual_seed(0)
    return Predictor(spec, Computer(build_network(network).eval(), "cpu", "32", engine))


def cascade() -> Predictor:
    """Return a model whose first network finds the object at 3 mm."""
    network = NetworkSpec(name="cascade-roi", out_channels=1)
    spec = ModelSpec(
        network=network,
        labels={1: "object"},
        targets="overlapping",
        pipeline=preprocessing_pipeline((3.0, 3.0, 3.0), "zscore").to_list(),
        patch_size=(64, 64, 64),
        mode="whole",
    )
    segments = model(crop=Crop(margin=0.1, smallest=96))
    segments.roi = Predictor(spec, Computer(build_network(network).eval(), "cpu", "32"))
    return segments


def with_rules() -> Predictor:
    """Return a model whose masks of noise are cleaned."""
    ruled = model(mode="whole", pipeline=Pipeline((Step("ToCanonical"), Step("Resize", {"target_shape": [96, 96, 96]}))))
    ruled.rules = Rules(every=Rule(closing_mm=6.0, largest=True, holes="3D"))
    return ruled


def ways(shape: Sequence[int], folder: Path) -> dict[str, Way]:
    """Return all of them by name; models are made when one is asked for the first time."""
    scan, plain = make_scan(shape), PredictOptions()
    half = tuple(slice(side // 4, 3 * side // 4) for side in shape)
    radiograph = Volume(make_scan((2048, 2048, 2)).data[..., :1], np.diag([-0.15, -0.15, 1.0, 1.0]))
    resized = Pipeline((Step("ToCanonical"), Step("Resize", {"target_shape": [1024, 1024, 1]}), Step("ZNormalization")))

    def of(make: Callable[[], Any], options: PredictOptions = plain, volume: Volume = scan) -> Way:
        made: list[Any] = []

        def predict(cancelled: Callable[[], bool]) -> object:
            if not made:
                made.append(make())
            return made[0].predict(volume, options, cancelled=cancelled)

        return predict

    def fresh(cancelled: Callable[[], bool]) -> object:
        return model(engine="openvino").predict(scan, plain, cancelled=cancelled)  # converts and compiles each time

    def folder_of_scans(cancelled: Callable[[], bool]) -> object:
        files, predictor = folder / "scans", model()
        for number in range(3):
            if not (file := files / f"{number}.nii.gz").exists():
                write_volume(scan, file)
        model_file = files / "0.nii.gz"  # whatever identifies a model
        with tempfile.TemporaryDirectory(dir=folder) as out:
            batch = BatchFolder(BatchOutput(Path(out)), batch_model(predictor, [model_file]), plain, find_scans([files]))
            return list(predict_cases(predictor, batch, plain, cancelled=cancelled))

    return {
        "patches": of(model),
        "patches, OpenVINO": of(lambda: model(engine="openvino")),
        "OpenVINO, first time": fresh,
        "large windows": of(lambda: model(window=(160, 160, 96))),
        "whole": of(lambda: model(mode="whole", spacing=(2.0, 2.0, 2.0))),
        "whole, all voxels": of(lambda: model(mode="whole", spacing=None)),
        "slices": of(lambda: model(2, "whole")),
        "slices, OpenVINO": of(lambda: model(2, "whole", engine="openvino")),
        "2.5D": of(lambda: model(2, "whole", context=2)),
        "three planes": of(lambda: model(2, "whole", planes=("axial", "coronal", "sagittal"))),
        "cascade": of(cascade),
        "flips": of(model, replace(plain, flips=("R", "A", "S"))),
        "ensemble": of(lambda: Ensemble([model(spacing=(2.0, 2.0, 2.0)), model(spacing=(2.5, 2.5, 2.5))])),
        "maps": of(lambda: model(spacing=(2.5, 2.5, 2.5)), replace(plain, probabilities=True, uncertainty=True)),
        "region": of(model, replace(plain, region=half)),
        "rules": of(with_rules),
        "radiograph": of(lambda: model(2, "whole", pipeline=resized), volume=radiograph),
        "folder of scans": folder_of_scans,
    }


class Asked:
    """Somebody who asks to stop after some seconds."""

    def __init__(self, after: float) -> None:
        self._event = threading.Event()
        self.when = float("nan")
        self._timer = threading.Timer(after, self._ask)
        self._timer.daemon = True
        self._timer.start()

    def _ask(self) -> None:
        self.when = time.perf_counter()
        self._event.set()

    def __call__(self) -> bool:
        """Return whether the time has come."""
        return self._event.is_set()

    def forget(self) -> None:
        """Ask no more."""
        self._timer.cancel()


def stopped(way: Way, after: float) -> float | None:
    """Return how many seconds a way went on after it was asked, None if it was done before."""
    asked = Asked(after)
    try:
        way(asked)
    except Cancelled:
        return time.perf_counter() - asked.when
    finally:
        asked.forget()
    return None if np.isnan(asked.when) else time.perf_counter() - asked.when  # it never listened, and came to its end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 160))
    parser.add_argument("--moments", type=int, default=8)
    parser.add_argument("--longest", type=float, default=_LONGEST, help="seconds after which no moment is drawn")
    parser.add_argument("--only", nargs="+", help="names of ways")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    print(
        f"{' x '.join(str(side) for side in options.size)} voxels, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"{'way':22} {'runs for':>9} {'worst':>6} {'median':>7}   asked at -> stopped after, seconds", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for title, way in ways(options.size, Path(name)).items():
            if options.only and title not in options.only:
                continue
            start = time.perf_counter()
            first = stopped(way, options.longest)
            seconds = time.perf_counter() - start - (first or 0)
            # Early ones hit the preparation, late ones the way home; the rest falls where it falls.
            shares = [0.02, 0.1, 0.97, *random.uniform(0.1, 0.95, max(0, options.moments - 3))][: options.moments]
            found = {after: stopped(way, after) for after in sorted(share * seconds for share in shares)}
            found[seconds] = first
            waits = {after: wait for after, wait in found.items() if wait is not None}
            told = "  ".join(f"{after:.1f}->{wait:.2f}" for after, wait in waits.items())
            runs = f"{seconds:.1f} s" if first is None else f"> {seconds:.0f} s"
            print(
                f"{title:22} {runs:>9} {max(waits.values()):6.2f} {np.median([*waits.values()]):7.2f}   {told}",
                flush=True,
            )


if __name__ == "__main__":
    main()
