"""`Look`: how a viewer looks at a patient: the radiological way, in mm, with letters, a read-out, and a window to drag."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.components.overlays import TextOverlay
from napari.layers import Image, Labels, Layer

from napari_seg3d.viewer.layers import Native, frame_of, native_of
from napari_seg3d.viewer.windows import image_looked_at, is_in_hu, limits_of, set_window

# Where a letter stands, and which end of which displayed axis it names.
_EDGES = {"top_center": (0, "up"), "bottom_center": (0, "down"), "middle_left": (1, "left"), "middle_right": (1, "right")}
_PATIENT = ("LR", "PA", "IS")
_UNKNOWN = "The file does not say which side of the patient is which."
_ORIENTATION = ("away", "up", "left")
_READ_OUT = "seg3d_read_out"
_PIXELS_PER_WIDTH = 300  # dragging so far up raises the level by one width of the window


class Look:
    """What we add to one viewer; made by `show_radiological`, and kept alive by the viewer's lists of mouse callbacks.

    Parameters
    ----------
    viewer : ViewerModel
        Any viewer of napari, with or without a window.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        # Plugins get a proxy of the viewer, and sessions a weak one; the viewer must not be kept alive by what it holds.
        whole = getattr(viewer, "__wrapped__", viewer)
        self._viewer = whole if isinstance(whole, weakref.ProxyTypes) else weakref.proxy(whole)
        overlays = viewer.canvas.overlays
        self._letters = {edge: TextOverlay(position=edge, font_size=13) for edge in _EDGES}
        self._read_out = TextOverlay(position="bottom_left", font_size=9)
        for edge, letter in self._letters.items():
            overlays[f"seg3d_{edge}"] = letter
        overlays[_READ_OUT] = self._read_out
        for event in (viewer.dims.events.order, viewer.dims.events.ndisplay, viewer.layers.events.inserted):
            event.connect(self.refresh)
        viewer.layers.events.removed.connect(self.refresh)
        viewer.scene.camera.events.orientation.connect(self.refresh)
        viewer.mouse_move_callbacks.append(self._read)
        viewer.mouse_drag_callbacks.append(self._drag_window)

    def refresh(self, event: object = None) -> None:
        """Write the letters anew: the axes, their direction or the layers are others."""
        frame, dims = frame_of(self._viewer.layers), self._viewer.dims
        natives = [native for layer in self._viewer.layers if layer.visible and (native := native_of(layer)) is not None]
        is_known = bool(natives) and natives[0].is_oriented
        shown = tuple(axis - dims.ndim + 3 for axis in dims.displayed)  # of (z, y, x)
        for edge, (place, direction) in _EDGES.items():
            text = ""
            if frame is not None and is_known and dims.ndisplay == 2 and min(shown) >= 0:
                opposite, towards = frame.letters(2 - shown[place])
                text = towards if self._viewer.scene.camera.orientation2d[place] == direction else opposite
            _write(self._letters[edge], text)
        _write(self._read_out, _UNKNOWN if natives and not is_known else "")

    def _read(self, viewer: ViewerModel, event: Any) -> None:
        _write(self._read_out, read_out(viewer, event.position))

    def _drag_window(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """Change the window of the image while the right button is held: up and down its level, right and left its width."""
        active = viewer.layers.selection.active
        is_free = active is None or active.mode == "pan_zoom"
        image = image_looked_at(viewer)
        if event.button != 2 or not is_free or image is None or viewer.dims.ndisplay != 2:
            return
        camera = viewer.scene.camera
        could_pan, camera.mouse_pan = camera.mouse_pan, False  # else the right button zooms
        began, (level, width) = np.array(event.pos), limits_of(image)
        yield
        while event.type == "mouse_move":
            right, down = np.array(event.pos) - began
            set_window(image, level - down * width / _PIXELS_PER_WIDTH, width * float(np.exp(right / _PIXELS_PER_WIDTH)))
            yield
        camera.mouse_pan = could_pan


def show_radiological(viewer: ViewerModel) -> None:
    """Turn the axes so that axial, coronal and sagittal slices look as a radiologist expects, with letters and a scale bar in mm.

    The patient's right is on the left of the screen, anterior is up in axial slices, superior in the others; in sagittal
    slices anterior is on the left. In 3D the patient is not mirrored.
    """
    # Away from the viewer, so that x, y and z keep their handedness: with napari's "towards" the patient is mirrored in 3D.
    if viewer.scene.camera.orientation != _ORIENTATION:
        viewer.scene.camera.orientation = _ORIENTATION
    viewer.canvas.overlays.scale_bar.visible = True
    if _READ_OUT not in viewer.canvas.overlays:
        Look(viewer)


def go_to_centre(viewer: ViewerModel, layer: Layer) -> None:
    """Show the middle slices of `layer`, filling the window; a single slice or a radiograph from its own side."""
    thin = [axis for axis in range(3) if layer.data.shape[axis - 3] == 1]
    if thin and viewer.dims.ndisplay == 2:
        show_plane(viewer, thin[0])
    low, high = layer.extent.world
    centre = list((low + high) / 2)
    if layer.ndim > 3:
        centre[0] = 0.0  # a time series begins at its beginning
    viewer.dims.set_point(range(viewer.dims.ndim - layer.ndim, viewer.dims.ndim), centre)
    viewer.reset_view()


def show_plane(viewer: ViewerModel, across: int) -> None:
    """Show slices along the display's axis 0 (z, axial), 1 (y, coronal) or 2 (x, sagittal)."""
    viewer.dims.ndisplay = 2
    viewer.dims.order = plane_order(viewer.dims.ndim, across)
    viewer.reset_view()


def plane_order(ndim: int, across: int) -> tuple[int, ...]:
    """Return the order of `ndim` axes that `show_plane` sets."""
    extra = ndim - 3
    return (*range(extra), extra + across, *(axis for axis in range(extra, ndim) if axis != extra + across))


def read_out(viewer: ViewerModel, position: tuple[float, ...]) -> str:
    """Return in words where a place of the display lies and what is there: voxel of the file, mm in the patient, intensity, label.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    position : tuple of float
        In the coordinates of its display.
    """
    image = image_looked_at(viewer)
    mask = next((layer for layer in reversed(viewer.layers) if isinstance(layer, Labels) and layer.visible), None)
    layer = image or mask
    native = native_of(layer) if layer is not None else None
    if layer is None or native is None or len(position) < 3:
        return ""
    x, y, z = position[:-4:-1]
    patient = native.placement.frame.to_patient @ (x, y, z, 1)
    voxel = np.rint(np.linalg.inv(native.grid.affine) @ patient)[:3].astype(int)
    parts = []
    if ((voxel >= 0) & (voxel < native.grid.shape)).all():
        parts.append("voxel " + ", ".join(str(at) for at in voxel))
    if native.is_oriented:
        parts.append("  ".join(f"{_PATIENT[axis][int(at >= 0)]} {abs(at):.1f}" for axis, at in enumerate(patient[:3])) + " mm")
    if image is not None and (value := _value(image, native, voxel, position)) is not None:
        parts.append(f"{value:g} HU" if is_in_hu(image) else f"{value:.5g}")
    if mask is not None and (label := _value(mask, native_of(mask), None, position)):
        names = mask.features.set_index("index")["name"] if {"index", "name"} <= set(mask.features) else {}
        parts.append(str(names.get(int(label), f"label {label:g}")))
    return "   ".join(parts)


def _write(overlay: TextOverlay, text: str) -> None:
    overlay.text = text
    overlay.visible = bool(text)  # an empty one would leave its box


def _value(layer: Image | Labels, native: Native | None, voxel: Any, position: tuple[float, ...]) -> float | None:
    if native is not None and native.original is not None and voxel is not None and native.original.data.ndim == 3:
        inside = ((voxel >= 0) & (voxel < native.grid.shape)).all()
        return float(native.original.data[tuple(voxel)]) if inside else None
    if layer.multiscale:
        found = layer.get_value(position, world=True)
        return float(found[1]) if isinstance(found, tuple) and found[1] is not None else None
    index = tuple(round(at) for at in layer.world_to_data(position[-layer.ndim :]))
    if any(at < 0 or at >= size for at, size in zip(index, layer.data.shape, strict=True)):
        return None
    return float(np.asarray(layer.data[index]))
