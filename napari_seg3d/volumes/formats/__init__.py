"""One module per file format; each offers a `Format`. Only `volumes.io` looks in here."""

from napari_seg3d.volumes.formats import analyze, dicom, itk, matlab, mgh, minc, nifti, npy, ome_zarr, png, tiff
from napari_seg3d.volumes.formats.format import Format

#: Every format, the most common first.
FORMATS: tuple[Format, ...] = (
    nifti.NIFTI,
    itk.NRRD,
    itk.METAIMAGE,
    mgh.MGH,
    minc.MINC,
    analyze.ANALYZE,
    tiff.TIFF,
    dicom.DICOM,
    ome_zarr.OME_ZARR,
    matlab.MATLAB,
    npy.NPY,
    npy.NPZ,
    png.PNG,
    png.PICTURE,
    png.PNG_STACK,
)

__all__ = ["FORMATS", "Format"]
