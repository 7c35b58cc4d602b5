"""Tools that correct masks, as plain functions on arrays (`tools.TOOLS` lists them); undo; nothing that was painted is lost."""

from napari_seg3d.editing.change import Box, Change, no_change, paint
from napari_seg3d.editing.history import Delta, History, apply
from napari_seg3d.editing.limits import Limits, touchable, within

__all__ = [
    "Box",
    "Change",
    "Delta",
    "History",
    "Limits",
    "apply",
    "no_change",
    "paint",
    "touchable",
    "within",
]
