"""What the metadata of OME-Zarr says: axes, places and labels. Nothing here reads voxels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import EllipsisType

import numpy as np

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats import unplaced
from napari_seg3d.volumes.grid import FloatArray
from napari_seg3d.volumes.volume import Fourth, Label

Json = Mapping[str, object]

_LONGEST = 1 << 24
_DEFAULT_AXES = "tczyx"  # before version 0.3
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
#: RFC 4: where an axis runs to, as a patient axis (R, A, S) and a sign.
DIRECTIONS = {
    "left-to-right": (0, 1),
    "right-to-left": (0, -1),
    "posterior-to-anterior": (1, 1),
    "anterior-to-posterior": (1, -1),
    "inferior-to-superior": (2, 1),
    "superior-to-inferior": (2, -1),
}
# How the axes run where the file does not say: as in `unplaced.affine_of`.
_AS_STORED = ((0, -1), (1, -1), (2, 1))
_NO_UNIT = "The file gives the size of its voxels without a unit that is known: mm were taken."
# Others are refused: the codec "pickle" of zarr 2 runs whatever program a file brings along.
_CODECS = frozenset(
    {"adler32", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "fixedscaleoffset", "gzip", "lz4", "lzma"}
    | {"packbits", "quantize", "sharding_indexed", "shuffle", "transpose", "zlib", "zstd"}
)


@dataclass(frozen=True)
class _Axis:
    name: str
    type: str
    unit: str = ""
    orientation: str = ""


@dataclass(frozen=True)
class Layout:
    """What the axes of the stored arrays are.

    Parameters
    ----------
    axes : tuple of _Axis
        In the order of the arrays.
    ijk : tuple of int
        The axes of space that become I, J and K; two of them for a picture.
    front : int, optional
        The axis that counts channels or time points.
    directions : tuple of (int, int)
        Patient axis (R, A, S) and sign of I, J and K.
    is_oriented : bool
        Whether the file gave the directions.
    """

    axes: tuple[_Axis, ...]
    ijk: tuple[int, ...]
    front: int | None
    directions: tuple[tuple[int, int], ...]
    is_oriented: bool

    @property
    def fourth(self) -> Fourth:
        """What the front axis counts."""
        return "time" if self.front is not None and self.axes[self.front].type == "time" else "channel"

    @property
    def order(self) -> tuple[int, ...]:
        """The axes in the order: those of length one, the front one, I, J, K."""
        kept = (*(() if self.front is None else (self.front,)), *self.ijk)
        return (*(axis for axis in range(len(self.axes)) if axis not in kept), *kept)

    @property
    def index(self) -> tuple[int | EllipsisType | None, ...]:
        """What makes ``(C, I, J, K)`` of an array that was transposed to `order`."""
        alone = len(self.axes) - len(self.ijk) - (self.front is not None)
        return (*(0,) * alone, *((None,) if self.front is None else ()), ..., *((None,) if len(self.ijk) == 2 else ()))


def attributes(folder: Path) -> Json:
    """Return the OME metadata of a zarr group, of either version of zarr; empty where there is none."""
    for name in ("zarr.json", ".zattrs"):
        file = folder / name
        if file.is_file() and file.stat().st_size <= _LONGEST:
            content = as_dict(json.loads(file.read_text(encoding="utf-8")))
            return as_dict(as_dict(content.get("attributes")).get("ome")) if name == "zarr.json" else content
    return {}


def array_folder(path: Path, image: Path, name: str) -> Path:
    """Return the folder of an array that the metadata of `image` names; it must lie inside, and need no foreign program.

    Raises
    ------
    ReadError
        It does not, or is not there.
    """
    parts = PurePosixPath(name).parts
    folder = image.joinpath(*parts)
    if not parts or ".." in parts or not folder.resolve().is_relative_to(image.resolve()):
        raise ReadError(f"{path} names an array outside its own folder.", "Export it again.")
    file = next((folder / one for one in ("zarr.json", ".zarray") if (folder / one).is_file()), None)
    if file is None or file.stat().st_size > _LONGEST:
        raise ReadError(f"{path}: the array {name} is missing.", "Copy the whole folder again.")
    content = as_dict(json.loads(file.read_text(encoding="utf-8")))
    foreign = sorted(set(_codecs(content)) - _CODECS)
    if foreign or content.get("dtype") == "|O":
        raise ReadError(
            f"{path}: the array {name} is packed by {', '.join(foreign) or 'pickle'}, which is not trusted.",
            "Export it with zstd, blosc or gzip.",
        )
    return folder


def layout(path: Path, multiscale: Json, shape: Sequence[int]) -> Layout:
    """Return what the axes of arrays are, whose finest has the shape `shape`.

    Raises
    ------
    ReadError
        They are more than a volume and one more.
    """
    axes = _axes(multiscale.get("axes"), len(shape))
    space = [number for number, axis in enumerate(axes) if axis.type == "space"]
    front = [number for number in range(len(axes)) if number not in space and shape[number] > 1]
    if len(axes) != len(shape) or len(space) not in (2, 3) or len(front) > 1:
        sizes = ", ".join(f"{axis.name} ({n})" for axis, n in zip(axes, shape, strict=False))
        raise ReadError(
            f"{path} has the axes {sizes}, which are not those of a volume and one more.",
            "Split it, for instance into one file for each time point or channel.",
        )
    # x, y and z by their names; where they have others, the last one counts fastest.
    named = {axes[number].name: number for number in space}
    ijk = tuple(named[name] for name in "xyz" if name in named)
    ijk = ijk if len(ijk) == len(space) else tuple(space[::-1])
    given = [DIRECTIONS[axes[axis].orientation] for axis in ijk if axes[axis].orientation in DIRECTIONS]
    is_oriented = len({direction for direction, _ in given}) == 3
    return Layout(axes, ijk, front[0] if front else None, tuple(given) if is_oriented else _AS_STORED, is_oriented)


def affine_of(path: Path, multiscale: Json, dataset: Json, axes: Layout) -> FloatArray:
    """Return where the voxels of one level lie, in RAS+ millimetres."""
    scale, translation = np.ones(len(axes.axes)), np.zeros(len(axes.axes))
    for holder in (dataset, multiscale):
        for transformation in as_list(holder.get("coordinateTransformations")):
            factor, shift = _transformation(path, as_dict(transformation), len(axes.axes))
            scale, translation = scale * factor, translation * factor + shift
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    if len(axes.ijk) == 2:
        affine[2, 2] = 1.0
    for column, axis in enumerate(axes.ijk):
        direction, sign = axes.directions[column]
        in_mm = unplaced.millimetres(1, axes.axes[axis].unit) or 1.0
        affine[direction, column] = sign * scale[axis] * in_mm
        affine[direction, 3] = sign * translation[axis] * in_mm
    return affine


def notes_on(multiscale: Json, axes: Layout, shape: Sequence[int]) -> tuple[str, ...]:
    """Return what the user should know about axes and sizes."""
    notes: tuple[str, ...] = ()
    if axes.front is not None:
        meaning = "time" if axes.fourth == "time" else "channels"
        notes += (f"The axis {axes.axes[axes.front].name} of the file ({shape[axes.front]} long) was read as {meaning}.",)
    transformed = any(as_dict(one).get("coordinateTransformations") for one in (multiscale, *as_list(multiscale.get("datasets"))))
    if not transformed:
        notes += (unplaced.UNSIZED,)
    elif any(unplaced.millimetres(1, axes.axes[axis].unit) is None for axis in axes.ijk):
        notes += (_NO_UNIT,)
    return notes if axes.is_oriented else (*notes, unplaced.UNORIENTED)


def labels_of(metadata: Json) -> dict[int, Label]:
    """Return the names and colours of a mask's values, without the background."""
    about = as_dict(metadata.get("image-label"))
    found: dict[int, Label] = {}
    for entry in map(as_dict, as_list(about.get("properties"))):
        value, name = entry.get("label-value"), entry.get("name", entry.get("class", ""))
        if isinstance(value, int) and value != 0 and isinstance(name, str):
            found[value] = Label(name)
    for entry in map(as_dict, as_list(about.get("colors"))):
        value, rgba = entry.get("label-value"), as_list(entry.get("rgba"))
        if isinstance(value, int) and value != 0 and len(rgba) >= 3 and all(isinstance(n, int) and 0 <= n < 256 for n in rgba):
            colour = "#" + "".join(f"{n:02x}" for n in rgba[:3])
            found[value] = Label(found[value].name if value in found else "", colour)
    return found


def as_dict(value: object) -> Json:
    """Return `value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return `value` if it is a JSON list, else an empty one."""
    return value if isinstance(value, list) else []


def _axes(given: object, count: int) -> tuple[_Axis, ...]:
    listed = as_list(given) or list(_DEFAULT_AXES[-count:])
    found = []
    for one in listed:
        about = as_dict(one) if isinstance(one, dict) else {"name": one}
        name = str(about.get("name", ""))
        orientation = about.get("orientation", about.get("anatomicalOrientation", ""))
        value = as_dict(orientation).get("value", "") if isinstance(orientation, dict) else orientation
        found.append(
            _Axis(name.lower(), str(about.get("type", _TYPES.get(name.lower(), ""))), str(about.get("unit") or ""), str(value))
        )
    return tuple(found)


def _transformation(path: Path, about: Json, count: int) -> tuple[FloatArray, FloatArray]:
    """Return the factors and the shifts of one transformation."""
    kind = about.get("type")
    scale, translation = np.ones(count), np.zeros(count)
    if kind == "identity":
        return scale, translation
    numbers = as_list(about.get(str(kind)))
    if kind not in ("scale", "translation") or len(numbers) != count or not all(isinstance(n, int | float) for n in numbers):
        raise ReadError(
            f"{path} places its voxels by a {kind} of {len(numbers)} numbers, which cannot be used.",
            "Export it with one scale for each axis.",
        )
    values = np.array(numbers, dtype=np.float64)
    return (values, translation) if kind == "scale" else (scale, values)


def _codecs(content: Json) -> list[str]:
    """Return the names of all codecs of an array, those inside of shards too."""
    listed = [content.get("compressor"), *as_list(content.get("filters")), *as_list(content.get("codecs"))]
    found = []
    for one in (as_dict(entry) for entry in listed if entry is not None):
        found.append(str(one.get("name", one.get("id"))).removeprefix("numcodecs."))
        inner = as_dict(one.get("configuration"))
        if "codecs" in inner or "index_codecs" in inner:
            found += _codecs({"codecs": [*as_list(inner.get("codecs")), *as_list(inner.get("index_codecs"))]})
    return found
