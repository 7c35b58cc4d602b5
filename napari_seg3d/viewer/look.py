"""How a viewer looks at a patient: the radiological way, in mm."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer


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


def go_to_labels(viewer: ViewerModel, layer: Labels) -> None:
    """Show the slices through the middle of what a mask marks, or its centre if it marks nothing."""
    go_to_centre(viewer, layer)
    marked = np.argwhere(np.asarray(layer.data))
    if len(marked):
        # The marked voxel nearest to the middle: the middle of two kidneys is in neither.
        distances = np.linalg.norm((marked - marked.mean(axis=0)) * layer.scale, axis=1)
        viewer.dims.point = tuple(layer.data_to_world(marked[distances.argmin()]))
