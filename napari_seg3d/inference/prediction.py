"""`Prediction`: what a model says about a scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.volumes import Volume


@dataclass(frozen=True)
class Prediction:
    """What a model says about a scan.

    Parameters
    ----------
    labels : Volume
        On the scan's own grid and in its voxel order, with the scan's source. Overlapping labels have a channel each: channel c holds 0
        and c + 1, where c + 1 is the value of the label. Values beyond 64 are numbered anew, from 1.
    seconds : float
        How long it took, from the scan in memory to the labels.
    notes : tuple of str
        What the user should know about it.
    probabilities : Volume, optional
        A channel for each class, the background first, or for each label that may overlap others; float32, on the scan's grid.
    uncertainty : Volume, optional
        float32, 0 to 1, on the scan's grid: a channel with the entropy, and where several answers were averaged one with how much they
        disagree.
    """

    labels: Volume
    seconds: float
    notes: tuple[str, ...] = ()
    probabilities: Volume | None = None
    uncertainty: Volume | None = None


def map_of(channels: NDArray[np.float32] | None, scan: Volume, names: tuple[str, ...]) -> Volume | None:
    """Return channels ``(C, I, J, K)`` on a scan's grid as a volume of it."""
    if channels is None:
        return None
    return Volume(channels, scan.affine, "image", scan.source, channels=names[: len(channels)], is_oriented=scan.is_oriented)
