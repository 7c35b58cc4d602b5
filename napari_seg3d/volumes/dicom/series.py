"""`Series`: one volume that can be opened, found from headers alone, and described without naming the patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_seg3d.errors import Seg3dError
from napari_seg3d.volumes.dicom import pixels
from napari_seg3d.volumes.dicom.headers import quiet
from napari_seg3d.volumes.dicom.stack import Stack
from napari_seg3d.volumes.volume import Source, Volume

Progress = Callable[[int, int], None]
NAME = "dicom"


@dataclass(frozen=True, eq=False)
class Series:
    """One volume in DICOM files.

    Parameters
    ----------
    files : tuple of Path
        Its files, in the order of its slices; of a time series those of the first time point first.
    modality : str
        By the DICOM term, such as ``"CT"``.
    description : str
        What a person can choose by: modality, number, description, plane, size. Nothing in it names the patient.
    size : str
        Such as ``"512 x 512 x 93"``.
    kind : {"image", "segmentation", "other"}
        What it is; "other" (reports, contours, plans) cannot be opened.
    problem : Seg3dError or None
        What opening it would say, as far as headers tell.
    """

    files: tuple[Path, ...]
    modality: str
    description: str
    size: str
    kind: Literal["image", "segmentation", "other"]
    problem: Seg3dError | None
    folder: Path
    _stack: Stack | None = field(default=None, repr=False)

    def read(
        self,
        resample_irregular: bool = False,
        progress: Progress | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> Volume:
        """Read the volume.

        Parameters
        ----------
        resample_irregular : bool
            Whether slices that are tilted or unevenly spaced are resampled onto a regular grid, instead of refused.
        progress : callable, optional
            Called with the number of frames done and of all.
        is_cancelled : callable, optional
            Asked after each frame.

        Raises
        ------
        IrregularSeries
            The slices do not lie on a regular grid.
        GeometryError
            They do not say where they lie, or say impossible things.
        ReadError
            A file is cut off, damaged, or of no picture.
        Cancelled
            `is_cancelled` said so.
        """
        if self.kind == "segmentation":
            from napari_seg3d.volumes.dicom.segmentation import read_segmentation

            return read_segmentation(self.files[0])
        stack = self._stack
        if self.problem is not None or stack is None:
            assert self.problem is not None
            raise self.problem
        with quiet():
            data = pixels.read_stack(stack.frames, progress, is_cancelled)
        assert stack.affine is not None
        return Volume(
            data,
            stack.affine,
            source=Source(self.files[0] if len(self.files) == 1 else self.folder, NAME, files=self.files),
            notes=stack.notes,
            fourth=stack.fourth,
            channels=stack.channels,
            modality=self.modality,
            is_oriented=stack.is_oriented,
        )
