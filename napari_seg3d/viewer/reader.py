"""Opens scans and masks that are dropped into napari or opened from its File menu."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari

from napari_seg3d.viewer.layers import LayerTuple, layer_data
from napari_seg3d.viewer.look import go_to_centre, show_radiological
from napari_seg3d.volumes import is_volume_path, read_volume, volume_name

Paths = str | list[str]


def get_reader(path: Paths) -> Callable[[Paths], list[LayerTuple]] | None:
    """Return what reads `path`, or None when it is no volume (the hook that napari calls)."""
    paths = [path] if isinstance(path, str) else path
    return read if paths and all(is_volume_path(one) for one in paths) else None


def read(path: Paths) -> list[LayerTuple]:
    """Return the layers of one or more files.

    Raises
    ------
    ReadError, GeometryError, LabelError
        A file cannot be read; napari shows the message, and none of the files becomes a layer.
    """
    layers = []
    for one in [path] if isinstance(path, str) else path:
        layers += layer_data(read_volume(one), volume_name(Path(one)))
    viewer = napari.current_viewer()
    if viewer is not None:
        _prepare(viewer)
    return layers


def _prepare(viewer: napari.Viewer) -> None:
    show_radiological(viewer)
    if len(viewer.layers):
        return

    def centre_first(event: object) -> None:
        # napari stays on the slice where an empty viewer stood, which is the first one of the scan.
        viewer.layers.events.inserted.disconnect(centre_first)
        go_to_centre(viewer, viewer.layers[0])

    viewer.layers.events.inserted.connect(centre_first)
