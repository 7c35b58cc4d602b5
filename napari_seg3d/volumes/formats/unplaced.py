"""Arrays from files that know nothing of a patient: pictures, stacks of pages, and plain arrays of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.grid import FloatArray
from napari_seg3d.volumes.volume import Fourth, Kind, Label, Source, Volume, storable

UNORIENTED = "The file does not say how it lies in the patient: it is shown as it is stored, left and right are not known."
UNSIZED = "The file does not say how large its voxels are: 1 mm was taken, so distances and volumes are counted in voxels."
_UNSIZED_SLICES = "The file does not say how far apart its slices are: 1 mm was taken."

#: Length of the voxel edges along x, y and z in mm; None where the file does not say.
Edges = tuple[float | None, float | None, float | None]

_MM = {
    "m": 1000.0,
    "dm": 100.0,
    "cm": 10.0,
    "mm": 1.0,
    "µm": 1e-3,
    "nm": 1e-6,
    "pm": 1e-9,
    "km": 1e6,
    "å": 1e-7,
    "in": 25.4,
}
_MM |= {
    "um": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "micrometer": 1e-3,
    "micrometre": 1e-3,
    "millimeter": 1.0,
    "millimetre": 1.0,
    "centimeter": 10.0,
    "centimetre": 10.0,
    "nanometer": 1e-6,
    "nanometre": 1e-6,
    "meter": 1000.0,
    "metre": 1000.0,
    "angstrom": 1e-7,
    "inch": 25.4,
}


def millimetres(size: object, unit: str) -> float | None:
    """Return a length in mm; None where it or its unit says nothing."""
    factor = _MM.get(unit.strip().replace("\u03bc", "µ").replace("\\u00B5", "µ").lower())
    try:
        length = abs(float(str(size))) * factor if factor is not None else 0.0
    except ValueError:
        return None
    return length if np.isfinite(length) and length > 0 else None


def affine_of(edges: Edges) -> FloatArray:
    """Return the affine that shows columns and rows as they are stored, in the radiological way.

    Columns run to the patient's left, rows to posterior, pages to superior.
    """
    x, y, z = (edge or 1.0 for edge in edges)
    return np.diag([-x, -y, z, 1.0])


def volume(
    path: Path,
    format_name: str,
    pages: NDArray[np.generic],
    edges: Edges = (None, None, None),
    *,
    kind: Kind = "image",
    notes: tuple[str, ...] = (),
    labels: Mapping[int, Label] | None = None,
    fourth: Fourth = "channel",
    channels: tuple[str, ...] = (),
    files: tuple[Path, ...] = (),
) -> Volume:
    """Return the volume of an array ``(C, Z, Y, X)``, with notes about what its file does not say."""
    if pages.dtype.kind not in "biuf":
        raise ReadError(f"{path} holds {pages.dtype} values, not a scan.", "Export it with plain numbers.")
    if pages.size == 0:
        raise ReadError(f"{path} holds no voxels ({'x'.join(map(str, pages.shape))}).", "Export it again.")
    if edges[0] is None or edges[1] is None:
        notes += (UNSIZED,)
        edges = (None, None, None)  # a stack of known distance and unknown width would look stretched
    elif edges[2] is None and pages.shape[1] > 1:
        notes += (_UNSIZED_SLICES,)
    return Volume(
        storable(np.transpose(pages, (0, 3, 2, 1))),
        affine_of(edges),
        kind,
        Source(path, format_name, files=files),
        (*notes, UNORIENTED),
        labels=labels or {},
        fourth=fourth,
        channels=channels,
        is_oriented=False,
    )
