"""Pictures in colour, where a number for each voxel is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.volumes.volume import Label

_MOST_COLOURS = 256
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def from_rgb(pages: NDArray[np.generic]) -> tuple[NDArray[np.generic], dict[int, Label], str]:
    """Return one number for each colour.

    - Where red, green and blue are the same everywhere: that grey.
    - Up to 256 colours: a mask painted in colours. Its values are ``65536 red + 256 green + blue``, which depend on nothing but
      the colour: numbering the colours of each file would give one structure another number in the next file.
    - More: the luminance, as floating point.

    Parameters
    ----------
    pages : array of shape (..., 3) or (..., 4)
        Red, green, blue, and opacity; what is wholly transparent counts as black.

    Returns
    -------
    numbers : array of shape (...)
        As above.
    labels : dict of int to Label
        The colours of a mask; empty otherwise.
    note : str
        What was done.
    """
    rgb = pages[..., :3]
    if pages.shape[-1] == 4:
        rgb = np.where(pages[..., 3:] == 0, 0, rgb)
    if np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2]):
        return rgb[..., 0], {}, "The picture is stored in colour, but all of it is grey: the grey was read."
    if rgb.dtype == np.uint8:
        packed = rgb.astype(np.uint32) @ np.array((1 << 16, 1 << 8, 1), np.uint32)
        values = np.unique(packed)
        if len(values) <= _MOST_COLOURS:
            labels = {int(value): Label(colour=f"#{value:06x}") for value in values if value}
            return packed, labels, f"Each of the {len(labels)} colours was read as a label; its number is that of the colour."
    luminance = rgb.astype(np.float32) @ np.array(_LUMINANCE, np.float32)
    return luminance, {}, "The picture has colours: their luminance was read."


def of_palette(palette: NDArray[np.generic], values: NDArray[np.generic]) -> dict[int, Label]:
    """Return the colours ``(n, 3)`` of 8 bits that a palette gives to `values`, without the background."""
    found = (int(value) for value in np.unique(values) if 0 < value < len(palette))
    return {value: Label(colour="#" + bytes(palette[value].astype(np.uint8).tolist()).hex()) for value in found}
