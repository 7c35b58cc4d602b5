"""One module per file format; each offers a `Format`. Only `volumes.io` looks in here."""

from napari_seg3d.volumes.formats import itk, nifti
from napari_seg3d.volumes.formats.format import Format

#: Every format, the most common first.
FORMATS: tuple[Format, ...] = (nifti.NIFTI, itk.NRRD, itk.METAIMAGE)

__all__ = ["FORMATS", "Format"]
