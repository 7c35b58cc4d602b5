"""`Stroke`: a brush that is drawn along the scan; what it paints is seen while it is drawn, and is one level of undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from napari_seg3d.editing.brushes import range_under
from napari_seg3d.editing.tool_spec import ToolSpec, Work
from napari_seg3d.editing.tools import tool
from napari_seg3d.viewer.mask_part import MaskPart
from napari_seg3d.viewer.undo import edit_layer, keep_undo

# While one draws, a part is painted with the tissue that the stroke began in, which only the whole stroke knows.
_LIVE = {"adaptive_brush": "threshold_brush"}


class Stroke:
    """One stroke, from the press of the button until it is let go.

    Parameters
    ----------
    spec : ToolSpec
        A tool whose gesture is a stroke.
    values : mapping
        Its parameters.
    part : MaskPart
        Where it paints.
    work : Work
        What it works on; without places.

    Raises
    ------
    Seg3dError
        As the tool does.
    """

    def __init__(self, spec: ToolSpec, values: Mapping[str, Any], part: MaskPart, work: Work) -> None:
        self._spec, self._values, self._part, self._work = spec, dict(values), part, work
        self._live, self._live_values = spec, dict(values)
        self._places: list[tuple[float, ...]] = []
        self._level = ExitStack()
        self._level.enter_context(part.layer.block_history())

    @property
    def is_drawn(self) -> bool:
        """Whether it has begun."""
        return bool(self._places)

    def to(self, place: Sequence[float]) -> None:
        """Draw on to a place, in voxels of the mask."""
        at = tuple(float(where) for where in place)
        if not self._places and self._spec.id in _LIVE:
            self._look_at_tissue(at)
        last = self._places[-1:]
        self._places.append(at)
        if self._live is not None:
            self._paint(self._live, self._live_values, [*last, at])

    def end(self) -> None:
        """Let go: what was painted becomes one level of undo."""
        if self._places and self._spec.needs_image:
            # What hangs together only over the whole length of the stroke is found now.
            self._paint(self._spec, self._values, self._places)
        self._level.close()

    def drop(self) -> None:
        """Take it back."""
        keep_undo(self._part.layer).abort()
        self._level.close()

    def _paint(self, spec: ToolSpec, values: Mapping[str, Any], places: Sequence[Sequence[float]]) -> None:
        change = spec.run(replace(self._work, mask=self._part.mask, places=list(places)), values)
        edit_layer(self._part.layer, self._part.in_layer(change), tool=self._spec.id)

    def _look_at_tissue(self, place: Sequence[float]) -> None:
        work, values = self._work, self._spec.check(self._values)
        across = work.across if values["in_slice"] else None
        found = None
        if work.image is not None and work.image.shape == work.mask.shape:
            found = range_under(work.image, place, values["radius_mm"], work.spacing, values["spread"], across)
        if found is not None:
            kept = {name: values[name] for name in ("radius_mm", "in_slice", "over_others")}
            self._live = tool(_LIVE[self._spec.id])
            self._live_values = {**kept, "intensities": list(found), "connected": True}
