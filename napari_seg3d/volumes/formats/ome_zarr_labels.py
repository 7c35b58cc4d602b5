"""A mask as OME-Zarr 0.5 that is written piece by piece, so that all of it never is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import WriteError
from napari_seg3d.volumes.crop import Box
from napari_seg3d.volumes.formats.ngff import DIRECTIONS
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Label

_VERSION = "0.5"
_CHUNK = 64  # voxels: a megabyte at most, of which a viewer reads those that it shows


class StoredLabels:
    """A mask on the disk, background where nothing was written.

    Its axes are stored as z, y, x, which are K, J and I of the grid; labels that overlap have an axis c in front.

    Parameters
    ----------
    folder : Path
        To be made.
    grid : Grid
        Where the mask lies; each axis along one of the patient, because OME-Zarr knows no others.
    dtype : numpy.dtype
        A type of whole numbers.
    labels : mapping of int to Label
        Names and colours.
    channels : int
        More than one for labels that overlap.
    is_oriented : bool
        Whether the directions of the axes are known, and are told.

    Raises
    ------
    WriteError
        The grid is oblique.
    """

    def __init__(
        self,
        folder: Path,
        grid: Grid,
        dtype: np.dtype[np.generic],
        labels: Mapping[int, Label],
        channels: int = 1,
        is_oriented: bool = True,
    ) -> None:
        import zarr

        if grid.is_oblique:
            raise WriteError(f"OME-Zarr cannot hold an oblique grid ({grid}).", "Choose .nii.gz.")
        shape = grid.shape[::-1]
        self._has_channels = channels > 1
        group = zarr.open_group(folder, mode="w", zarr_format=3)
        self._array = group.create_array(
            "0",
            shape=(channels, *shape) if self._has_channels else shape,
            chunks=(*([1] if self._has_channels else []), *(min(_CHUNK, side) for side in shape)),
            dtype=dtype,
            fill_value=0,
        )
        group.attrs["ome"] = _metadata(grid, labels, self._has_channels, is_oriented)

    def write(self, box: Box, values: NDArray[np.generic]) -> None:
        """Write values ``(channels, i, j, k)`` into a box of the grid."""
        stored = values.transpose(0, 3, 2, 1)
        self._array[(..., *box[::-1])] = stored if self._has_channels else stored[0]


def _metadata(grid: Grid, labels: Mapping[int, Label], has_channels: bool, is_oriented: bool) -> dict[str, object]:
    axes: list[dict[str, object]] = [{"name": "c", "type": "channel"}] if has_channels else []
    scale, translation = ([1.0], [0.0]) if has_channels else ([], [])
    for name, column in zip("zyx", (2, 1, 0), strict=True):
        direction = int(np.abs(grid.affine[:3, column]).argmax())
        sign = int(np.sign(grid.affine[direction, column]))
        told = next(word for word, meaning in DIRECTIONS.items() if meaning == (direction, sign))
        axis: dict[str, object] = {"name": name, "type": "space", "unit": "millimeter"}
        axes.append({**axis, "orientation": {"type": "anatomical", "value": told}} if is_oriented else axis)
        scale.append(grid.spacing[column])
        translation.append(float(sign * grid.affine[direction, 3]))
    placed = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": translation}]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": placed}]}
    about: dict[str, object] = {"properties": [{"label-value": value, "name": one.name} for value, one in labels.items()]}
    colours = [
        {"label-value": value, "rgba": [*bytes.fromhex(one.colour.lstrip("#")), 255]}
        for value, one in labels.items()
        if one.colour
    ]
    return {"version": _VERSION, "multiscales": [multiscale], "image-label": about | ({"colors": colours} if colours else {})}
