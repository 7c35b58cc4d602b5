"""`Volume`: an array, where it lies in the patient, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import GeometryError
from napari_seg3d.volumes.grid import FloatArray, Grid

Kind = Literal["image", "labels"]
#: What the channel axis of a volume counts.
Fourth = Literal["channel", "time"]


def storable(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return `data` as a number type of this machine's byte order that every format can hold, unchanged where it is one."""
    other = {"b1": np.uint8, "f2": np.float32, "f12": np.float64, "f16": np.float64}
    wanted = other.get(f"{data.dtype.kind}{data.dtype.itemsize}", data.dtype.newbyteorder("="))
    return data.astype(wanted, copy=False)


@dataclass(frozen=True)
class Source:
    """Where a volume came from, and what is needed to write a mask back the same way.

    Parameters
    ----------
    path : Path
        The file, or the folder of a DICOM series.
    format : str
        Name of the format that read it, such as ``"nifti"``.
    header : object, optional
        What that format wants back when it writes: the NIfTI header with its sform, qform and their codes.
    files : tuple of Path
        All the files of a series, in the order of its slices; empty where `path` is the only one.
    """

    path: Path
    format: str
    header: object | None = field(default=None, repr=False, compare=False)
    files: tuple[Path, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Label:
    """What a file says about one label.

    Parameters
    ----------
    name : str
        Such as ``"Liver"``; empty where the file gives none.
    colour : str
        ``#rrggbb``; empty where the file gives none.
    """

    name: str = ""
    colour: str = ""


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or a mask in the file's own voxel order.

    Parameters
    ----------
    data : array of shape (C, I, J, K)
        Channels first. A mask has one channel of integers; overlapping labels have a channel each, which holds 0 and c + 1 in
        channel c.
    affine : array of shape (4, 4)
        Voxel index to RAS+ millimetres.
    kind : {"image", "labels"}
        What the numbers mean.
    source : Source, optional
        Where it came from.
    notes : tuple of str
        What the user should know about how the file was understood, such as a missing orientation.
    labels : mapping of int to Label
        Names and colours of a mask's values, where the file gives them.
    fourth : {"channel", "time"}
        What the first axis of `data` counts.
    channels : tuple of str
        A name for each channel, such as ``"0 s"`` of a time series; empty where the file gives none.
    modality : str
        By the DICOM term, such as ``"CT"`` (values in HU), ``"MR"`` or ``"CR"``; empty where the file does not say.
    is_oriented : bool
        Whether the file says how it lies in the patient. Where it does not, right and left are a convention, not a fact.
    """

    data: NDArray[np.generic]
    affine: FloatArray
    kind: Kind = "image"
    source: Source | None = None
    notes: tuple[str, ...] = ()
    labels: Mapping[int, Label] = field(default_factory=dict)
    fourth: Fourth = "channel"
    channels: tuple[str, ...] = ()
    modality: str = ""
    is_oriented: bool = True

    def __post_init__(self) -> None:
        if self.data.ndim != 4:
            raise GeometryError(
                f"A volume needs four axes (channels, I, J, K), not {self.data.ndim}.",
                "Add a channel axis of length one in front.",
            )
        self.grid  # noqa: B018  an impossible affine is refused here, not at the first use

    @cached_property
    def grid(self) -> Grid:
        """Shape and affine of the spatial axes."""
        return Grid(self.data.shape[1:], self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Length of the voxel edges along I, J and K in mm."""
        return self.grid.spacing

    @property
    def orientation(self) -> str:
        """The patient directions nearest to I, J and K, such as ``"RAS"``."""
        return self.grid.orientation

    def canonical(self) -> Volume:
        """Return this volume with its axes nearest to R, A and S; the data is a view, nothing is resampled."""
        return replace(self, data=self.grid.to_canonical(self.data), affine=self.grid.canonical().affine)

    def with_data(self, data: NDArray[np.generic], kind: Kind | None = None) -> Volume:
        """Return other values ``(C, I, J, K)`` on the grid of this volume."""
        if data.shape[1:] != self.data.shape[1:]:
            raise GeometryError(f"{data.shape[1:]} voxels do not lie on a grid of {self.grid}.", "Resample them onto it first.")
        return replace(self, data=data, kind=kind or self.kind)
