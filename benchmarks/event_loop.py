"""How smooth the viewer stays while a training runs on the same cores.

A viewer scrolls through a volume with labels; a 10 ms timer notes how late it is called. The same viewer is measured without a training,
beside one, and without again, in one run; the figure is the ratio of the 95th percentiles.

    python benchmarks/event_loop.py            # needs a display; on a headless Linux: scripts/with_display.sh python benchmarks/event_loop.py
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEventLoop, QTimer

from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import TrainConfig, start_run

_SHAPE = (64, 128, 128)


def gaps(viewer: napari.Viewer, seconds: float) -> NDArray[np.float64]:
    """Return the times between two calls of a 10 ms timer, in ms, while the viewer scrolls."""
    found: list[float] = []
    last = time.perf_counter()

    def note() -> None:
        nonlocal last
        now = time.perf_counter()
        found.append(1000 * (now - last))
        last = now

    def scroll() -> None:
        viewer.dims.set_current_step(0, (viewer.dims.current_step[0] + 1) % _SHAPE[0])

    timers = []
    for pause, action in ((10, note), (50, scroll)):
        timer = QTimer()
        timer.setInterval(pause)
        timer.timeout.connect(action)
        timer.start()
        timers.append(timer)
    _run_events(seconds)
    for timer in timers:
        timer.stop()
    return np.array(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="how long each of the three measurements takes")
    parser.add_argument("--dataset", type=Path, default=dataset_folder(), help="what to train on meanwhile")
    options = parser.parse_args()

    random = np.random.default_rng(0)
    viewer = napari.Viewer(title="event loop", ndisplay=2)
    viewer.add_image(random.normal(size=_SHAPE).astype(np.float32))
    labels = np.zeros(_SHAPE, np.uint8)
    labels[16:48, 32:96, 32:96] = random.integers(1, 4, (32, 64, 64))
    viewer.add_labels(labels)
    viewer.window.resize(1366, 768)
    gaps(viewer, 5)  # shaders and caches
    before = gaps(viewer, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig.parse({"data": {"images": str(options.dataset)}, "optimization": {"minutes": 60}})
        run = start_run(config, Path(folder) / "run")
        try:
            while not any(event["kind"] == "step" for event in run.events()):
                assert not run.status().ended, run.status().message
                _run_events(0.5)
            _run_events(3)
            during = gaps(viewer, options.seconds)
        finally:
            run.kill()
            time.sleep(1)
    after = gaps(viewer, options.seconds)
    viewer.close()

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, napari {napari.__version__}")
    print("                 median     p95     max  (ms between calls of a 10 ms timer)")
    for name, values in (("without training", before), ("while training", during), ("without again", after)):
        print(f"{name:16} {np.median(values):7.1f} {np.percentile(values, 95):7.1f} {values.max():7.1f}")
    alone = np.percentile(np.concatenate([before, after]), 95)
    print(f"p95 while training / without: {np.percentile(during, 95) / alone:.2f}")


def _run_events(seconds: float) -> None:
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


if __name__ == "__main__":
    main()
