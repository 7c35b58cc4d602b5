"""`Windows`: how a network from elsewhere looks at a scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_seg3d.volumes import Volume


@dataclass(frozen=True)
class Windows:
    """How a network looks at a scan.

    Parameters
    ----------
    size : tuple of int or None
        Sides of the windows; None for whole scans.
    padding : str
        How smaller scans are filled up, by NumPy's name.
    value : float
        With what, for "constant".
    """

    size: tuple[int, int, int] | None
    padding: str = "constant"
    value: float = 0.0

    def padded(self, volume: Volume) -> Volume:
        """Return a volume that is as large as a window at least, with as much added on both sides."""
        missing = [max(0, size - side) for size, side in zip(self.size or (0, 0, 0), volume.grid.shape, strict=True)]
        if not any(missing):
            return volume
        widths = [(0, 0), *((count // 2, count - count // 2) for count in missing)]
        more: dict[str, Any] = {"constant_values": self.value} if self.padding == "constant" else {}
        affine = volume.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ np.array([before for before, _ in widths[1:]])
        return replace(volume, data=np.pad(volume.data, widths, mode=self.padding, **more), affine=affine)  # type: ignore[call-overload]
