"""One frame as a small grey picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.volumes.dicom.decode import stored_frames
from napari_seg3d.volumes.dicom.frames import Frame
from napari_seg3d.volumes.dicom.values import rescale

_SOFT_TISSUE = (-160.0, 240.0)


def thumbnail_of(frame: Frame, size: int) -> NDArray[np.uint8]:
    """Return a frame as ``(h, w)`` with no side longer than `size`; CT in a window for soft tissue, else by its percentiles."""
    ((_, stored),) = stored_frames([frame])
    values = np.empty(stored.shape[:2], np.float32)
    rescale(frame, stored, values)
    values = _shrunk(values, size)
    low, high = _SOFT_TISSUE if frame.header.modality == "CT" else tuple(np.percentile(values, (1, 99.5)))
    if values.max() <= low or values.min() >= high or high <= low:
        low, high = float(values.min()), float(values.max())
    grey = (values - low) * (255 / max(high - low, 1e-6))
    picture: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return picture


def _shrunk(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return the means of square blocks, so that thin bright lines do not vanish; smaller pictures stay as they are."""
    factor = -(-max(values.shape) // size)
    rows, columns = (max(n // factor, 1) for n in values.shape)
    blocks = values[: rows * factor, : columns * factor]
    if factor == 1 or 0 in blocks.shape or blocks.shape != (rows * factor, columns * factor):
        return values[::factor, ::factor]
    means: NDArray[np.float32] = blocks.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return means
