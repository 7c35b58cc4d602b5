"""`CorrectModel`: the mask that is corrected, the tool in the hand, and what tools do to the mask: at once, or in a job that is long."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_seg3d.editing import Change, Limits
from napari_seg3d.editing.nodules import centres_in
from napari_seg3d.editing.tool_spec import ToolSpec, Work
from napari_seg3d.editing.tools import tool
from napari_seg3d.errors import ConfigError, Seg3dError
from napari_seg3d.viewer.correct_stroke import Stroke
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.label_colours import labels_settings
from napari_seg3d.viewer.label_locks import limits_of, set_limits
from napari_seg3d.viewer.label_look import locked_values, style_of
from napari_seg3d.viewer.label_table_model import LabelTableModel
from napari_seg3d.viewer.layers import KEY, native_of
from napari_seg3d.viewer.mask_part import MaskPart, images_under, masks_beside
from napari_seg3d.viewer.stage import Picture, Stage
from napari_seg3d.viewer.undo import Edit, edit_layer, on_edit
from napari_seg3d.viewer.windows import is_in_hu
from napari_seg3d.volumes import volume_name

if TYPE_CHECKING:
    from napari import Viewer

Kind = Literal["info", "warning", "error"]

_MILLISECONDS_OF_REST = 60
_HALO = 8  # voxels around what changes that tools look at most
_SOFT_TISSUE = (-50.0, 150.0)
_AXES = 3
_MOST_LINES = 5
_SHARE_OF_WINDOW = 0.12  # that intensities of one tissue differ by, where they have no unit


class CorrectModel(QObject):
    """Works on the mask that `LabelTableModel` follows: the selected one, else the one that was, else the topmost visible one.

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
    tool : ToolSpec or None
        The tool in the hand.
    source : Labels or None
        Another mask whose labels tools look at.
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
        self._viewer, self._stage, self.labels = viewer, stage, labels
        self.tool: ToolSpec | None = None
        self.job: Job | None = None
        self.doing = ""
        self.notice: tuple[str, Kind] = ("", "info")
        self.points: list[tuple[float, ...]] = []
        self.plane: tuple[int | None, int | None] = (None, None)  # in which the points lie
        self._again: Callable[[], None] | None = None
        self._values: dict[str, dict[str, Any]] = {}
        self._image: weakref.ref[Image] | None = None
        self._source: weakref.ref[Labels] | None = None
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

    @property
    def layer(self) -> Labels | None:
        """The mask that is edited."""
        return self.labels.layer

    @property
    def masks(self) -> list[Labels]:
        """All masks, the topmost first."""
        return [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Labels)]

    @property
    def is_flat(self) -> bool:
        """Whether the mask has but one slice."""
        return self.layer is not None and (self.layer.ndim == 2 or 1 in self.layer.data.shape[-3:])

    @property
    def images(self) -> list[Image]:
        """The images that lie under the mask."""
        return [] if self.layer is None else images_under(self.layer, list(self._viewer.layers))

    @property
    def image(self) -> Image | None:
        """The image that tools look at: the one that was chosen, else the nearest."""
        images = self.images
        chosen = self._image() if self._image is not None else None
        return chosen if chosen in images else next(iter(images), None)

    def set_image(self, image: Image | None) -> None:
        """Let tools look at another image; the range of intensities follows it."""
        self._image = None if image is None else weakref.ref(image)
        if self.range is not None:
            self.set_range(self.range)
        self.changed.emit()

    @property
    def sources(self) -> list[Labels]:
        """Other masks of the same shape."""
        return [] if self.layer is None else masks_beside(self.layer, list(self._viewer.layers))

    @property
    def source(self) -> Labels | None:
        """The mask whose labels tools such as Combine look at; None is the one that is edited."""
        chosen = self._source() if self._source is not None else None
        return chosen if chosen in self.sources else None

    def set_source(self, source: Labels | None) -> None:
        """Let tools look at the labels of another mask."""
        self._source = None if source is None else weakref.ref(source)
        self.changed.emit()

    @property
    def label(self) -> int:
        """The selected label."""
        return 0 if self.layer is None else int(self.layer.selected_label)

    @property
    def range(self) -> tuple[float, float] | None:
        """Which intensities may be painted; None is all."""
        return None if self.layer is None else limits_of(self.layer).intensities

    def usual_range(self) -> tuple[float, float]:
        """Return a range to begin with: soft tissue in CT, else the window."""
        image = self.image
        if image is None or is_in_hu(image):
            return _SOFT_TISSUE
        low, high = (float(f"{limit:.4g}") for limit in image.contrast_limits)
        return low, high

    def set_range(self, intensities: tuple[float, float] | None) -> None:
        """Let only voxels be painted whose intensity lies in a range, by our tools as by napari's."""
        layer, image = self.layer, self.image
        if layer is None:
            return
        try:
            data = None if image is None else image.data[0] if image.multiscale else image.data
            if intensities is not None and data is None:
                raise ConfigError("There is no image under the mask.", "Open the scan that the mask belongs to.")
            set_limits(layer, None if data is None else np.asarray(data), intensities)
        except Seg3dError as error:
            self.say(str(error), "error")
        self.changed.emit()

    def new_mask(self) -> None:
        """Put an empty mask over the image that is looked at, to paint in."""
        image = next(
            (one for one in reversed(self._viewer.layers) if isinstance(one, Image) and one.visible and not one.rgb), None
        )
        if image is None:
            self.say("There is no image to paint on: open a scan.", "warning")
            return
        data = image.data[0] if image.multiscale else image.data
        place = {name: getattr(image, name) for name in ("scale", "translate", "units", "axis_labels")}
        look = place | labels_settings()
        layer = Labels(np.zeros(data.shape, np.uint8), name=f"{image.name} mask", metadata=_place_of(image), **look)
        self._viewer.add_layer(layer)
        self._stage.mark_saved(layer)
        self._viewer.layers.selection.active = layer

    def add_maps(self, image: Image, maps: Picture) -> None:
        """Show maps from 0 to 1 over the image, such as where a prediction is uncertain."""
        self._stage.add_maps(image, maps)

    def shown(self, model: ViewerModel | None = None) -> MaskPart:
        """Return what tools see of the mask. Raises a Seg3dError where there is none, or none that can be edited."""
        if self.layer is None:
            raise Seg3dError("There is no mask to correct.", "Open one, press New mask, or predict one.")
        return MaskPart.shown(self.layer, self.image, self._viewer if model is None else model)

    # -- the tool in the hand ------------------------------------------------------------------------------------------------------

    def values(self, spec: ToolSpec) -> dict[str, Any]:
        """Return the parameters of a tool as they are chosen; what was never chosen fits the image."""
        values = spec.defaults()
        image = self.image
        if image is not None and not is_in_hu(image):
            low, high = self.usual_range()
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
        if self.layer is not None and self.layer.mode != "pan_zoom":
            self.layer.mode = "pan_zoom"
        self.say(_HOW[self.tool.gesture] if self.layer is not None else "Select a mask, or press New mask.")
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
            part = self.shown(model)
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
                self._stroke.to(self.shown(model).place(position))
            except Seg3dError as error:
                self.drop_stroke()
                self.say(str(error), "error")

    def end_stroke(self) -> None:
        """Let the brush go."""
        stroke, self._stroke = self._stroke, None
        if stroke is None or self.tool is None or self.layer is None:
            return
        stroke.end()
        self._tell(self.tool, self.shown(), None)

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
                self.say(_TOO_FEW[spec.gesture], "warning")
                return
            corners = [[at for axis, at in enumerate(point) if axis != across] for point in points]
            plane = self.plane if spec.gesture == "polygon" else None
            self.drop_points()
            self._guarded(lambda: self._run(spec, model, lambda _part: corners, plane))
            return
        self._guarded(lambda: self._run(spec, model))

    def use_centres(self, file: Path) -> None:
        """Paint the nodules at all centres that a CSV lists, as one level of undo."""
        self._guarded(lambda: self._use_centres(file))

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
        if self.layer is not None and self._stroke is None:
            self.layer.undo()
            self.say("")

    def redo(self) -> None:
        """Do the last edit again that was taken back."""
        if self.layer is not None and self._stroke is None:
            self.layer.redo()
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

    def _use_centres(self, file: Path) -> None:
        part = self.shown()
        if part.mask.ndim != _AXES:
            raise ConfigError("The mask has but one slice, and the centres of a CSV lie in a volume.", "Open the whole CT.")
        native = native_of(part.image) if part.image is not None else None
        scan = volume_name(native.source.path) if native is not None and native.source is not None else None
        voxels, outside = centres_in(file, part.affine, part.mask.shape, scan)
        lines = f"{'line' if len(outside) == 1 else 'lines'} {', '.join(map(str, outside[:_MOST_LINES]))}"
        if not len(voxels):
            raise ConfigError(
                f"No centre in {file.name} lies in the scan ({lines}).",
                "Give x, y and z in mm towards left, back and head, as DICOM and the tables of LUNA do.",
            )
        self._run(tool("nodule"), None, lambda _part: voxels)
        if outside:
            self.say(f"{self.notice[0]} {len(outside)} centres lie outside of the scan: {lines} of {file.name}.", "warning")

    def _work(
        self, spec: ToolSpec, model: ViewerModel | None, plane: tuple[int | None, int | None] | None = None
    ) -> tuple[MaskPart, Work]:
        part = self.shown(model)
        asks = spec.gesture in ("slice", "polygon", "stroke", "click") or self.values(spec).get("in_slice", False)
        if plane is None:
            plane = part.slice_of(self._viewer if model is None else model) if asks else (None, None)
        if spec.gesture == "slice" and plane[0] is None:
            raise ConfigError(f"{spec.title} goes from slice to slice, and this mask has but one.", "Use it in a volume.")
        source = self.source if spec.takes_source else None
        work = Work(
            part.mask,
            part.spacing,
            self.label,
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
        """Say what a tool has done, or why nothing."""
        if self._edited:
            self.say(f"{spec.title}: {_voxels(self._edited)} changed ({part.size_of(self._edited)}).")
            return
        locked = locked_values(part.layer)
        if self.label in locked:
            name = style_of(part.layer, self.label).name or f"Label {self.label}"
            self.say(f"{name} is locked: nothing was changed. Unlock it in the table of labels (Look dock).", "warning")
        elif change is not None and not change.is_empty and not np.array_equal(change.values, part.mask[change.box]):
            self.say(f"{spec.title}: all that it would change is locked, or outside the range that may be painted.", "warning")
        elif change is None and (locked or self.range is not None):
            self.say(f"{spec.title}: nothing here may be painted, or has to be. Look at locks and range.", "warning")
        else:
            self.say(f"{spec.title}: there is nothing to change{_HINTS.get(spec.id, ' here')}.")

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
        layer = self.layer
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
        if self.tool is not None and self.layer is not None and self.layer.mode != "pan_zoom":
            self.put_down()  # napari's own brush was taken

    def _heed_edit(self, edit: Edit) -> None:
        if not edit.is_undone:
            self._edited += sum(delta.number for delta in edit.deltas)
        self._rest.start()


_HOW = {
    "stroke": "Draw in the scan with the left mouse button. Esc puts the brush down.",
    "click": "Click in the scan. Esc puts the tool down.",
    "clicks": "Click once into each object, then press Enter. Esc begins anew.",
    "polygon": "Click the corners, or draw the outline by hand; Enter or a double click closes it. Esc begins anew.",
    "slice": "Enter or Apply uses it on the slice that is shown.",
    "label": "Enter or Apply uses it on the selected label.",
}
_TOO_FEW = {"polygon": "A polygon has three corners at least.", "clicks": "Click into two objects at least, then press Enter."}
_HINTS = {
    "fill_holes": ": there are no holes",
    "keep_largest": ": it is in one piece",
    "margin": ": it is less than a voxel, or other labels are in the way",
    "drop_small": ": no piece is that small",
    "copy_to_next": ": the slice has nothing of the label, or the next one has it already",
    "copy_to_previous": ": the slice has nothing of the label, or the one before has it already",
}


def _is_as_it_was(part: MaskPart, before: NDArray[np.integer], change: Change) -> bool:
    """Return whether the mask is what a tool has seen, where it changes something and around that."""
    box = tuple(slice(max(side.start - _HALO, 0), side.stop + _HALO) for side in change.box)
    return before.shape == part.mask.shape and (change.is_empty or np.array_equal(part.mask[box], before[box]))


def _voxels(number: int) -> str:
    return "1 voxel" if number == 1 else f"{number:,} voxels".replace(",", "\u202f")


def _place_of(image: Image) -> dict[str, object]:
    """Return what says where the voxels of an image lie, for a mask on them; of a resampled one, saving finds that out."""
    native = native_of(image)
    return {} if native is None or native.original is not None else {KEY: replace(native, unit="", notes=())}
