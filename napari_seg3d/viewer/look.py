"""How a viewer looks at a patient: the radiological way, in mm."""

from __future__ import annotations

from napari.components import ViewerModel
from napari.layers import Layer


def show_radiological(viewer: ViewerModel) -> None:
    """Turn the axes so that axial, coronal and sagittal slices look as a radiologist expects, with a scale bar in mm.

    The patient's right is on the left of the screen, anterior is up in axial slices, superior in the others; in sagittal
    slices anterior is on the left.
    """
    if viewer.scene.camera.orientation2d != ("up", "left"):
        viewer.scene.camera.orientation2d = ("up", "left")
    viewer.canvas.overlays.scale_bar.visible = True


def go_to_centre(viewer: ViewerModel, layer: Layer) -> None:
    """Show the middle slices of `layer`, filling the window."""
    low, high = layer.extent.world
    viewer.dims.point = tuple((low + high) / 2)
    viewer.reset_view()
