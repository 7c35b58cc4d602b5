"""`Series`: one volume that can be opened, found from headers alone, and described without naming the patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import IrregularSeries, ReadError, Seg3dError
from napari_seg3d.volumes.dicom.decode import stored_frames
from napari_seg3d.volumes.dicom.frames import Frame, read_frames
from napari_seg3d.volumes.dicom.headers import quiet
from napari_seg3d.volumes.dicom.irregular import resample_slices
from napari_seg3d.volumes.dicom.planes import positions_of
from napari_seg3d.volumes.dicom.stack import Stack
from napari_seg3d.volumes.dicom.thumbnail import thumbnail_of
from napari_seg3d.volumes.dicom.values import read_stack, value_notes
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.volume import Source, Volume

NAME = "dicom"
#: Correlation below which two neighbouring pixels, or two neighbouring slices, have nothing to do with each other.
_UNRELATED = 0.1


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
        Such as ``"512 x 512 x 93"``; empty where headers do not tell.
    kind : {"image", "segmentation", "other"}
        What it is; "other" (reports, contours, plans) cannot be opened.
    problem : Seg3dError or None
        What opening it would say, as far as headers tell.
    folder : Path
        Where it was looked for.
    """

    files: tuple[Path, ...]
    modality: str
    description: str
    size: str
    kind: Literal["image", "segmentation", "other"]
    problem: Seg3dError | None
    folder: Path
    _stack: Stack | None = field(default=None, repr=False)

    @property
    def source(self) -> Source:
        """Where its volume comes from."""
        return Source(self.files[0] if len(self.files) == 1 else self.folder, NAME, files=self.files)

    def grid(self) -> Grid:
        """Return where its voxels lie, from headers alone where it is an image; raises as `read` does."""
        if self.problem is not None:
            raise self.problem
        if self._stack is None or self._stack.affine is None:
            return self.read().grid
        _, i, j, k = self._stack.shape
        return Grid((i, j, k), self._stack.affine)

    def read(
        self,
        resample_irregular: bool = False,
        progress: Callable[[int, int], None] | None = None,
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
        is_resampled = resample_irregular and isinstance(self.problem, IrregularSeries)
        if self.problem is not None and not is_resampled:
            raise self.problem
        assert self._stack is not None
        try:
            with quiet():
                return self._read(self._stack, is_resampled, progress, is_cancelled)
        except MemoryError as error:
            raise ReadError(f"{self.source.path} does not fit into memory.", "Close other programs.") from error
        except OSError as error:
            raise ReadError(
                f"{self.source.path} cannot be read: {error.strerror or type(error).__name__}.", "Check the disk."
            ) from error

    def thumbnail(self, size: int = 96) -> NDArray[np.uint8]:
        """Return the middle slice as a small grey picture ``(h, w)``, as it is stored, no side longer than `size`.

        Raises
        ------
        ReadError
            Its pixels cannot be decoded.
        """
        with quiet():
            if self.kind == "other":
                return np.zeros((size, size), np.uint8)
            frames = read_frames(self.files[0]) if self._stack is None else self._stack.frames[0]
            return thumbnail_of(frames[len(frames) // 2], size)

    def _read(
        self,
        stack: Stack,
        is_resampled: bool,
        progress: Callable[[int, int], None] | None,
        is_cancelled: Callable[[], bool] | None,
    ) -> Volume:
        notes = [*stack.notes, *value_notes([frame for channel in stack.frames for frame in channel])]
        copies = _refuse_conflicts(stack.copies)
        if copies:
            notes.append(f"{copies} slices are there twice, with the same pixels: each was read once.")
        data = read_stack(stack.frames, progress, is_cancelled)
        fourth, channels = stack.fourth, stack.channels
        if not stack.is_certain and all(np.array_equal(data[0], other) for other in data[1:]):
            notes = [f"The series is there {len(data)} times, with the same pixels: it was read once.", *notes[1:]]
            data, fourth, channels = data[:1].copy(order="K"), "channel", ()
        self._refuse_noise(data)
        affine = stack.affine
        if is_resampled:
            assert stack.plane is not None
            assert stack.spread is not None
            assert self.problem is not None
            positions = positions_of(stack.frames[0])
            data, affine = resample_slices(data, stack.plane, stack.spread, positions, is_cancelled)
            notes.append(f"Resampled onto a regular grid. {self.problem.what.removeprefix(f'{self.source.path}: ')}")
        assert affine is not None
        return Volume(
            data,
            affine,
            source=replace(self.source, files=() if is_resampled else self.files),
            notes=tuple(notes),
            fourth=fourth,
            channels=channels,
            modality=self.modality,
            is_oriented=stack.is_oriented,
        )

    def _refuse_noise(self, data: NDArray[np.generic]) -> None:
        """Refuse two slices of noise: only their pixels could have shown that they belong together."""
        if data.shape[0] != 1 or data.shape[3] != 2 or min(data.shape[1:3]) < 16:
            return
        first, second = data[0, :, :, 0], data[0, :, :, 1]
        pairs = ((first[1:], first[:-1]), (second[1:], second[:-1]), (first, second))
        if all(_correlation(one, other) < _UNRELATED for one, other in pairs):
            raise ReadError(
                f"{self.source.path} is no volume: its two slices are noise, which have nothing to do with each other.",
                "Choose another series, or export this one again.",
            )


def _refuse_conflicts(copies: tuple[tuple[Frame, Frame], ...]) -> int:
    """Return how many frames are there twice; refuse those that differ from what they seem to be a copy of."""
    for pair in copies:
        (one, first), (other, second) = ((frame, next(stored_frames([frame]))[1]) for frame in pair)
        if (one.slope, one.intercept) != (other.slope, other.intercept) or not np.array_equal(first, second):
            raise ReadError(
                f"{one.path} and {other.path} are two different pictures of the same slice.",
                "Keep the one that belongs to the series, and move the other elsewhere.",
            )
    return len(copies)


def _correlation(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    first, second = (array.astype(np.float64).ravel() for array in (one, other))
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / size if size else 1.0
