"""Bringing back masks whose viewer has died, with their scans, as layers.

`pending_recoveries()` lists them at the start; `recover_into(viewer, one)` shows one, and `one.discard()` throws it away. Reading takes
seconds for large scans: a dock calls `load(one)` in a job, and hands over what it returns.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_seg3d.editing.journal import Recovered, recover
from napari_seg3d.editing.records import About
from napari_seg3d.errors import ReadError, Seg3dError
from napari_seg3d.viewer.autosave import autosave_folder
from napari_seg3d.viewer.frames import Frame
from napari_seg3d.viewer.label_colours import labels_settings
from napari_seg3d.viewer.layers import KEY, LayerTuple, Native, Original, layer_data, native_of
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.viewer.opening import find
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.undo import note_tools
from napari_seg3d.volumes import Grid, Label, Source, read_volume

if TYPE_CHECKING:
    from napari import Viewer

_SECONDS_FOR_THE_DISK = 60.0
# No checksum is negative: the mask counts as edited until it is saved.
_NEVER_SAVED = -1


@dataclass(frozen=True)
class Loaded:
    """A mask that was read back.

    Parameters
    ----------
    mask : array of integers
        With all its edits.
    native : Native or None
        Where its voxels truly lie; None of a mask that belonged to no file.
    scan : list of LayerTuple
        Its scan, ready to be added; empty where that is not there any more.
    note : str
        Why there is no scan.
    tools : Counter of str
        What it was edited with.
    """

    mask: NDArray[np.integer]
    native: Native | None
    scan: list[LayerTuple] = field(default_factory=list)
    note: str = ""
    tools: Counter[str] = field(default_factory=Counter)


def pending_recoveries() -> list[Recovered]:
    """Return the masks that can be recovered, the one that was edited last first."""
    return recover(autosave_folder())


def load(recovered: Recovered) -> Loaded:
    """Read a mask and its scan; to be called in a job.

    Raises
    ------
    ReadError
        The journal is gone, or damaged.
    """
    (mask, tools), about = recovered.read_with_tools(), recovered.about
    scan, note = _scan(about)
    sources = {str(one.path): one for _, settings, _ in scan if (one := settings["metadata"][KEY].source) is not None}
    try:
        native = _native(about.more.get("native"), mask, sources)
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"Where the mask {about.name} lies is damaged in its journal.", "Discard it.") from error
    return Loaded(mask, native, scan, note, tools + Counter(about.more.get("tools", ())))


def recover_into(viewer: Viewer, recovered: Recovered, loaded: Loaded | None = None) -> Labels:
    """Show a mask that was recovered over its scan, and go on writing down its edits.

    The old journal is removed when the new one is on the disk.

    Parameters
    ----------
    viewer : napari.Viewer
        Where; other layers are hidden.
    recovered : Recovered
        Which.
    loaded : Loaded, optional
        What `load` has returned; left out, it is read now.

    Returns
    -------
    Labels
        The mask, selected; it counts as edited until it is saved.

    Raises
    ------
    Seg3dError
        Another viewer has recovered it, or it cannot be read.
    """
    if not recovered.take():
        raise Seg3dError(
            f"The mask {recovered.about.name} was recovered, or discarded, in another window.",
            "Look for it there, or in the list again.",
        )
    try:
        loaded = load(recovered) if loaded is None else loaded
        layer = _mask_layer(recovered, loaded)
    except Seg3dError:
        recovered.leave()
        raise
    show_radiological(viewer)
    scans = [one for one in viewer.layers if _is_from(one, recovered.about.source)]
    for other in viewer.layers:
        other.visible = other in scans
    if not scans:
        scans = [viewer.add_layer(Layer.create(*one)) for one in loaded.scan]
    viewer.add_layer(layer)
    go_to_centre(viewer, layer)
    session = session_of(viewer)
    session.stage.mark_saved(layer, _NEVER_SAVED)
    note_tools(layer, loaded.tools)
    journal = session.autosave.begin(layer, np.array(layer.data))
    if journal is not None and journal.flush(wait=_SECONDS_FOR_THE_DISK):
        recovered.discard()
    return layer


def _mask_layer(recovered: Recovered, loaded: Loaded) -> Labels:
    about = recovered.about
    try:
        names = {int(value): Label(name, colour) for value, (name, colour) in about.more["labels"].items()}
        place: dict[str, Any] = {key: about.more[key] for key in ("scale", "translate", "units", "axis_labels")}
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"Where the mask {about.name} lies is damaged in its journal.", "Discard it.") from error
    metadata = {} if loaded.native is None else {KEY: loaded.native}
    return Labels(loaded.mask, name=about.name, metadata=metadata, **place | labels_settings(names))


def _scan(about: About) -> tuple[list[LayerTuple], str]:
    """Return the layers of the scan in the frame of the mask, and why there are none."""
    if not about.source:
        return [], ""
    try:
        frame = Frame(np.array(about.more["native"]["axes"], float)) if "native" in about.more else None
        return [one for one in find([Path(about.source)], frame).layers if one[2] == "image"], ""
    except Seg3dError as error:
        return [], f"The scan {about.scan} could not be opened: {error.what}"


def _native(stored: Any, mask: NDArray[np.integer], sources: Mapping[str, Source]) -> Native | None:
    """Return where the voxels of a mask truly lie; raises KeyError, TypeError or ValueError where that is not told."""
    if stored is None:
        return None
    i, j, k = stored["shape"]
    file = Path(stored["file"]) if stored["file"] else None
    native = Native(
        Grid((i, j, k), np.array(stored["affine"], float)),
        None if file is None else sources.get(str(file)) or _source(file),
        Frame(np.array(stored["axes"], float)),
        stored["modality"],
        is_oriented=stored["is_oriented"],
    )
    return replace(native, original=_original(native, mask)) if native.placement.is_resampled else native


def _source(file: Path) -> Source | None:
    """Return what is needed to write a mask the way that its file is written; None where it cannot be read any more."""
    try:
        return read_volume(file).source
    except Seg3dError:
        return None


def _original(native: Native, mask: NDArray[np.integer]) -> Original:
    """Return the voxels that a mask that was resampled for the display had in its file; those of the display where that is gone."""
    if native.source is not None:
        with contextlib.suppress(Seg3dError):
            volume = read_volume(native.source.path)
            if volume.kind == "labels" and volume.grid.matches(native.grid):
                of_file = layer_data(volume, "", frame=native.frame)[0][1]["metadata"][KEY].original
                if isinstance(of_file, Original):
                    return of_file
    return Original(native.placement.from_display(mask.transpose(2, 1, 0)), mask.copy())


def _is_from(layer: Layer, source: str) -> bool:
    """Return whether a layer is an image from this file."""
    native = native_of(layer)
    return isinstance(layer, Image) and native is not None and native.source is not None and str(native.source.path) == source
