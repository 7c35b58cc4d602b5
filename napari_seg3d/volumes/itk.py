"""NRRD and MetaImage (MHA, MHD), through SimpleITK."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.grid import FloatArray, Grid
from napari_seg3d.volumes.streams import refuse_damaged
from napari_seg3d.volumes.volume import Source, Volume, storable

if TYPE_CHECKING:
    import SimpleITK as sitk

# ITK keeps places in LPS+ millimetres, we in RAS+: x and y change their sign.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_grid(path: Path) -> Grid:
    """Return the grid of a file from its header alone."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_reader_of(path))
    reader.ReadImageInformation()
    size, spacing = reader.GetSize(), reader.GetSpacing()
    return Grid(_three(size, 1), _affine(spacing, reader.GetOrigin(), reader.GetDirection()))


def read(path: Path) -> Volume:
    """Return the volume in a file; components or a fourth axis become channels, in front."""
    import SimpleITK as sitk

    refuse_damaged(path)
    image = sitk.ReadImage(str(path), imageIO=_reader_of(path))
    name = "nrrd" if path.suffix.lower() == ".nrrd" else "metaimage"
    notes: tuple[str, ...] = ()
    data = sitk.GetArrayFromImage(image)  # (t), z, y, x, (component)
    components = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() > 3 and components > 1:
        raise ReadError(f"{path} has four axes and {components} components.", "Split it into one file per volume.")
    if components > 1:
        data = np.moveaxis(data, -1, 0)
        notes = (f"The {components} components of each voxel were read as channels.",)
    elif image.GetDimension() == 4:
        notes = (f"The fourth axis of the file ({data.shape[0]} long) was read as channels.",) if data.shape[0] > 1 else ()
    elif image.GetDimension() < 4:
        data = data[np.newaxis]
    if image.GetDimension() == 2:
        data = data[:, np.newaxis]
    if data.dtype.kind not in "biuf":
        raise ReadError(f"{path} holds {data.dtype} values, not a scan.", "Export it with plain numbers.")
    affine = _affine(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return Volume(np.transpose(data, (0, 3, 2, 1)), affine, "image", Source(path, name), notes)


def write(path: Path, volume: Volume) -> None:
    """Write `volume`, compressed."""
    import SimpleITK as sitk

    sitk.WriteImage(to_itk(volume), str(path), useCompression=True)
    # ITK does not notice a disk that fills up while the file is closed: only reading shows whether everything arrived.
    try:
        arrived = read(path).data
    except (RuntimeError, ReadError, zlib.error) as error:
        raise OSError("not all of it arrived on the disk") from error
    if not np.array_equal(arrived, volume.data, equal_nan=arrived.dtype.kind == "f"):
        raise OSError("other voxels arrived on the disk")


def to_itk(volume: Volume) -> sitk.Image:
    """Return a copy of `volume` as a SimpleITK image in LPS+; several channels become components."""
    import SimpleITK as sitk

    array = np.transpose(storable(volume.data), (0, 3, 2, 1))  # c, z, y, x
    many = array.shape[0] > 1
    image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if many else array[0], isVector=many)
    place(image, volume.grid)
    return image


def place(image: sitk.Image, grid: Grid) -> None:
    """Give a SimpleITK image the spacing, origin and direction of `grid`."""
    lps = _LPS_TO_RAS @ grid.affine
    image.SetSpacing(grid.spacing)
    image.SetOrigin(tuple(lps[:3, 3]))
    image.SetDirection(tuple((lps[:3, :3] / np.array(grid.spacing)).ravel()))


def from_itk_array(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a view with axes (I, J, K) of the ``(z, y, x)`` array of a SimpleITK image."""
    return np.transpose(array, (2, 1, 0))


def _reader_of(path: Path) -> str:
    # Left alone, ITK goes by the content and would take a lone DICOM slice under the name of a volume.
    return "NrrdImageIO" if path.suffix.lower() == ".nrrd" else "MetaImageIO"


def _affine(spacing: tuple[float, ...], origin: tuple[float, ...], direction: tuple[float, ...]) -> FloatArray:
    dimension = len(spacing)
    n = min(dimension, 3)
    affine = np.eye(4)
    affine[:n, :n] = np.array(direction).reshape(dimension, dimension)[:n, :n] * np.array(spacing)[:n]
    affine[:n, 3] = origin[:n]
    return _LPS_TO_RAS @ affine


def _three(size: tuple[int, ...], fill: int) -> tuple[int, int, int]:
    i, j, k = (tuple(size) + (fill,) * 3)[:3]
    return i, j, k
