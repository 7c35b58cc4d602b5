"""Files cut off anywhere and with flipped bits: they are read, or refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_seg3d.errors import Seg3dError
from napari_seg3d.volumes import read_volume


def assert_survives_damage(path: Path, times: int = 60, *, named: Path | None = None) -> int:
    """Damage the file at `path` in many ways and open it, or `named`, each time; return how often it was refused."""
    random = np.random.default_rng(0)
    whole = path.read_bytes()
    refused = 0
    for _ in range(times):
        damaged = bytearray(whole)
        # Headers stand at the beginning, mostly: half of the flips go there.
        for place in random.integers(0, len(whole) if random.random() < 0.5 else min(len(whole), 600), 3):
            damaged[place] ^= 1 << random.integers(0, 8)
        if random.random() < 0.3:
            damaged = damaged[: random.integers(1, len(whole))]
        path.write_bytes(damaged)
        try:
            read_volume(named or path)
        except Seg3dError as error:
            refused += 1
            said = error.what
            if (named or path).name not in said:
                raise AssertionError(f"no file is named: {said}") from error
    path.write_bytes(whole)
    return refused
