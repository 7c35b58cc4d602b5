"""`CorrectHand`: mouse and keys of a viewer, and of the views linked to it, as gestures of the tool in the hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.qt import QtViewer
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QMainWindow

from napari_seg3d.viewer.correct_model import CorrectModel
from napari_seg3d.viewer.correct_sketch import Sketch
from napari_seg3d.viewer.label_look import style_of
from napari_seg3d.viewer.ortho import OrthoViews

if TYPE_CHECKING:
    from napari import Viewer

_CLICK_PIXELS = 3
_PIXELS_BETWEEN_CORNERS = 4  # of an outline that is drawn by hand
_OUTLINE_CORNERS = 8  # fewer than this is a click with an unsteady hand
_RUBBER = "#ffffff"
_NEEDS_A_SLICE = "This tool is used in a slice: switch to 2D, or open the four views (Look dock). Here a drag turns the volume."
# Keys that napari gives to the masks themselves: ours stand before them while a tool is in the hand.
_ON_MASKS = ("Escape", "Enter")

#: What a key does in a view.
Action = Callable[[ViewerModel], None]


class CorrectHand(QObject):
    """Listens only while somebody wants it to, and takes the mouse only while a tool is in the hand.

    Parameters
    ----------
    viewer : napari.Viewer
        The first view.
    ortho : OrthoViews
        The further ones.
    model : CorrectModel
        Whose tools are used.
    """

    def __init__(self, viewer: Viewer, ortho: OrthoViews, model: CorrectModel) -> None:
        super().__init__()
        self._viewer, self._ortho, self._model = viewer, ortho, model
        self._in: weakref.ref[QMainWindow] | None = None  # the window has the viewer, which must not be kept alive here
        self._keys: dict[str, Action] = {}
        self._bound: list[tuple[Any, str, Any]] = []
        self._masks: list[tuple[Any, str, Any]] = []
        self._taken: list[ViewerModel] = []
        self._sketches: dict[int, Sketch] = {}
        self._zooms: list[tuple[ViewerModel, Any]] = []
        ortho.changed.connect(self._views_changed)
        model.drawn.connect(self._synchronise)
        model.changed.connect(self._heed_mask)

    def listen(self, window: QMainWindow | None, keys: dict[str, Action]) -> None:
        """Let keys do what they are told, in all views, from now on.

        Parameters
        ----------
        window : QMainWindow
            That of the viewer; without one nothing is drawn over the canvases.
        keys : dict
            As napari writes keys; each is called with the view in which it was pressed.
        """
        self.stop()
        self._in = None if window is None else weakref.ref(window)
        self._keys = keys
        self._bind()
        self._synchronise()

    def stop(self) -> None:
        """Listen no more; napari's keys are what they were."""
        self._model.put_down()
        self._let_go()
        _unbind(self._bound)
        self._keys = {}
        self._in = None

    def focus(self) -> None:
        """Let the canvas have the keys, after a button was pressed."""
        main = self._main_view()
        if main is not None:
            main.canvas.native.setFocus()

    # -- which views ---------------------------------------------------------------------------------------------------------------

    @property
    def _window(self) -> QMainWindow | None:
        return self._in() if self._in is not None else None

    def _models(self) -> list[ViewerModel]:
        return [self._viewer, *(model for model, _ in self._ortho.views)]

    def _main_view(self) -> QtViewer | None:
        if self._window is None:
            return None
        shown = {id(widget) for _, widget in self._ortho.views}
        return next((one for one in self._window.centralWidget().findChildren(QtViewer) if id(one) not in shown), None)

    def _views_changed(self) -> None:
        """Views came or went: those that are there now are listened to."""
        if self._window is None:
            return
        self._let_go()
        _unbind(self._bound)
        self._bind()
        self._synchronise()

    def _bind(self) -> None:
        for model in self._models():
            for key, action in self._keys.items():
                _bind(self._bound, model, key, _when_pressed(action))

    def _heed_mask(self) -> None:
        """The mask may be another, whose own keys are in the way."""
        if self._taken:
            self._bind_masks()

    def _bind_masks(self) -> None:
        wanted = [layer for model in self._taken for layer in model.layers if isinstance(layer, Labels)]
        if [id(one) for one, _, _ in self._masks] == [id(layer) for layer in wanted for _ in _ON_MASKS]:
            return
        _unbind(self._masks)
        for model in self._taken:
            for layer in model.layers:
                if isinstance(layer, Labels):
                    for key in _ON_MASKS:
                        if key in self._keys:
                            _bind(self._masks, layer, key, _when_pressed(self._keys[key], model))

    # -- the mouse -----------------------------------------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Take the mouse while there is a tool, and show what was drawn with it."""
        if self._model.tool is None or self._window is None:
            self._let_go()
            return
        if not self._taken:
            self._take()
        self._bind_masks()
        self._show_points()

    def _take(self) -> None:
        self._taken = self._models()
        for model in self._taken:
            model.mouse_drag_callbacks.append(self._drag)
            model.mouse_move_callbacks.append(self._move)
            # napari zooms at a double click, which ends a polygon here.
            for zoom in [
                one for one in model.mouse_double_click_callbacks if getattr(one, "__name__", "") == "double_click_to_zoom"
            ]:
                model.mouse_double_click_callbacks.remove(zoom)
                self._zooms.append((model, zoom))
            model.mouse_double_click_callbacks.append(self._double_click)
        main = self._main_view()
        views = [*self._ortho.views, *([] if main is None else [(self._viewer, main)])]
        self._sketches = {id(model.dims): Sketch(model, view) for model, view in views if model.dims.ndisplay == 2}

    def _let_go(self) -> None:
        for model in self._taken:
            for callbacks, ours in (
                (model.mouse_drag_callbacks, self._drag),
                (model.mouse_move_callbacks, self._move),
                (model.mouse_double_click_callbacks, self._double_click),
            ):
                if ours in callbacks:
                    callbacks.remove(ours)
        for model, zoom in self._zooms:
            model.mouse_double_click_callbacks.append(zoom)
        for sketch in self._sketches.values():
            sketch.remove()
        _unbind(self._masks)
        self._taken, self._zooms, self._sketches = [], [], {}

    def _drag(self, model: ViewerModel, event: Any) -> Iterator[None]:
        """Draw, or click, with the left button; what is dragged without a brush moves the picture, as ever."""
        spec = self._model.tool
        if event.button != 1 or spec is None or event.modifiers:
            return
        if model.dims.ndisplay != 2:
            if spec.gesture not in ("label", "slice"):
                self._model.say(_NEEDS_A_SLICE, "warning")
            return
        if spec.gesture == "stroke":
            yield from self._draw(model, event)
        elif spec.gesture == "polygon":
            yield from self._outline(model, event)
        elif spec.gesture in ("click", "clicks"):
            pressed, position = np.array(event.pos), event.position
            yield
            while event.type == "mouse_move":
                yield
            if np.abs(np.array(event.pos) - pressed).max() <= _CLICK_PIXELS:
                if spec.gesture == "click":
                    self._model.click(model, position)
                else:
                    self._model.add_point(model, position)

    def _draw(self, model: ViewerModel, event: Any) -> Iterator[None]:
        camera = model.scene.camera
        could_pan, camera.mouse_pan = camera.mouse_pan, False
        try:
            if not self._model.begin_stroke(model, event.position):
                return
            self._refresh(model)
            yield
            while event.type == "mouse_move":
                self._model.draw_to(model, event.position)
                self._circle(model, event)
                self._refresh(model)
                yield
            self._model.end_stroke()
        finally:
            camera.mouse_pan = could_pan
            self._model.drop_stroke()  # only where it did not end

    def _outline(self, model: ViewerModel, event: Any) -> Iterator[None]:
        camera = model.scene.camera
        could_pan, camera.mouse_pan = camera.mouse_pan, False
        try:
            last, drawn = np.array(event.pos), 0
            self._model.add_point(model, event.position)
            yield
            while event.type == "mouse_move":
                if np.abs(np.array(event.pos) - last).max() >= _PIXELS_BETWEEN_CORNERS:
                    last, drawn = np.array(event.pos), drawn + 1
                    self._model.add_point(model, event.position)
                yield
            if drawn >= _OUTLINE_CORNERS:
                self._model.finish(model)
        finally:
            camera.mouse_pan = could_pan

    def _move(self, model: ViewerModel, event: Any) -> None:
        self._circle(model, event)

    def _double_click(self, model: ViewerModel, event: Any) -> None:
        spec = self._model.tool
        if spec is not None and spec.gesture == "polygon":
            self._model.finish(model)

    def _refresh(self, model: ViewerModel) -> None:
        """Show what was painted in the view in which somebody paints; the others follow when the stroke is done."""
        layer = self._model.scene.layer
        for one in model.layers:
            if isinstance(one, Labels) and layer is not None and one is not layer and one.data is layer.data:
                one.refresh(extent=False)

    # -- what is drawn over the canvas ---------------------------------------------------------------------------------------------

    def _circle(self, model: ViewerModel, event: Any) -> None:
        spec = self._model.tool
        for key, sketch in self._sketches.items():
            if spec is None or spec.gesture != "stroke" or key != id(model.dims):
                sketch.show_circle(None)
            else:
                sketch.show_circle(event.position, float(self._model.values(spec)["radius_mm"]), self._colour())

    def _show_points(self) -> None:
        spec, points = self._model.tool, []
        layer = self._model.scene.layer
        if layer is not None and self._model.points:
            part = self._model.scene.shown()
            points = [part.position(point) for point in self._model.points]
        for sketch in self._sketches.values():
            sketch.show_points(points, spec is not None and spec.gesture == "polygon", self._colour())
            if spec is None or spec.gesture != "stroke":
                sketch.show_circle(None, colour=self._colour())

    def _colour(self) -> str:
        layer = self._model.scene.layer
        if layer is None or not self._model.scene.label:
            return _RUBBER
        return style_of(layer, self._model.scene.label).colour


def _bind(bound: list[tuple[Any, str, Any]], whom: Any, key: str, what: Callable[[Any], None]) -> None:
    """Bind a key, and note what it did before."""
    bound.append((whom, key, whom.bind_key(key, what, overwrite=True)))


def _unbind(bound: list[tuple[Any, str, Any]]) -> None:
    """Let keys do again what they did before."""
    for whom, key, before in reversed(bound):
        whom.bind_key(key, before, overwrite=True)
    bound.clear()


def _when_pressed(action: Action, view: ViewerModel | None = None) -> Callable[[Any], None]:
    """Return what napari calls with the viewer or layer whose key it is; napari asks keys for names, which a partial has not."""

    def pressed(whom: Any) -> None:
        action(whom if view is None else view)

    return pressed
