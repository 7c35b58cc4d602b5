"""What the files of a case hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_seg3d.volumes import Grid

#: The shares of voxels below each of `CaseFacts.labelled`: half a percent to 99.5 percent, evenly.
LABELLED_SHARES = tuple((number + 0.5) / 100 for number in range(100))


@dataclass(frozen=True)
class CaseFacts:
    """What the files of a case hold.

    Parameters
    ----------
    grid : Grid
        Of the image.
    channels : int
        Of the image, over all its files.
    dtype : str
        Number type of the image, such as ``"int16"``; empty where the voxels were not read.
    minimum, maximum, mean : float
        Over the finite voxels of all channels; NaN when there are none.
    label_counts : dict of int to int
        Label value (0, the background, too) -> voxels in the mask; empty without a mask that can be used.
    step : float or None
        Step between the grey values, see :func:`napari_seg3d.datasets.subjects.intensity_step`.
    low, middle, high : float
        1st, 50th and 99th percentile of the first channel.
    modality : str
        By the DICOM term; empty where the file does not say.
    mask_dtype : str
        Number type of the mask in its file, as far as its header says.
    labelled : tuple of float
        Intensities of the first channel where a label lies: quantiles at the shares :data:`LABELLED_SHARES`; empty where there are none.
    overlapping : bool
        Whether labels of the mask overlap.
    painted : three ints
        Sagittal, coronal and axial slices in which something of the mask lies.
    thumbnail : bytes
        PNG of the slice where most is labelled, with the outlines of the labels; empty where nothing can be shown.
    """

    grid: Grid
    channels: int
    dtype: str
    minimum: float
    maximum: float
    mean: float
    label_counts: dict[int, int]
    step: float | None = None
    low: float = float("nan")
    middle: float = float("nan")
    high: float = float("nan")
    modality: str = ""
    mask_dtype: str = ""
    labelled: tuple[float, ...] = field(default=(), repr=False)
    overlapping: bool = False
    painted: tuple[int, int, int] = (0, 0, 0)
    thumbnail: bytes = field(default=b"", repr=False)

    def millilitres(self, label: int) -> float:
        """Return the volume of a label."""
        return self.label_counts.get(label, 0) * self.grid.voxel_volume / 1000
