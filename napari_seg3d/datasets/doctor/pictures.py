"""A small picture of a case: one slice with the outlines of its labels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_seg3d.volumes import Grid, Volume

#: Longest edge of a thumbnail in pixels.
SIZE = 112

_COLOURS = np.array(
    [
        (255, 92, 87),
        (90, 220, 120),
        (90, 160, 255),
        (255, 200, 60),
        (230, 110, 255),
        (80, 225, 225),
        (255, 150, 70),
        (190, 230, 80),
    ],
    np.uint8,
)


def thumbnail(image: Volume, mask: NDArray[np.generic] | None) -> bytes:
    """Return a PNG of an axial slice the way radiologists look at it: the patient's right on the left, anterior up.

    Parameters
    ----------
    image : Volume
        Its first channel is shown.
    mask : array (I, J, K) or None
        Labels on the grid of the image; the slice with most of them is shown, else the middle one.
    """
    grid = image.grid.canonical()
    data = image.canonical().data[0]
    labels = image.grid.to_canonical(mask) if mask is not None else None
    axis = 2 if grid.shape[2] > 1 else int(np.argmin(grid.shape))
    index = data.shape[axis] // 2
    if labels is not None and labels.any():
        other = tuple(number for number in range(3) if number != axis)
        index = int(np.argmax(np.count_nonzero(labels, axis=other)))
    plane = radiological(data.take(index, axis))
    grey = grey_levels(plane)
    size = _size(grid, axis)
    picture = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    pixels = np.array(picture)
    if labels is not None and labels.any():
        flat = radiological(labels.take(index, axis)).astype(np.int32)
        enlarged = np.array(Image.fromarray(flat, mode="I").resize(size, Image.Resampling.NEAREST))
        edge = outline(enlarged)
        pixels[edge] = _COLOURS[enlarged[edge] % len(_COLOURS)]
    kept = io.BytesIO()
    Image.fromarray(pixels).quantize(64).save(kept, "PNG", optimize=True)
    return kept.getvalue()


def grey_levels(plane: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return intensities as 0 to 255, from the first to the 99th percentile."""
    shown = np.nan_to_num(plane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(shown, (1, 99))
    grey: NDArray[np.uint8] = (np.clip((shown - low) / (high - low or 1), 0, 1) * 255).astype(np.uint8)
    return grey


def radiological(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a slice of canonical axes as a picture (rows x columns), the way radiologists look at it."""
    # Canonical axes run to the right, anterior and superior; a picture runs to the right of the page and down.
    return np.ascontiguousarray(plane[::-1, ::-1].T)


def _size(grid: Grid, axis: int) -> tuple[int, int]:
    width, height = (
        length * step for number, (length, step) in enumerate(zip(grid.shape, grid.spacing, strict=True)) if number != axis
    )
    scale = SIZE / max(width, height)
    return max(8, round(width * scale)), max(8, round(height * scale))


def outline(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return the pixels of labels at whose sides something else lies."""
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    same = (inner == padded[:-2, 1:-1]) & (inner == padded[2:, 1:-1]) & (inner == padded[1:-1, :-2]) & (inner == padded[1:-1, 2:])
    edge: NDArray[np.bool_] = (inner != 0) & ~same
    return edge
