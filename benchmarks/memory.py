"""How the memory of the training process grows over fifty epochs on the sample data.

    python benchmarks/memory.py [EPOCHS]

Prints the memory after each tenth of the epochs, and the slope of a line through all measurements after the first fifth, when
everything that is allocated once is there. Flat means: less than a megabyte in ten epochs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import TrainConfig, start_run


def main(epochs: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_SEG3D_HOME"] = folder
        config = TrainConfig.parse({"data": {"images": str(dataset_folder())}}).with_values(
            {
                "optimization.minutes": None,
                "optimization.epochs": epochs,
                "sampling.patch_size": [32, 32, 32],
                "network.features": [8, 16, 32],
                "optimization.batch_size": 2,
            }
        )
        run = start_run(config, Path(folder) / "run")
        while not run.status().ended:
            time.sleep(1)
        status = run.status()
        if status.state != "finished":
            sys.exit(status.message)
        told = [(event["epoch"], event["memory"] / 1e6) for event in run.events() if event["kind"] == "step"]
    epoch, memory = np.array(told).T
    for tenth in np.linspace(0, epochs, 11):
        at = int(np.abs(epoch - tenth).argmin())
        print(f"epoch {epoch[at]:6.1f}: {memory[at]:7.1f} MB")
    settled = epoch >= epochs / 5
    slope = np.polyfit(epoch[settled], memory[settled], 1)[0]
    print(f"slope after epoch {epochs / 5:g}: {slope:+.3f} MB per epoch, {len(told)} measurements")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 50.0)
