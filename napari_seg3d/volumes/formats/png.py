"""Pictures: PNG, which holds masks exactly, and JPEG and BMP to look at; folders of PNG as stacks. Through Pillow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ReadError, WriteError
from napari_seg3d.volumes.formats import colours, unplaced
from napari_seg3d.volumes.formats.format import Format
from napari_seg3d.volumes.formats.streams import read_head, refuse_impossible
from napari_seg3d.volumes.labels import smallest_integer
from napari_seg3d.volumes.volume import Kind, Label, Volume

_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_GREY, _GREY_AND_OPACITY = 0, 4
_STACK_SAID = "{} pictures were stacked in the order of their names, from {} to {}."


@dataclass(frozen=True)
class _Picture:
    values: NDArray[np.generic]  # (rows, columns), or with colours behind
    palette: tuple[int, ...] = ()


def read(path: Path) -> Volume:
    """Return a picture as a volume of one slice."""
    return _volume(path, [_picture(path)], ())


def read_stack(path: Path) -> Volume:
    """Return the PNG files of a folder as the slices of one volume, in the natural order of their names."""
    files = _slices(path)
    first = _picture(files[0])
    refuse_impossible(path, first.values.nbytes * len(files), first.values.nbytes * len(files))
    pictures = [first, *(_picture(file) for file in files[1:])]
    for file, picture in zip(files, pictures, strict=True):
        if picture.values.shape != first.values.shape or picture.values.dtype != first.values.dtype:
            raise ReadError(
                f"{path}: {file.name} has {_size(picture)}, and {files[0].name} has {_size(first)}.",
                "Put only the slices of one volume into the folder, or open the files one by one.",
            )
        if picture.palette != first.palette:
            raise ReadError(
                f"{path}: {file.name} and {files[0].name} have different palettes, so one number means two colours.",
                "Save all slices with one palette, or as grey values.",
            )
    note = _STACK_SAID.format(len(files), files[0].name, files[-1].name)
    return _volume(path, pictures, (note,), tuple(files))


def write(path: Path, volume: Volume) -> None:
    """Write a mask of one slice as grey values of 8 or 16 bits, which are its labels; its place in the patient is lost."""
    from PIL import Image

    channels, _, _, slices = volume.data.shape
    if volume.kind != "labels":
        raise WriteError(f"{path}: PNG would not keep the values of an image.", "Save it as .nii.gz or .npy.")
    if slices != 1:
        raise WriteError(f"{path}: PNG holds one slice, and the mask has {slices}.", "Save it as .nii.gz, .nrrd or .mha.")
    if channels != 1:
        raise WriteError(f"{path}: PNG holds one label for each pixel, and labels overlap here.", "Save it as .npy or .mat.")
    flat = volume.data[0, :, :, 0].T
    if flat.min() < 0 or flat.max() > np.iinfo(np.uint16).max:
        raise WriteError(
            f"{path}: PNG holds labels from 0 to 65535, and the mask has {flat.min()} to {flat.max()}.",
            "Renumber them, or save as .nii.gz.",
        )
    Image.fromarray(np.ascontiguousarray(flat, smallest_integer(0, int(flat.max())))).save(path, format="PNG")


def _volume(path: Path, pictures: Sequence[_Picture], notes: tuple[str, ...], files: tuple[Path, ...] = ()) -> Volume:
    values = np.stack([picture.values for picture in pictures])
    labels: dict[int, Label] = {}
    kind: Kind = "image"
    if pictures[0].palette:
        labels, kind = colours.of_palette(np.array(pictures[0].palette).reshape(-1, 3), values), "labels"
        notes += ("The picture has a palette: its indices were read as labels, with their colours.",)
    elif values.ndim == 4:
        values, labels, note = colours.from_rgb(values)
        kind = "labels" if labels else "image"
        notes += (note,)
    return unplaced.volume(path, "png", values[np.newaxis], kind=kind, notes=notes, labels=labels, files=files)


def _picture(path: Path) -> _Picture:
    """Return the numbers in a picture as they are stored: indices of a palette, not its colours."""
    from PIL import Image

    head = read_head(path)
    depth, colour = (head[24], head[25]) if head.startswith(_PNG) and len(head) > 25 else (8, -1)
    if colour == _GREY_AND_OPACITY and depth == 16:
        raise ReadError(f"{path} has 16 bits and transparency, of which 8 would be lost.", "Save it without transparency.")
    if head.startswith(_PNG):
        with Image.open(path, formats=("PNG",)) as picture:
            picture.verify()  # the check sums, which reading passes over
    with Image.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
        mode = picture.mode
        refuse_impossible(path, picture.width * picture.height * 4, picture.width * picture.height * 4)
        values = np.array(picture)
        palette = tuple(picture.getpalette("RGB") or ()) if mode == "P" else ()
    if mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "LA", "RGB", "RGBA"):
        raise ReadError(f"{path} is a picture of the kind {mode}.", "Save it in grey, in colours (RGB) or with a palette.")
    if mode == "LA":
        values = np.where(values[..., 1] == 0, 0, values[..., 0])
    if colour == _GREY and depth in (2, 4):
        values = values // (85 if depth == 2 else 17)  # Pillow spreads them over 0 to 255
    return _Picture(values, palette)


def _size(picture: _Picture) -> str:
    rows, columns, *samples = picture.values.shape
    return f"{columns} x {rows} pixels of {'colour' if samples else picture.values.dtype.name}"


def _slices(folder: Path) -> list[Path]:
    files = [one for one in folder.iterdir() if one.suffix.lower() == ".png" and not one.name.startswith(".")]
    return sorted(
        files, key=lambda one: [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", one.name)]
    )


def _recognises_stack(folder: Path) -> bool:
    """Return whether a folder holds several PNG files and nothing else."""
    visible = [one for one in folder.iterdir() if not one.name.startswith(".")]
    return len(visible) > 1 and all(one.is_file() and one.suffix.lower() == ".png" for one in visible)


PNG = Format("PNG", (".png",), lambda head: head.startswith(_PNG), read, write=write)
PICTURE = Format("JPEG or BMP", (".jpg", ".jpeg", ".bmp"), lambda head: head.startswith((_JPEG, _BMP)), read)
PNG_STACK = Format("folder of PNG files", (), lambda _: False, read_stack, recognises_folder=_recognises_stack)
