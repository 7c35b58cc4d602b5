"""What is said of tools: how they are used, and what one has done to a mask, or why nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np

from napari_seg3d.editing import Change
from napari_seg3d.editing.tool_spec import ToolSpec
from napari_seg3d.viewer.label_locks import limits_of
from napari_seg3d.viewer.label_look import locked_values, style_of
from napari_seg3d.viewer.mask_part import MaskPart

Kind = Literal["info", "warning", "error"]

#: How a tool is used, by its gesture.
HOW = {
    "stroke": "Draw in the scan with the left mouse button. Esc puts the brush down.",
    "click": "Click in the scan. Esc puts the tool down.",
    "clicks": "Click once into each object, then press Enter. Esc begins anew.",
    "polygon": "Click the corners, or draw the outline by hand; Enter or a double click closes it. Esc begins anew.",
    "slice": "Enter or Apply uses it on the slice that is shown.",
    "label": "Enter or Apply uses it on the selected label.",
}
#: What is said where Enter was pressed too early, by the gesture of the tool.
TOO_FEW = {"polygon": "A polygon has three corners at least.", "clicks": "Click into two objects at least, then press Enter."}
_HINTS = {
    "fill_holes": ": there are no holes",
    "keep_largest": ": it is in one piece",
    "margin": ": it is less than a voxel, or other labels are in the way",
    "drop_small": ": no piece is that small",
    "copy_to_next": ": the slice has nothing of the label, or the next one has it already",
    "copy_to_previous": ": the slice has nothing of the label, or the one before has it already",
}


def outcome(spec: ToolSpec, part: MaskPart, change: Change | None, edited: int, label: int) -> tuple[str, Kind]:
    """Return what a tool has done, or why nothing, and whether that is "info" or a "warning".

    Parameters
    ----------
    spec : ToolSpec
        The tool.
    part : MaskPart
        Of the mask it was used on.
    change : Change or None
        What it wanted to change; None where it was drawn with and no longer known.
    edited : int
        How many voxels it did change.
    label : int
        The selected label.
    """
    if edited:
        return f"{spec.title}: {_voxels(edited)} changed ({part.size_of(edited)}).", "info"
    locked = locked_values(part.layer)
    if label in locked:
        name = style_of(part.layer, label).name or f"Label {label}"
        return f"{name} is locked: nothing was changed. Unlock it in the table of labels (Look dock).", "warning"
    if change is not None and not change.is_empty and not np.array_equal(change.values, part.mask[change.box]):
        return f"{spec.title}: all that it would change is locked, or outside the range that may be painted.", "warning"
    if change is None and (locked or limits_of(part.layer).intensities is not None):
        return f"{spec.title}: nothing here may be painted, or has to be. Look at locks and range.", "warning"
    return f"{spec.title}: there is nothing to change{_HINTS.get(spec.id, ' here')}.", "info"


def _voxels(number: int) -> str:
    return "1 voxel" if number == 1 else f"{number:,} voxels".replace(",", "\u202f")
