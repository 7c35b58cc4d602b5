"""Radiographs of spines that no patient has: six vertebrae that overlap where one lies before the next, each with a mask of its own.

A vertebra looks like its neighbours; which one it is shows from its size, which grows downwards, from the ribs of the upper four, which
become shorter, and from the pelvis below the last. So it cannot be had by a threshold, and an image that is upside down can be told from one
that is not. The images differ in size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VERTEBRAE = 6
COUNT = 12
_FINER = 3  # rows and columns that are computed for each one that is stored


def make_spines(folder: str | Path) -> None:
    """Write ``img/NNN.png`` and ``label/NNN.mat`` with ``label_separated``, rows x columns x 7: six vertebrae and the background."""
    import scipy.io
    from PIL import Image

    folder = Path(folder)
    for name in ("img", "label"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(1, COUNT + 1):
        image, separated = make_spine(number)
        Image.fromarray(image).save(folder / "img" / f"{number:03d}.png", optimize=True)
        scipy.io.savemat(folder / "label" / f"{number:03d}.mat", {"label_separated": separated}, do_compression=True)


def make_spine(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a radiograph ``(rows, columns)`` and its masks ``(rows, columns, 7)`` of 0 and 1, the last of them the background."""
    random = np.random.default_rng([30, number])
    height, width = int(random.integers(144, 177)), int(random.integers(96, 121))
    # Places in shares of the image's height, rows from the top and columns from the middle.
    rows, columns = (np.indices((height * _FINER, width * _FINER)) + 0.5) / (height * _FINER)
    columns = columns - width / height / 2
    bend, lean, middle = random.uniform(-0.05, 0.05), random.uniform(-0.03, 0.03), random.uniform(-0.03, 0.03)

    def spine(row: NDArray[np.float64] | float) -> NDArray[np.float64] | float:
        return middle + lean * row + bend * np.sin(np.pi * row)

    shadow = 0.35 * np.exp(-((columns / 0.32) ** 4)) + 0.1 * np.sin(5 * rows + random.uniform(0, 6)) ** 2
    masks = np.zeros((VERTEBRAE, *rows.shape), dtype=bool)
    top = random.uniform(0.06, 0.1)
    for vertebra in range(VERTEBRAE):
        size = (0.1 + 0.0125 * vertebra) * random.uniform(0.95, 1.05)
        centre = top + size / 2
        slope = lean + bend * np.pi * np.cos(np.pi * centre) + random.normal(0, 0.02)
        along = rows - centre + slope * (columns - spine(centre))
        across = columns - spine(centre) - slope * (rows - centre)
        # The end plates bulge into one another's shadow: a seventh of each vertebra lies over the next.
        inside = (np.abs(along) / (0.57 * size)) ** 6 + (np.abs(across) / (0.62 * size)) ** 6 < 1
        masks[vertebra] = inside
        shadow += inside * (0.28 + 0.12 * (np.abs(along) / size) ** 2)
        rib = np.abs(along - 0.25 * np.abs(across)) < 0.012
        reach = 0.62 * size + (4 - vertebra) * 0.055
        shadow += 0.15 * (rib & (np.abs(across) > 0.62 * size) & (np.abs(across) < reach))
        top += size
    # The wings of the pelvis, either side of and below the last vertebra.
    for side in (-1, 1):
        wing = ((columns - spine(1.0) - side * 0.2) / 0.15) ** 2 + ((rows - top - 0.06) / 0.12) ** 2
        shadow += 0.3 * (wing < 1)

    def binned(array: NDArray[np.generic]) -> NDArray[np.float64]:
        pieces = np.asarray(array, np.float64).reshape(height, _FINER, width, _FINER)
        mean: NDArray[np.float64] = pieces.mean(axis=(1, 3))
        return mean

    grey = 255 * (1 - np.exp(-1.6 * binned(shadow))) * random.uniform(0.75, 1.0) + random.normal(0, 5, (height, width))
    separated = np.zeros((height, width, VERTEBRAE + 1), dtype=np.uint8)
    for vertebra, mask in enumerate(masks):
        separated[..., vertebra] = binned(mask) > 0.5
    separated[..., VERTEBRAE] = 1 - separated[..., :VERTEBRAE].max(axis=2)
    return (np.rint(grey / 4) * 4).clip(0, 255).astype(np.uint8), separated
