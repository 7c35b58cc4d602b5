"""The keys of the Correct dock: those of the tools, and those that move; one list for binding them and for the sheet of keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from napari.components import ViewerModel

from napari_seg3d.editing.tool_spec import ToolSpec
from napari_seg3d.editing.tools import TOOLS
from napari_seg3d.viewer.correct_hand import Action
from napari_seg3d.viewer.correct_model import CorrectModel
from napari_seg3d.viewer.correct_steps import CorrectSteps

#: What moves, by key as napari writes it. None of them is a key of napari's masks.
STEPS: dict[str, str] = {
    "N": "Next slice that has the selected label",
    "Control-Alt-N": "Previous slice that has the selected label",
    ".": "Next label",
    ",": "Previous label",
    "U": "Next uncertain spot",
    "Control-Alt-U": "Previous uncertain spot",
    "D": "Next difference of the two masks that Review compares",
    "Control-Alt-D": "Previous difference",
    "Enter": "Apply the tool, close the polygon, or split between the clicks",
    "Escape": "Drop what is half drawn; again: put the tool down",
    "F1": "This sheet",
}
#: Keys of napari that go on working in a mask, for the sheet.
OF_NAPARI: dict[str, str] = {
    "Ctrl+Z": "Undo, our tools and napari's brush alike",
    "Ctrl+Shift+Z": "Redo",
    "2 or P": "napari's brush",
    "1 or E": "napari's eraser",
    "3": "napari's polygon",
    "4 or F": "napari's fill",
    "5 or L": "Pick the label under the mouse",
    "6 or Z": "Move and zoom",
    "M": "A new label",
    "X": "Swap the label with background",
    "B": "Keep other labels (napari's brush)",
    "[ and ]": "Smaller and larger brush (napari's)",
    "Left and Right": "Previous and next slice",
}


def actions(model: CorrectModel, steps: CorrectSteps, show_keys: Callable[[], None]) -> dict[str, Action]:
    """Return what each key does, called with the view in which it was pressed."""
    found: dict[str, Action] = {spec.key: partial(_use, model, spec) for spec in TOOLS}

    def escape(_view: ViewerModel) -> None:
        if model.points:
            model.drop_points()
        else:
            model.put_down()

    return found | {
        "N": lambda view: steps.slice(view, 1),
        "Control-Alt-N": lambda view: steps.slice(view, -1),
        ".": lambda _view: steps.label(1),
        ",": lambda _view: steps.label(-1),
        "U": lambda _view: steps.uncertain(1),
        "Control-Alt-U": lambda _view: steps.uncertain(-1),
        "D": lambda _view: steps.difference(1),
        "Control-Alt-D": lambda _view: steps.difference(-1),
        "Enter": model.finish,
        "Escape": escape,
        "F1": lambda _view: show_keys(),
    }


def readable(key: str) -> str:
    """Return a key as people write it: ``Ctrl+Alt+I``."""
    return key.replace("Control", "Ctrl").replace("-", "+")


def _use(model: CorrectModel, spec: ToolSpec, view: ViewerModel) -> None:
    """Take a tool; one that works on the slice that is shown is used at once, one for a whole label at the second press."""
    if spec.gesture == "slice":
        model.apply(spec.id, view)
    elif spec.gesture == "label" and model.tool is spec:
        model.finish(view)
    else:
        model.take(spec.id)
