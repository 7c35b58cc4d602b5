"""What all tests share: the folder of real scans, and a home of their own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_seg3d.training import Run, TrainConfig, start_run
from napari_seg3d.volumes import Volume, write_volume
from tests.waiting import wait_for

_SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process that tests has ended, if that was not its own doing."""
    if error is not None:
        print(f"\n{node.gateway.id} ended with status {node.gateway._io.popen.wait(10)}", flush=True)  # xdist does not tell


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans beside the checkout; without it a test is skipped."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"the folder of real scans is not there ({_SHARED_DATA})")
    return _SHARED_DATA


@pytest.fixture(autouse=True, scope="module")
def _only_what_is_new_is_searched_for_garbage() -> None:
    """Keep the collector from all that was imported: napari's fixture of a viewer calls it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's runs, cache and notes."""
    monkeypatch.setenv("NAPARI_SEG3D_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def ball_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Six small scans with a bright ball each, labelled 3, its core labelled 7: learnt within seconds."""
    root = tmp_path_factory.mktemp("balls")
    random = np.random.default_rng(0)
    for number in range(6):
        shape = (26, 22 + number, 18)
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
        centre = np.array(shape) / 2 + random.uniform(-3, 3, 3)
        distance = np.linalg.norm(grid - centre[:, None, None, None], axis=0)
        mask = np.where(distance < 3, 7, np.where(distance < 6, 3, 0)).astype(np.uint8)
        image = (100 * (mask > 0) + 100 * (mask == 7) + random.normal(0, 10, shape)).astype(np.int16)
        # Every second scan is stored the other way round, so that whoever ignores the affine is found out.
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) if number % 2 else np.eye(4)
        affine[:3, 3] = (20, -10, 5)
        for folder, data, kind in (("images", image, "image"), ("labels", mask, "labels")):
            write_volume(Volume(data[np.newaxis], affine, kind), root / folder / f"ball_{number}.nii.gz")
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    yield root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == written, "a test has changed what all tests share"


#: Settings of a run that ends within seconds.
QUICK = {
    "sampling.patch_size": [16, 16, 16],
    "network.features": [8, 16, 32],
    "optimization.minutes": 1.0,
    "optimization.max_iterations": 60,
    "optimization.batch_size": 2,
    "optimization.learning_rate": 0.01,
    "device.workers": 0,
    "device.precision": "32",  # of whichever processor: what is learnt, and said of it, is the same to the voxel
}


@pytest.fixture(scope="session")
def quick_config(ball_dataset: Path) -> TrainConfig:
    """A run over the balls that ends within seconds."""
    return TrainConfig.parse({"data": {"images": str(ball_dataset), "validation": 0.34}}).with_values(QUICK)


@pytest.fixture(scope="session")
def finished_run(quick_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run over the balls, made by the real training process."""
    home = tmp_path_factory.mktemp("run-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_SEG3D_HOME", str(home))
        run = start_run(quick_config, tmp_path_factory.mktemp("runs") / "balls")
        status = wait_for(run)
    assert status.state == "finished", f"{status.message}\n{run.log.read_text()}"
    return run
