"""Opening what a user points at: a file, several, or a folder of DICOM series; what is found becomes layers in the viewer's frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from napari_seg3d.viewer.frames import Frame
from napari_seg3d.viewer.layers import LayerTuple, layer_data, pyramid_layer_data
from napari_seg3d.volumes import Series, Volume, find_series, open_pyramid, read_volume, recognise, volume_name

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Found:
    """What opening brought.

    Parameters
    ----------
    layers : list of LayerTuple
        Ready to be added.
    series : list of Series
        Where a folder holds more than one thing to look at, or nothing that is sound: all of it, to choose from.
    notes : list of str
        What the user should know about how the files were understood.
    """

    layers: list[LayerTuple] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(
    paths: Sequence[Path],
    frame: Frame | None = None,
    progress: Progress | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Found:
    """Read what `paths` hold; to be called in a job.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders.
    frame : Frame, optional
        The axes of the viewer; left out, the first scan decides.
    progress, is_cancelled : callable, optional
        Told how many files were looked at, and asked whether to stop.

    Raises
    ------
    Seg3dError
        One of them cannot be read; nothing is opened then.
    """
    found = Found()
    kinds = {path: recognise(path) for path in paths}
    slices = [path for path, kind in kinds.items() if kind is not None and kind.name == "DICOM"]
    for path, kind in kinds.items():
        if kind is not None and kind.name == "OME-Zarr":
            image = open_pyramid(path)
            for one, name in [(image, volume_name(path)), *((open_pyramid(mask), mask.name) for mask in image.label_paths)]:
                found.layers.extend(pyramid_layer_data(one, name))
            found.notes.extend(f"{volume_name(path)}: {note}" for note in image.notes)
        elif path not in slices:
            frame = _add(found, read_volume(path), volume_name(path), frame)
        elif path == slices[0]:
            # Slices that were picked one by one belong together as much as those of a folder.
            series = find_series(slices, progress, is_cancelled)
            images = [one for one in series if one.kind != "other"]
            if len(images) != 1 or images[0].problem is not None:
                found.series.extend(series)
                continue
            frame = _add(found, images[0].read(progress=progress, is_cancelled=is_cancelled), _name(images[0]), frame)
            if len(slices) == 1 and _is_one_of_many(path, images[0]):
                found.notes.append(f"{path.name} is one file of several in its folder: open the folder to see the whole series.")
    return found


def find_one(
    series: Series,
    frame: Frame | None,
    resample_irregular: bool = False,
    progress: Progress | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Found:
    """Read one series; to be called in a job."""
    found = Found()
    _add(found, series.read(resample_irregular, progress, is_cancelled), _name(series), frame)
    return found


def _add(found: Found, volume: Volume, name: str, frame: Frame | None) -> Frame:
    """Add the layers of a volume, and return the frame that they are in."""
    frame = frame or Frame.of(volume.grid)
    found.layers.extend(layer_data(volume, name, frame=frame))
    found.notes.extend(f"{name}: {note}" for note in volume.notes)
    return frame


def _is_one_of_many(path: Path, series: Series) -> bool:
    if path.is_dir() or not series.size.endswith(" x 1"):
        return False
    others = (other for other in islice(path.parent.iterdir(), 50) if other.is_file() and other != path)
    return any(kind is not None and kind.name == "DICOM" for kind in map(recognise, others))


def _name(series: Series) -> str:
    return series.description.removesuffix(f", {series.size}")
