"""What makes a scan useless, whatever one wants to do with it."""

from __future__ import annotations

import numpy as np

from napari_seg3d.volumes.volume import Volume


def fault_of(image: Volume) -> tuple[str, str] | None:
    """Return what is wrong with the values of a scan, and the fix; None when nothing is.

    The first is the end of a sentence that begins with the scan's name.
    """
    if image.data.dtype.kind == "f":
        broken = int(image.data.size - np.count_nonzero(np.isfinite(image.data)))
        if broken:
            return (
                f"holds {broken} voxels that are no finite numbers (NaN or infinity).",
                "Replace them, for example with the value of air, and write the file again.",
            )
    for channel in image.data:
        if channel.min() == channel.max():
            return (
                f"is constant: every voxel is {channel.flat[0]:g}, so there is nothing to see.",
                "Export the scan again; leave it out if it is empty.",
            )
    return None
