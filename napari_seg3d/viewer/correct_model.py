"""`CorrectModel`: the tool in the hand, and what tools do to the mask: at once, or in a job that is long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_seg3d.editing import Change, Limits
from napari_seg3d.editing.tool_spec import ToolSpec, Work
from napari_seg3d.editing.tools import tool
from napari_seg3d.errors import ConfigError, Seg3dError
from napari_seg3d.viewer.correct_scene import CorrectScene
from napari_seg3d.viewer.correct_stroke import Stroke
from napari_seg3d.viewer.correct_words import HOW, TOO_FEW, Kind, outcome
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.label_table_model import LabelTableModel
from napari_seg3d.viewer.mask_part import MaskPart
from napari_seg3d.viewer.nodule_table import centres_for
from napari_seg3d.viewer.stage import Stage
from napari_seg3d.viewer.undo import Edit, edit_layer, on_edit
from napari_seg3d.viewer.windows import is_in_hu

if TYPE_CHECKING:
    from napari import Viewer

_MILLISECONDS_OF_REST = 60
_HALO = 8  # voxels around what changes that tools look at most
_SHARE_OF_WINDOW = 0.12  # that intensities of one tissue differ by, where they have no unit


class CorrectModel(QObject):
    """Works on the mask of its scene.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    stage : Stage
        Where a new mask is put.
    labels : LabelTableModel
        Which mask is looked at, and what labels it has.

    Attributes
    ----------
    scene : CorrectScene
        The mask, and what lies around it.
    tool : ToolSpec or None
        The tool in the hand.
    job : Job or None
        The tool that is at work.
    doing : str
        What that is.
    notice : (str, str)
        What is to be said, and whether it is "info", "warning" or "error".
    points : list of tuple
        What was clicked for the tool in the hand, in voxels of the mask.
    """

    #: The mask, the image, the tool, a job, what can be undone, or the notice is another.
    changed = Signal()
    progressed = Signal(int, int)
    #: The tool, or what it has drawn so far, is another.
    drawn = Signal()

    def __init__(self, viewer: Viewer, stage: Stage, labels: LabelTableModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.scene = CorrectScene(viewer, stage, labels)
        self.scene.changed.connect(self.changed)
        self.tool: ToolSpec | None = None
        self.job: Job | None = None
        self.doing = ""
        self.notice: tuple[str, Kind] = ("", "info")
        self.points: list[tuple[float, ...]] = []
        self.plane: tuple[int | None, int | None] = (None, None)  # in which the points lie
        self._again: Callable[[], None] | None = None
        self._values: dict[str, dict[str, Any]] = {}
        self._layer: Labels | None = None
        self._stroke: Stroke | None = None
        self._edited = 0
        self._stop_hearing: Callable[[], None] | None = None
        self._rest = QTimer(self, singleShot=True, interval=_MILLISECONDS_OF_REST)
        self._rest.timeout.connect(self.changed)
        labels.changed.connect(self._follow)
        labels.lookChanged.connect(self.changed)
        self._follow()

    # -- what it works on ----------------------------------------------------------------------------------------------------------

    def set_image(self, image: Image | None) -> None:
        """Let tools look at another image; the range of intensities follows it."""
        self._guarded(lambda: self.scene.set_image(image))

    def set_range(self, intensities: tuple[float, float] | None) -> None:
        """Let only voxels be painted whose intensity lies in a range, by our tools as by napari's."""
        self._guarded(lambda: self.scene.set_range(intensities))

    def new_mask(self) -> None:
        """Put an empty mask over the image that is looked at, to paint in."""
        self._guarded(self.scene.new_mask)

    # -- the tool in the hand ------------------------------------------------------------------------------------------------------

    def values(self, spec: ToolSpec) -> dict[str, Any]:
        """Return the parameters of a tool as they are chosen; what was never chosen fits the image."""
        values = spec.defaults()
        image = self.scene.image
        if image is not None and not is_in_hu(image):
            low, high = self.scene.usual_range()
            if spec.id == "threshold_brush":
                values["intensities"] = [low, high]
            elif spec.id == "grow_region":
                values["tolerance"] = float(f"{(high - low) * _SHARE_OF_WINDOW:.3g}")
        return values | self._values.get(spec.id, {})

    def set_values(self, spec: ToolSpec, values: Mapping[str, Any]) -> None:
        """Choose parameters of a tool."""
        chosen = self.values(spec)
        changed = {name: value for name, value in values.items() if value != chosen.get(name)}
        if changed:
            self._values.setdefault(spec.id, {}).update(changed)
            self.drawn.emit()

    def take(self, name: str) -> None:
        """Take a tool into the hand; napari's own brush is put away for it."""
        self.drop_points()
        self.tool = tool(name)
        if self.scene.layer is not None and self.scene.layer.mode != "pan_zoom":
            self.scene.layer.mode = "pan_zoom"
        self.say(HOW[self.tool.gesture] if self.scene.layer is not None else "Select a mask, or press New mask.")
        self.drawn.emit()

    def put_down(self) -> None:
        """Put the tool away; what is half drawn is forgotten."""
        self.drop_stroke()
        self.drop_points()
        if self.tool is not None:
            self.tool = None
            self.say("")
            self.drawn.emit()

    def drop_points(self) -> None:
        """Forget what was clicked, or drawn of a polygon."""
        if self.points:
            self.points.clear()
            self.drawn.emit()

    def add_point(self, model: ViewerModel, position: Sequence[float]) -> None:
        """Add a corner to the polygon, or one more click."""
        try:
            part = self.scene.shown(model)
            plane = part.slice_of(model)
        except Seg3dError as error:
            self.say(str(error), "error")
            return
        if self.tool is not None and self.tool.gesture == "polygon" and plane != self.plane:
            self.points.clear()  # a polygon lies in one slice
        self.plane = plane
        self.points.append(part.place(position))
        self.drawn.emit()

    # -- what tools do -------------------------------------------------------------------------------------------------------------

    def begin_stroke(self, model: ViewerModel, position: Sequence[float]) -> bool:
        """Begin to draw with the brush in the hand; return whether it can."""
        spec = self.tool
        if spec is None or spec.gesture != "stroke":
            return False
        self._edited = 0
        try:
            part, work = self._work(spec, model)
            self._stroke = Stroke(spec, self.values(spec), part, work)
            self._stroke.to(part.place(position))
        except Seg3dError as error:
            self.drop_stroke()
            self.say(str(error), "error")
            return False
        return True

    def draw_to(self, model: ViewerModel, position: Sequence[float]) -> None:
        """Draw on."""
        if self._stroke is not None:
            try:
                self._stroke.to(self.scene.shown(model).place(position))
            except Seg3dError as error:
                self.drop_stroke()
                self.say(str(error), "error")

    def end_stroke(self) -> None:
        """Let the brush go."""
        stroke, self._stroke = self._stroke, None
        if stroke is None or self.tool is None or self.scene.layer is None:
            return
        stroke.end()
        self._tell(self.tool, self.scene.shown(), None)

    def drop_stroke(self) -> None:
        """Take back what is being drawn."""
        stroke, self._stroke = self._stroke, None
        if stroke is not None:
            stroke.drop()

    def click(self, model: ViewerModel, position: Sequence[float]) -> None:
        """Use the tool in the hand at a place."""
        spec = self.tool
        if spec is not None and spec.gesture == "click":
            self._guarded(lambda: self._run(spec, model, lambda part: part.place(position)))

    def finish(self, model: ViewerModel | None = None) -> None:
        """Use what was clicked, or apply the tool in the hand: the Enter key, and Apply."""
        spec = self.tool
        if spec is None or self._stroke is not None:
            return
        if spec.gesture in ("stroke", "click"):
            return
        if spec.gesture in ("polygon", "clicks"):
            points = list(self.points)
            across = self.plane[0] if spec.gesture == "polygon" else None
            if len(points) < (3 if spec.gesture == "polygon" else 2):
                self.say(TOO_FEW[spec.gesture], "warning")
                return
            corners = [[at for axis, at in enumerate(point) if axis != across] for point in points]
            plane = self.plane if spec.gesture == "polygon" else None
            self.drop_points()
            self._guarded(lambda: self._run(spec, model, lambda _part: corners, plane))
            return
        self._guarded(lambda: self._run(spec, model))

    def use_centres(self, file: Path) -> None:
        """Paint the nodules at all centres that a CSV lists, as one level of undo."""

        def use() -> None:
            voxels, note = centres_for(self.scene.shown(), file)
            self._run(tool("nodule"), None, lambda _part: voxels)
            if note:
                self.say(f"{self.notice[0]} {note}", "warning")

        self._guarded(use)

    def apply(self, name: str, model: ViewerModel | None = None) -> None:
        """Use a tool that needs no gesture, without taking it into the hand."""
        spec = tool(name)
        self._guarded(lambda: self._run(spec, model))

    def cancel(self) -> None:
        """Stop the tool that is at work."""
        if self.job is not None:
            self.job.cancel()

    @property
    def can_run_again(self) -> bool:
        """Whether the mask was edited under the tool that ran last, so that it did nothing."""
        return self._again is not None

    def run_again(self) -> None:
        """Run that tool again, on the mask as it is now."""
        again, self._again = self._again, None
        if again is not None:
            self._guarded(again)

    def undo(self) -> None:
        """Take the last edit back, whoever made it."""
        if self.scene.layer is not None and self._stroke is None:
            self.scene.layer.undo()
            self.say("")

    def redo(self) -> None:
        """Do the last edit again that was taken back."""
        if self.scene.layer is not None and self._stroke is None:
            self.scene.layer.redo()
            self.say("")

    def say(self, text: str, kind: Kind = "info") -> None:
        """Say something in words."""
        self.notice = (text, kind)
        self.changed.emit()

    # -- how -----------------------------------------------------------------------------------------------------------------------

    def work_on(self, doing: str, work: Callable[[Job], Any], then: Callable[[Any], None]) -> None:
        """Do something long in a job; `then` gets what it returns, in the window's thread, and may raise a Seg3dError."""
        if self.job is not None:
            self.say(f"{self.doing} is still at work: wait, or cancel it.", "warning")
            return
        self._again = None
        self.doing = doing
        self.say("")

        def returned(result: Any) -> None:
            if self._stroke is not None:  # what is being drawn is finished first
                QTimer.singleShot(_MILLISECONDS_OF_REST, lambda: returned(result))
                return
            self._guarded(lambda: then(result))

        def ended() -> None:
            self.job = None
            self.changed.emit()

        self.job = start_job(
            work,
            progressed=self.progressed.emit,
            returned=returned,
            failed=lambda error: self.say(str(error), "error"),
            cancelled=lambda: self.say(f"{doing} was cancelled; the mask is as it was."),
            ended=ended,
        )
        self.changed.emit()

    def put(self, part: MaskPart, change: Change, limits: Limits | None = None, tool: str = "") -> int:
        """Write a change into a mask as one level of undo, and return how many voxels changed."""
        self._edited = 0
        edit_layer(part.layer, part.in_layer(change), limits, tool)
        return self._edited

    def _run(
        self,
        spec: ToolSpec,
        model: ViewerModel | None = None,
        places: Callable[[MaskPart], object] | None = None,
        plane: tuple[int | None, int | None] | None = None,
    ) -> None:
        part, work = self._work(spec, model, plane)
        if places is not None:
            work = replace(work, places=places(part))  # type: ignore[arg-type]
        values = spec.check(self.values(spec))
        if not spec.is_long:
            self._take(spec, part, spec.run(work, values))
            self._move_on(spec, part, work, self._viewer if model is None else model)
            return
        before = part.mask.copy()
        source = None if work.source is None else work.source.copy()

        def compute(job: Job) -> Change:
            return spec.run(replace(work, mask=before, source=source, progress=job.progress, cancelled=job.is_cancelled), values)

        def take(change: Change) -> None:
            if part.layer not in self._viewer.layers:
                self.say(f"{part.layer.name} was closed before {spec.title} was ready.", "warning")
            elif not _is_as_it_was(part, before, change):
                self._again = lambda: self._run(spec, model, places, plane)
                self.say(f"The mask was edited where {spec.title} was at work, so that nothing was changed.", "warning")
            else:
                self._take(spec, part, change)

        self.work_on(spec.title, compute, take)

    def _work(
        self, spec: ToolSpec, model: ViewerModel | None, plane: tuple[int | None, int | None] | None = None
    ) -> tuple[MaskPart, Work]:
        part = self.scene.shown(model)
        asks = spec.gesture in ("slice", "polygon", "stroke", "click") or self.values(spec).get("in_slice", False)
        if plane is None:
            plane = part.slice_of(self._viewer if model is None else model) if asks else (None, None)
        if spec.gesture == "slice" and plane[0] is None:
            raise ConfigError(f"{spec.title} goes from slice to slice, and this mask has but one.", "Use it in a volume.")
        source = self.scene.source if spec.takes_source else None
        work = Work(
            part.mask,
            part.spacing,
            self.scene.label,
            part.voxels,  # type: ignore[arg-type]
            None,
            *plane,
            None if source is None else MaskPart(source, None, part.time).mask,
            part.limits,
        )
        return part, work

    def _take(self, spec: ToolSpec, part: MaskPart, change: Change) -> None:
        self.put(part, change, tool=spec.id)
        self._tell(spec, part, change)

    def _tell(self, spec: ToolSpec, part: MaskPart, change: Change | None) -> None:
        self.say(*outcome(spec, part, change, self._edited, self.scene.label))

    def _move_on(self, spec: ToolSpec, part: MaskPart, work: Work, model: ViewerModel) -> None:
        """Show the slice that was copied to."""
        step = spec.fixed.get("step")
        if step and work.across is not None and work.index is not None and 0 <= work.index + step < part.mask.shape[work.across]:
            axis = work.across + model.dims.ndim - part.mask.ndim
            place = [0.0] * part.mask.ndim
            place[work.across] = float(work.index + step)
            model.dims.set_point(axis, part.position(place)[work.across - part.mask.ndim])

    def _guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Seg3dError as error:
            self.say(str(error), "error")

    def _follow(self) -> None:
        layer = self.scene.layer
        if layer is not self._layer:
            self.put_down()
            if self._stop_hearing is not None:
                self._stop_hearing()
                self._stop_hearing = None
            if self._layer is not None:
                self._layer.events.mode.disconnect(self._heed_mode)
            self._layer, self._again = layer, None
            self.notice = ("", "info")
            if layer is not None:
                layer.events.mode.connect(self._heed_mode)
                if isinstance(layer.data, np.ndarray):
                    self._stop_hearing = on_edit(layer, self._heed_edit)
        self.changed.emit()

    def _heed_mode(self, event: object = None) -> None:
        if self.tool is not None and self.scene.layer is not None and self.scene.layer.mode != "pan_zoom":
            self.put_down()  # napari's own brush was taken

    def _heed_edit(self, edit: Edit) -> None:
        if not edit.is_undone:
            self._edited += sum(delta.number for delta in edit.deltas)
        self._rest.start()


def _is_as_it_was(part: MaskPart, before: NDArray[np.integer], change: Change) -> bool:
    """Return whether the mask is what a tool has seen, where it changes something and around that."""
    box = tuple(slice(max(side.start - _HALO, 0), side.stop + _HALO) for side in change.box)
    return before.shape == part.mask.shape and (change.is_empty or np.array_equal(part.mask[box], before[box]))
