"""The memory that is planned for a prediction: near what a process really takes, and more for more."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from napari_seg3d.inference import ModelSpec, PredictOptions
from napari_seg3d.inference.memory import planned_memory
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.transforms import preprocessing_pipeline
from napari_seg3d.volumes import Grid, box_of


def make_spec(mode: str, dims: int = 3, classes: int = 3, window: int = 32) -> ModelSpec:
    strides = ((2, 2, 2 if dims == 3 else 1),) * 2
    return ModelSpec(
        network=NetworkSpec(dims=dims, out_channels=classes, features=(4, 8, 8), strides=strides),  # type: ignore[arg-type]
        labels={value: f"label {value}" for value in range(1, classes)},
        pipeline=preprocessing_pipeline(None, "zscore").to_list(),
        patch_size=(window, window, window if dims == 3 else 1),
        mode=mode,  # type: ignore[arg-type]
    )


def grid_of(*shape: int) -> Grid:
    i, j, k = shape
    return Grid((i, j, k), np.diag([-1.0, -1.0, 1.5, 1.0]))


_CHILD = """
import sys, threading
import numpy as np, psutil, torch
from napari_seg3d.inference import Computer, Predictor
from napari_seg3d.inference.memory import planned_memory
from napari_seg3d.networks import build_network
from napari_seg3d.volumes import Volume
from tests.inference.test_memory import grid_of, make_spec

spec, shape = make_spec(sys.argv[1]), [int(side) for side in sys.argv[2:]]
predictor = Predictor(spec, Computer(build_network(spec.network).eval(), "cpu", "32"))
affine = grid_of(1, 1, 1).affine
random = np.random.default_rng(0)
predictor.predict(Volume(random.normal(size=(1, 40, 40, 40)).astype(np.float32), affine))  # what is loaded at the first time
scan = Volume(random.integers(-1000, 1000, (1, *shape), dtype=np.int16), affine)
process, done = psutil.Process(), threading.Event()
before = most = process.memory_info().rss

def look():
    global most
    while not done.wait(0.005):
        most = max(most, process.memory_info().rss)

watcher = threading.Thread(target=look)
watcher.start()
predictor.predict(scan)
done.set()
watcher.join()
print((most - before) / planned_memory([spec], scan.grid))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "shape"), [("whole", (128, 128, 112)), ("patches", (224, 160, 128))])
def test_the_plan_is_near_what_a_process_takes(mode: str, shape: tuple[int, ...]) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD, mode, *map(str, shape)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert 0.5 < float(child.stdout.splitlines()[-1]) < 2


SCAN = grid_of(256, 256, 200)


def test_larger_scans_more_labels_and_more_maps_need_more() -> None:
    for mode, dims in (("patches", 3), ("whole", 3), ("patches", 2), ("whole", 2)):
        spec = make_spec(mode, dims)
        needed = planned_memory([spec], SCAN)
        assert planned_memory([spec], grid_of(256, 256, 400)) > needed
        assert planned_memory([make_spec(mode, dims, classes=30)], SCAN) > needed
        assert planned_memory([spec], SCAN, options=PredictOptions(probabilities=True, uncertainty=True)) > needed
        assert planned_memory([spec, spec], SCAN) > needed


@pytest.mark.parametrize(
    "settings", [{"mode": "patches"}, {"region": box_of((100, 100, 90), (140, 140, 120)), "mode": "patches"}]
)
def test_patches_and_regions_need_less_than_whole_scans(settings: dict[str, Any]) -> None:
    spec = make_spec("whole")
    assert planned_memory([spec], SCAN, options=PredictOptions(**settings)) < planned_memory([spec], SCAN) / 2
