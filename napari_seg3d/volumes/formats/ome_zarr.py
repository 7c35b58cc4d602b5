"""OME-Zarr 0.1 to 0.5 in local folders: an image in several resolutions, of which only what is asked for is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_seg3d.errors import ReadError
from napari_seg3d.volumes.formats import ngff
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import refuse_impossible
from napari_seg3d.volumes.free import free_memory
from napari_seg3d.volumes.grid import Grid
from napari_seg3d.volumes.pyramid import Level, Pyramid
from napari_seg3d.volumes.volume import Source, Volume, storable

if TYPE_CHECKING:
    import dask.array
    import zarr

_SEVERAL_IMAGES = "bioformats2raw.layout"
_MOST_BLOCKS = 100_000


def open_pyramid(path: Path) -> Pyramid:
    """Open an OME-Zarr image, or one of the masks in its folder ``labels``, without reading its voxels."""
    folder, metadata, multiscale, notes = _image(path)
    datasets = [ngff.as_dict(one) for one in ngff.as_list(multiscale.get("datasets"))]
    arrays = [_array(path, folder, one) for one in datasets]
    if not arrays:
        raise ReadError(f"{path} names no arrays.", "Export it again.")
    axes = ngff.layout(path, multiscale, arrays[0].shape)
    levels = []
    for array, dataset in zip(arrays, datasets, strict=True):
        if array.ndim != arrays[0].ndim:
            raise ReadError(f"{path} has levels of different numbers of axes.", "Export it again.")
        level = Level(_lazy(array, axes), ngff.affine_of(path, multiscale, dataset, axes))
        _grid(level)  # an impossible affine is refused here, not at the first use
        levels.append(level)
    names = tuple(
        str(ngff.as_dict(one).get("label", "")) for one in ngff.as_list(ngff.as_dict(metadata.get("omero")).get("channels"))
    )
    count = int(levels[0].data.shape[0])
    return Pyramid(
        tuple(levels),
        Source(path, "ome-zarr"),
        is_labels="image-label" in metadata or folder.parent.name == "labels",
        fourth=axes.fourth,
        channels=names if axes.fourth == "channel" and len(names) == count > 1 and all(names) else (),
        labels=ngff.labels_of(metadata),
        label_paths=_label_paths(folder),
        is_oriented=axes.is_oriented,
        notes=(*notes, *ngff.notes_on(multiscale, axes, arrays[0].shape)),
    )


def read_grid(path: Path) -> Grid:
    """Return the grid of the finest level."""
    return _grid(open_pyramid(path).levels[0])


def read(path: Path) -> Volume:
    """Return the finest level, read into memory.

    Raises
    ------
    ReadError
        It does not fit there, and as `open_pyramid` does.
    """
    pyramid = open_pyramid(path)
    folder, _, multiscale, _ = _image(path)
    array = _array(path, folder, ngff.as_dict(ngff.as_list(multiscale["datasets"])[0]))
    free = free_memory()
    if array.nbytes > free:
        raise ReadError(
            f"{path} does not fit into memory: its finest level ({'x'.join(map(str, array.shape))}) takes {array.nbytes / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free.",
            "The viewer reads only what it shows, and napari-seg3d predict --format .ome.zarr goes through it piece by piece; or crop it.",
        )
    notes = pyramid.notes
    missing = array.nchunks - array.nchunks_initialized if array.shards is None else 0
    if missing:
        notes += (
            f"{missing} of {array.nchunks} blocks are not stored; they were read as {array.fill_value}, as the format says.",
        )
    axes = ngff.layout(path, multiscale, array.shape)
    data = np.asarray(array[...]).transpose(axes.order)[axes.index]
    return Volume(
        storable(data),
        pyramid.levels[0].affine,
        "labels" if pyramid.is_labels else "image",
        pyramid.source,
        notes,
        pyramid.labels,
        pyramid.fourth,
        pyramid.channels,
        is_oriented=pyramid.is_oriented,
    )


def read_labels(path: Path, name: str) -> Volume:
    """Return the mask called `name` that an image brings along."""
    found = {one.name: one for one in open_pyramid(path).label_paths}
    if name not in found:
        raise ReadError(f"{path} holds no labels {name}; it holds {', '.join(found) or 'none'}.", "Choose one of these.")
    return read(found[name])


def _image(path: Path) -> tuple[Path, ngff.Json, ngff.Json, tuple[str, ...]]:
    """Return the folder of the image, its metadata, its first multiscale, and notes."""
    path.stat()  # a folder that does not exist says so itself
    folder, metadata = path, ngff.attributes(path)
    notes: tuple[str, ...] = ()
    if _SEVERAL_IMAGES in metadata and not metadata.get("multiscales") and ngff.attributes(path / "0"):
        folder, metadata = path / "0", ngff.attributes(path / "0")
        others = sum((path / str(number)).is_dir() for number in range(1, 1000))
        notes += (f"The folder holds {others + 1} images; the first was read.",) if others else ()
    if "plate" in metadata:
        raise ReadError(f"{path} is a plate of many images.", "Open one of the images in it.")
    multiscales = ngff.as_list(metadata.get("multiscales"))
    if not multiscales:
        raise ReadError(f"{path} is no OME-Zarr image.", "Choose the folder whose metadata names multiscales.")
    if len(multiscales) > 1:
        notes += (f"The folder describes {len(multiscales)} images; the first was read.",)
    return folder, metadata, ngff.as_dict(multiscales[0]), notes


def _array(path: Path, image: Path, dataset: ngff.Json) -> zarr.Array:
    import zarr

    array = zarr.open_array(ngff.array_folder(path, image, str(dataset.get("path", ""))), mode="r")
    if array.dtype.kind not in "biuf":
        raise ReadError(f"{path} holds {array.dtype} values, not a scan.", "Export it with plain numbers.")
    if 0 in array.shape:
        raise ReadError(f"{path} holds no voxels ({'x'.join(map(str, array.shape))}).", "Export it again.")
    needed = math.prod(min(n, whole) for n, whole in zip(_blocks(array), array.shape, strict=True)) * array.dtype.itemsize
    refuse_impossible(path, needed, needed)
    return array


def _blocks(array: zarr.Array) -> tuple[int, ...]:
    """Return the shape of the pieces that are read at once: as they are stored, or several of those where they are very many."""
    blocks = list(array.shards or array.chunks)
    # Dask keeps some hundred bytes for each.
    while math.prod(-(-whole // n) for n, whole in zip(blocks, array.shape, strict=True)) > _MOST_BLOCKS:
        largest = max(range(len(blocks)), key=lambda axis: array.shape[axis] / blocks[axis])
        blocks[largest] *= 2
    return tuple(blocks)


def _lazy(array: zarr.Array, axes: ngff.Layout) -> dask.array.Array:
    import dask.array

    # Not hashed: dask would look for a name in what the array holds.
    lazy = dask.array.from_array(array, chunks=_blocks(array), name=False)
    return lazy.transpose(axes.order)[axes.index]


def _grid(level: Level) -> Grid:
    _, i, j, k = level.data.shape
    return Grid((i, j, k), level.affine)


def _label_paths(folder: Path) -> tuple[Path, ...]:
    listed = (str(one) for one in ngff.as_list(ngff.attributes(folder / "labels").get("labels")))
    return tuple(folder / "labels" / name for name in listed if Path(name).name == name and (folder / "labels" / name).is_dir())


def _recognises_folder(folder: Path) -> bool:
    try:
        metadata = ngff.attributes(folder)
    except (OSError, ValueError):
        return folder.name.lower().endswith(".zarr")  # damaged metadata: reading it says so
    return bool({"multiscales", _SEVERAL_IMAGES, "plate"} & set(metadata))


OME_ZARR = Format(
    "OME-Zarr",
    (".ome.zarr", ".zarr"),
    lambda _: False,
    read,
    read_grid,
    read_variable=read_labels,
    recognises_folder=_recognises_folder,
)
