"""How long each transform takes on a block of 64^3 voxels with its mask, as the preview runs it.

python benchmarks/transforms.py
"""

from __future__ import annotations

import time
import warnings

import numpy as np

from napari_seg3d.transforms import Pipeline, Step, catalogue, fit, run
from napari_seg3d.volumes import Volume

_SIDE, _TIMES = 64, 5


def main() -> None:
    warnings.simplefilter("ignore")
    grid = np.stack(np.meshgrid(*[np.arange(_SIDE)] * 3, indexing="ij"))
    mask = (np.linalg.norm(grid - _SIDE / 2, axis=0) < _SIDE / 4).astype(np.uint8)[np.newaxis]
    image = Volume((100 * mask + np.random.default_rng(0).normal(0, 5, mask.shape)).astype(np.float32), np.eye(4))
    labels = Volume(mask, image.affine, "labels")
    telling = {"Resample": {"target": 1.3}, "CropOrPad": {"target_shape": 70}, "Pad": {"padding": 4}, "Crop": {"cropping": 4}}
    for name in catalogue():
        pipeline = fit(Pipeline((Step(name, telling.get(name, {})),)), [image])
        seconds = []
        for _ in range(_TIMES):
            start = time.perf_counter()
            run(pipeline, image, labels, seed=0)
            seconds.append(time.perf_counter() - start)
        print(f"{name:32}{1000 * min(seconds):8.1f} ms")


if __name__ == "__main__":
    main()
