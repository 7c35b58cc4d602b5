"""What can go wrong, said so that a person can act on it.

Every error that a user may see is a :class:`Seg3dError`: what happened, to which file or value, and what to do about it.
None of them derives from ``RuntimeError``, because generator workers of superqt swallow those without a signal.
"""

from __future__ import annotations

from pathlib import Path


class Seg3dError(Exception):
    """Base of every error that is meant for the user.

    Parameters
    ----------
    what : str
        What happened, naming the file or the value.
    fix : str, optional
        What the user can do about it, as a full sentence.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n{self.fix}" if self.fix else self.what


class ReadError(Seg3dError):
    """A file cannot be read, or what it holds cannot be trusted."""


class WriteError(Seg3dError):
    """A file cannot be written; whatever stood there before is untouched."""


class DiskFull(WriteError):  # noqa: N818  said as people say it
    """There is no room for a file; with more room it can be written.

    Parameters
    ----------
    what, fix : str
        As for every error.
    folder : Path, optional
        A folder on the disk that is full.
    """

    def __init__(self, what: str, fix: str = "", folder: Path | None = None) -> None:
        super().__init__(what, fix)
        self.folder = folder


class GeometryError(Seg3dError):
    """Two grids do not fit together, or one is impossible."""


class IrregularSeries(GeometryError):  # noqa: N818  nothing failed: the slices lie like this in the patient
    """The slices of a series are tilted or unevenly spaced: they can be resampled onto a regular grid, but are not one."""


class LabelError(Seg3dError):
    """A mask holds values that are no labels."""


class DatasetError(Seg3dError):
    """A folder, or the cases found in it, cannot be used as asked."""


class ConfigError(Seg3dError):
    """A setting is unknown, out of range, or impossible for this data."""


class ModelError(Seg3dError):
    """A checkpoint is not one of ours, is damaged, or does not fit the image."""


class TrainingError(Seg3dError):
    """A training run cannot go on."""


class Cancelled(Seg3dError):  # noqa: N818  nothing went wrong
    """The user asked for this work to stop."""
