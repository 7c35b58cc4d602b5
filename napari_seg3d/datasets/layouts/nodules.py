"""Masks of lung nodules, made from their centres.

They are written beside ``dataset.yaml`` (compressed; a mask of a whole CT takes some 100 kB) and not into the user's cache, because
the folder must be able to move to another machine with all that its ``dataset.yaml`` names. A list beside them says what each was
made from, so that an import which was stopped goes on, and one that is repeated makes only what changed.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.dataset import Case, Dataset, Problem
from napari_seg3d.datasets.layouts.luna import Nodule, Tables, read_candidates, read_nodules, world_to_voxel
from napari_seg3d.datasets.pairing.listing import scan_name
from napari_seg3d.errors import Cancelled, Seg3dError
from napari_seg3d.files import write_text
from napari_seg3d.volumes import Volume, read_volume, write_volume

FOLDER = "nodule_masks"
LABELS = {1: "nodule"}

_LIST = "made_from.json"
_VERSION = 1
#: In HU: what is above, inside the lung, is no air.
AIR = -700.0
_FIRST_RADIUS = 2


@dataclass(frozen=True)
class SeriesSize:
    """How large a series is, and where its nodules are; known without reading it.

    Parameters
    ----------
    shape : tuple of int
        Voxels along I, J, K.
    positive : tuple of int
        The slices (along K) that show a nodule.
    """

    shape: tuple[int, int, int]
    positive: tuple[int, ...]


def nodule_mask(
    volume_hu: NDArray[np.integer | np.floating], centres: NDArray[np.integer] | Sequence[Sequence[int]]
) -> NDArray[np.uint8]:
    """Return a mask of the nodules at given centres.

    From each centre one walks outwards on each axis while both sides stay above -700 HU, starting two voxels out; what is above
    -700 HU in the box so found is the nodule. The walk ends at the edges of the volume.

    Parameters
    ----------
    volume_hu : array of shape (I, J, K)
        A CT in Hounsfield units.
    centres : array of shape (n, 3)
        Voxel indices, within the volume.

    Returns
    -------
    array of uint8, shape (I, J, K)
        1 where a nodule is.
    """
    mask = np.zeros(volume_hu.shape, np.uint8)
    for centre in np.asarray(centres, int).reshape(-1, volume_hu.ndim):
        box = nodule_box(volume_hu, centre)
        mask[box] |= volume_hu[box] > AIR
    return mask


def nodule_box(
    volume_hu: NDArray[np.integer | np.floating], centre: NDArray[np.integer] | Sequence[int], above: float = AIR
) -> tuple[slice, ...]:
    """Return the box that the walk of `nodule_mask` finds around a centre.

    Parameters
    ----------
    volume_hu : array
        A CT in Hounsfield units, or a slice of one, in any axis order.
    centre : sequence of int
        A voxel in it.
    above : float
        The walk goes on while both sides are above this, in HU.
    """
    sides = []
    for axis, (place, size) in enumerate(zip(centre, volume_hu.shape, strict=True)):
        radius = _radius(volume_hu, centre, axis, above)
        sides.append(slice(max(0, int(place) - radius), min(int(place) + radius + 1, size)))
    return tuple(sides)


def _radius(
    volume_hu: NDArray[np.integer | np.floating], centre: NDArray[np.integer] | Sequence[int], axis: int, above: float
) -> int:
    line = volume_hu[tuple(slice(None) if one == axis else place for one, place in enumerate(centre))]
    middle = int(centre[axis])
    last = min(middle, len(line) - 1 - middle)
    radius = _FIRST_RADIUS
    while radius <= last and line[middle + radius] > above and line[middle - radius] > above:
        radius += 1
    return radius if radius <= last else radius - 1


def with_nodule_masks(
    dataset: Dataset,
    tables: Tables,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Return the data set with a mask for each series, making those that are not there yet.

    A series that is listed with candidates and without a nodule has an empty mask, because somebody looked at it; one that no
    table names has none.

    Parameters
    ----------
    dataset : Dataset
        Of which the images are named by their series uid.
    tables : Tables
        Of :func:`napari_seg3d.datasets.layouts.luna.find_tables`.
    folder : Path
        Where the masks go.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each series. What was made before a stop is kept.

    Raises
    ------
    DatasetError
        A table is broken.
    Cancelled
        `cancelled` said so.
    WriteError
        The folder cannot be written.
    """
    nodules: dict[str, list[Nodule]] = defaultdict(list)
    for nodule in read_nodules(tables.annotations):
        nodules[nodule.series].append(nodule)
    looked_at = set(nodules) | (set(read_candidates(tables.candidates).series) if tables.candidates is not None else set())
    made = _read_list(folder)
    cases: list[Case] = []
    problems: list[Problem] = []
    try:
        for done, case in enumerate(dataset.cases, start=1):
            if cancelled is not None and cancelled():
                raise Cancelled("The import was stopped; the masks made so far are kept.")
            series = scan_name(case.images[0])
            if series in looked_at:
                try:
                    case = _with_mask(case, nodules[series], folder, made, problems)
                except Seg3dError as error:
                    problems.append(Problem("error", error.what, error.fix, case.id, case.images[0]))
            cases.append(case)
            if progress is not None:
                progress(done, len(dataset.cases))
    finally:
        if made:
            write_text(folder / _LIST, json.dumps(made, indent=0, sort_keys=True) + "\n")
    return replace(dataset, cases=tuple(cases), problems=(*dataset.problems, *problems), labels=LABELS, modality="CT")


def read_sizes(folder: Path) -> dict[str, SeriesSize]:
    """Return the sizes of the series whose masks lie in a folder, by series uid."""
    return {
        series: SeriesSize(tuple(entry["shape"]), tuple(entry["positive"]))  # type: ignore[arg-type]
        for series, entry in _read_list(folder).items()
    }


def made_mask(folder: Path, series: str) -> Path | None:
    """Return the mask of a series where one was made before."""
    path = folder / f"{series}.nii.gz"
    return path if path.is_file() and (folder / _LIST).is_file() else None


def _with_mask(case: Case, nodules: Sequence[Nodule], folder: Path, made: dict[str, _Entry], problems: list[Problem]) -> Case:
    series = scan_name(case.images[0])
    path = folder / f"{series}.nii.gz"
    key = _key(case.images[0], nodules)
    if not path.is_file() or made.get(series, {}).get("key") != key:
        image = read_volume(case.images[0], "image")
        centres = np.rint(world_to_voxel([nodule.centre for nodule in nodules], image.affine)).astype(int)
        inside = ((centres >= 0) & (centres < image.data.shape[1:])).all(axis=1)
        if not inside.all():
            place = nodules[int(np.flatnonzero(~inside)[0])].centre
            problems.append(
                Problem(
                    "warning",
                    f"{case.images[0].name}: the nodule at {place} mm lies outside of the scan and was left out.",
                    "Check that the table and the scan belong together.",
                    case.id,
                    case.images[0],
                )
            )
        mask = nodule_mask(image.data[0], centres[inside])
        write_volume(Volume(mask[np.newaxis], image.affine, "labels"), path, overwrite=True)
        positive = np.flatnonzero(mask.any(axis=(0, 1))).tolist()
        made[series] = {"key": key, "shape": list(mask.shape), "positive": positive}
    count = f"{len(nodules)} nodule{'' if len(nodules) == 1 else 's'}"
    return replace(case, mask=path, reason=f"made from the centres of {count}", sureness=1.0)


_Entry = dict[str, object]


def _key(image: Path, nodules: Sequence[Nodule]) -> str:
    """Return what a mask was made from, in a way that moving or copying the files does not change."""
    header = image.read_bytes() if image.suffix.lower() == ".mhd" else b""
    raw = image.with_suffix(".raw")
    sizes = [file.stat().st_size for file in (image, raw) if file.is_file()]
    places = sorted(nodule.centre for nodule in nodules)
    return hashlib.sha256(json.dumps([_VERSION, header.decode("latin-1"), sizes, places]).encode()).hexdigest()[:32]


def _read_list(folder: Path) -> dict[str, _Entry]:
    try:
        content: object = json.loads((folder / _LIST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}  # masks without a list are made again
    if not isinstance(content, dict):
        return {}
    return {
        series: entry
        for series, entry in content.items()
        if isinstance(entry, dict) and {"key", "shape", "positive"} <= set(entry)
    }
