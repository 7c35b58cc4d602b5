"""Opens scans and masks that are dropped into napari or opened from its File menu."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import napari
from napari.utils.notifications import show_error, show_info, show_warning

from napari_seg3d.errors import Cancelled, ReadError, Seg3dError
from napari_seg3d.viewer.jobs import Job, wait_for
from napari_seg3d.viewer.layers import LayerTuple, frame_of
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.viewer.opening import Found, find
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import is_volume_path, recognise

Paths = str | list[str]
Layers = list[LayerTuple] | list[tuple[None]]
#: What napari takes for "I have seen to it, there is no layer".
NOTHING: list[tuple[None]] = [(None,)]


def get_reader(path: Paths) -> Callable[[Paths], Layers] | None:
    """Return what reads `path`, or None when it is no volume (the hook that napari calls)."""
    paths = [Path(one) for one in _listed(path)]
    # A damaged scan is ours too: we can say what is wrong with it.
    return read if paths and all(_is_ours(one) for one in paths) else None


def read(path: Paths) -> Layers:
    """Return the layers of one or more files, or of a folder with a DICOM series.

    In a viewer, what is wrong is said in a notification, and none of the files becomes a layer; several series in a folder are offered
    in the Scans dock.

    Raises
    ------
    Seg3dError
        A file cannot be read, and there is no viewer to say so.
    """
    paths = [Path(one) for one in _listed(path)]
    viewer = napari.current_viewer()
    if viewer is None:
        return find(paths).layers
    frame = frame_of(viewer.layers)

    def work(job: Job) -> Found:
        return find(paths, frame, job.progress, job.is_cancelled)

    try:
        # The window goes on living while the scan is read, though napari waits for the layers.
        found = wait_for(work, f"Opening {paths[0].name}…")
    except Cancelled:
        return NOTHING
    except Seg3dError as error:
        show_error(_short(error, paths))
        return NOTHING
    if found.series:
        _offer(viewer, found)
    if found.notes:
        show_info("\n".join(found.notes))
    if not found.layers:
        return NOTHING
    _prepare(viewer)
    return found.layers


def _offer(viewer: napari.Viewer, found: Found) -> None:
    session_of(viewer).scans.offer(found.series)
    viewer.window.add_plugin_dock_widget("napari-seg3d", "Scans")
    problems = [one for one in found.series if one.problem is not None and one.kind != "other"]
    if len(problems) == 1 and len(found.series) == 1:
        show_warning(_short(problems[0].problem, [problems[0].folder]))


def _short(error: Seg3dError | None, paths: list[Path]) -> str:
    """Return an error without the folders in front of names: a notification shows little more than its first words."""
    text = str(error)
    for path in paths:
        text = text.replace(f"{path.parent}{os.sep}", "")
    return text


def _prepare(viewer: napari.Viewer) -> None:
    session_of(viewer)  # edits are written down from now on, whether or not a dock is opened
    show_radiological(viewer)
    if len(viewer.layers):
        return

    def centre_first(event: object) -> None:
        # napari stays on the slice where an empty viewer stood, which is the first one of the scan.
        viewer.layers.events.inserted.disconnect(centre_first)
        go_to_centre(viewer, viewer.layers[0])

    viewer.layers.events.inserted.connect(centre_first)


def _is_ours(path: Path) -> bool:
    try:
        return recognise(path) is not None or is_volume_path(path)
    except ReadError:
        return is_volume_path(path)  # reading it says what is wrong with it


def _listed(path: Paths) -> list[str]:
    return [path] if isinstance(path, str) else path
