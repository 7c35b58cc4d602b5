"""Tools that correct masks, as plain functions on arrays; undo; nothing that was painted is lost."""

from napari_seg3d.editing.change import Box, Change, no_change, paint
from napari_seg3d.editing.history import Delta, History, apply
from napari_seg3d.editing.limits import Limits, touchable, within
from napari_seg3d.editing.tool_spec import FAMILIES, ToolSpec, Work
from napari_seg3d.editing.tools import TOOLS, tool

__all__ = [
    "FAMILIES",
    "TOOLS",
    "Box",
    "Change",
    "Delta",
    "History",
    "Limits",
    "ToolSpec",
    "Work",
    "apply",
    "no_change",
    "paint",
    "tool",
    "touchable",
    "within",
]
