"""`TOOLS`: every tool of the Correct dock, with its key, what it is for and what may be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import AIR
from napari_seg3d.editing.between import fill_between
from napari_seg3d.editing.brushes import adaptive_brush, brush, erase_brush, replace_brush, threshold_brush
from napari_seg3d.editing.change import Change
from napari_seg3d.editing.combining import combine, cut, merge
from napari_seg3d.editing.islands import drop_small, fill_holes, keep_island, keep_largest, split_islands
from napari_seg3d.editing.limits import ANYTHING, Limits
from napari_seg3d.editing.margins import hollow, margin
from napari_seg3d.editing.nodules import MOST_MM, add_nodules
from napari_seg3d.editing.polygons import fill_polygon
from napari_seg3d.editing.regions import flood_fill, grow_region, trace_level
from napari_seg3d.editing.slices import copy_slice
from napari_seg3d.editing.smoothing import smooth, smooth_jointly
from napari_seg3d.editing.splitting import split, split_by_seeds
from napari_seg3d.editing.strokes import grow_strokes, refine
from napari_seg3d.editing.tool_spec import ToolSpec
from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms.parameter import Parameter, closest_first

_VALUE = (0, 2**31 - 1)


def _radius(default: float = 5.0) -> Parameter:
    return Parameter("radius_mm", "number", default, 0, 200, unit="mm", help="Radius of the brush.")


def _in_slice(default: bool, help_text: str = "Work in the slice that is shown alone, and not in 3D.") -> Parameter:
    return Parameter("in_slice", "flag", default, help=help_text)


def _over_others(default: bool) -> Parameter:
    return Parameter("over_others", "flag", default, help="Paint over other labels, too; locked ones stay in any case.")


def _first(what: str) -> Parameter:
    return Parameter(
        "first",
        "integer",
        None,
        1,
        _VALUE[1],
        optional=True,
        help=f"Label of the second largest {what}; nothing: the first unused one.",
    )


def _fill_between(
    mask: NDArray[np.integer],
    label: int,
    spacing: Sequence[float],
    across: int,
    image: NDArray[np.generic] | None = None,
    *,
    every_label: bool = False,
    follow_image: bool = True,
    limits: Limits = ANYTHING,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Change:
    """Fill the selected label between its slices, or all of them; see `fill_between`."""
    return fill_between(
        mask,
        spacing,
        across,
        labels=None if every_label else [label],
        image=image if follow_image else None,
        limits=limits,
        progress=progress,
        cancelled=cancelled,
    )


def _around(default: float) -> Parameter:
    return Parameter("margin_mm", "number", default, 0, 200, unit="mm", help="How far around the strokes is filled.")


_BACKGROUND = Parameter(
    "background",
    "integer",
    None,
    *_VALUE,
    optional=True,
    help="The label with which background was painted; it becomes background.",
)
_RANGE = Parameter(
    "intensities", "range", [-50.0, 150.0], help="Only voxels with an intensity from the first to the second number are painted."
)
_BELOW = "Labels that may be replaced; nothing else under the brush changes."
_COPIED = (
    Parameter("every_label", "flag", False, help="All labels, and not only the selected one."),
    Parameter(
        "onto",
        "choice",
        "empty",
        choices=("empty", "over", "replace"),
        help="empty: only into background. over: over other labels, too. replace: the label is then there as in the slice that is copied, "
        "no more.",
    ),
)

TOOLS: tuple[ToolSpec, ...] = (
    # -- paint ----------------------------------------------------------------------------------------------------------------------------
    ToolSpec(
        "brush",
        "Brush",
        "paint",
        "Shift-B",
        "stroke",
        "Paints the selected label with a ball of some millimetres, or a disc in the slice.",
        "To paint, or with label 0 to erase, several slices at once; the size is in millimetres, whatever the voxels are.",
        brush,
        (_radius(), _in_slice(False, "Paint a disc in the slice that is shown, and not a ball."), _over_others(True)),
    ),
    ToolSpec(
        "threshold_brush",
        "Threshold brush",
        "paint",
        "Shift-T",
        "stroke",
        "Paints only voxels whose intensity lies in a range.",
        "Where the object differs from what is around it: bone, vessels with contrast, air. One can paint carelessly over its edge.",
        threshold_brush,
        (
            _radius(),
            _RANGE,
            Parameter("connected", "flag", False, help="Only what hangs together with the line that is drawn."),
            _in_slice(False),
            _over_others(False),
        ),
    ),
    ToolSpec(
        "adaptive_brush",
        "Adaptive brush",
        "paint",
        "Shift-A",
        "stroke",
        "Paints what looks like the tissue under the point where the stroke begins and hangs together with it.",
        "Where no range fits the whole scan (MR, ultrasound): begin in the middle of the object and draw along it.",
        adaptive_brush,
        (
            _radius(),
            Parameter(
                "spread",
                "number",
                3.0,
                0.1,
                20,
                help="How different it may be, in standard deviations of the tissue where one begins.",
            ),
            _in_slice(False),
            _over_others(False),
        ),
    ),
    ToolSpec(
        "replace_brush",
        "Replace below",
        "paint",
        "Shift-R",
        "stroke",
        "Paints the selected label only over the labels that are chosen.",
        "To correct what a network calls by the wrong name: paint 'left' over 'right' without moving any border.",
        replace_brush,
        (_radius(), Parameter("below", "integers", [], *_VALUE, help=_BELOW), _in_slice(False)),
    ),
    ToolSpec(
        "erase_brush",
        "Erase below",
        "paint",
        "Shift-E",
        "stroke",
        "Erases only the selected label, or those that are chosen, under the brush.",
        "To take back one label where it runs into others, without touching these.",
        erase_brush,
        (
            _radius(),
            Parameter("below", "integers", [], *_VALUE, help="Labels that are erased; none: the selected one."),
            _in_slice(False),
        ),
    ),
    ToolSpec(
        "polygon",
        "Polygon",
        "paint",
        "Shift-P",
        "polygon",
        "Fills a polygon, or an outline drawn by hand, in the slice that is shown.",
        "For straight or smooth outlines; with label 0 it cuts off what is inside.",
        fill_polygon,
        (_over_others(True),),
    ),
    # -- click ----------------------------------------------------------------------------------------------------------------------------
    ToolSpec(
        "flood_fill",
        "Fill",
        "click",
        "Shift-F",
        "click",
        "Gives the connected region of one value around the click the selected label.",
        "To fill an outline, to give a whole piece another label, or with 0 to remove one.",
        flood_fill,
        (
            _in_slice(True),
            Parameter(
                "most_ml",
                "number",
                500.0,
                0.001,
                100_000,
                unit="ml",
                help="Larger regions are not filled: their outline has a gap.",
            ),
        ),
    ),
    ToolSpec(
        "grow_region",
        "Grow from a click",
        "click",
        "Shift-G",
        "click",
        "Paints the connected voxels around the click whose intensity is like the one there.",
        "For an object that is about equally bright inside, such as a cyst, the bladder, a vessel; where it leaks, forbid narrow passages.",
        grow_region,
        (
            Parameter("tolerance", "number", 50.0, 0, 1e9, help="How far an intensity may be from the one that was clicked."),
            Parameter("intensities", "range", None, optional=True, help="A range instead of the tolerance."),
            Parameter("radius_mm", "number", 30.0, 0.1, 300, unit="mm", help="How far it reaches from the click."),
            Parameter(
                "neck_mm",
                "number",
                0.0,
                0,
                30,
                unit="mm",
                help="It does not go through passages narrower than this; 0: through all.",
            ),
            _in_slice(False),
            _over_others(False),
        ),
    ),
    ToolSpec(
        "trace_level",
        "Trace the edge",
        "click",
        "Shift-L",
        "click",
        "Paints what the outline at the intensity of the clicked place encloses in its slice.",
        "One click on the edge of an object takes its whole section; move the click to move the edge.",
        trace_level,
        (
            Parameter(
                "side",
                "choice",
                "auto",
                choices=("auto", "bright", "dark"),
                help="Whether the object is the bright or the dark side.",
            ),
            _over_others(False),
        ),
    ),
    ToolSpec(
        "nodule",
        "Lung nodule",
        "click",
        "Shift-N",
        "click",
        "Paints the nodule whose centre was clicked, in a CT of the lung.",
        "For nodules in air; also for all centres of a CSV. Where a nodule lies at the wall, use another tool.",
        add_nodules,
        (
            Parameter("above", "number", AIR, -1024, 3000, unit="HU", help="What is above is no air."),
            Parameter("most_mm", "number", MOST_MM, 1, 500, unit="mm", help="What is larger is no nodule, and not painted."),
            _over_others(False),
        ),
    ),
    # -- slices ---------------------------------------------------------------------------------------------------------------------------
    ToolSpec(
        "copy_to_next",
        "Copy to the next slice",
        "slices",
        "Shift-Right",
        "slice",
        "Copies the selected label, or all, from the slice that is shown to the next one.",
        "Where slices differ little: copy, then correct.",
        copy_slice,
        _COPIED,
        {"step": 1},
    ),
    ToolSpec(
        "copy_to_previous",
        "Copy to the previous slice",
        "slices",
        "Shift-Left",
        "slice",
        "Copies the selected label, or all, from the slice that is shown to the one before.",
        "As copying to the next slice, the other way.",
        copy_slice,
        _COPIED,
        {"step": -1},
    ),
    ToolSpec(
        "fill_between",
        "Fill between slices",
        "slices",
        "Shift-Z",
        "slice",
        "Fills the selected label, or all, between the slices of the plane that is shown in which it is painted.",
        "To paint every fourth or eighth slice of an organ, and have the others made from them.",
        _fill_between,
        (
            Parameter("every_label", "flag", False, help="All labels, and not only the selected one."),
            Parameter(
                "follow_image", "flag", True, help="Follow the image, as far as that proves right on the slices that are painted."
            ),
        ),
    ),
    # -- strokes --------------------------------------------------------------------------------------------------------------------------
    ToolSpec(
        "grow_from_seeds",
        "Grow from strokes",
        "strokes",
        "Shift-U",
        "label",
        "Lets all labels grow from their strokes until they meet, along what looks alike.",
        "Several objects that touch, or one with a visible border: a few strokes in each, and of the background, in some slices.",
        grow_strokes,
        (_BACKGROUND, _around(5.0)),
    ),
    ToolSpec(
        "refine",
        "Quick model",
        "strokes",
        "Shift-Q",
        "label",
        "Teaches a small classifier what the strokes are, and fills what lies around them.",
        "What differs by texture or surroundings and lies in many places: fat, lung disease, vessels. Correct with strokes and repeat.",
        refine,
        (
            _BACKGROUND,
            _around(20.0),
            Parameter(
                "near", "flag", True, help="A label is likelier near its strokes. Off, only what a voxel looks like counts."
            ),
        ),
    ),
    # -- surface --------------------------------------------------------------------------------------------------------------------------
    ToolSpec(
        "smooth",
        "Smooth",
        "surface",
        "Shift-S",
        "label",
        "Smooths the surface of the selected label.",
        "median for painted steps between slices; gaussian for round organs; opening to lose spurs; closing to fill clefts.",
        smooth,
        (
            Parameter(
                "method",
                "choice",
                "median",
                choices=("median", "gaussian", "opening", "closing"),
                help="median: the majority around each voxel. gaussian: a blur, cut at a half. opening: without what is thinner than a ball. "
                "closing: with the gaps that a ball cannot enter.",
            ),
            Parameter("mm", "number", 3.0, 0.1, 50, unit="mm", help="How much; details smaller than this go."),
            _in_slice(False, "Slice by slice, along the plane that is shown."),
            _over_others(False),
        ),
    ),
    ToolSpec(
        "smooth_jointly",
        "Smooth all labels",
        "surface",
        "Shift-J",
        "label",
        "Smooths all labels together: no gap opens between those that touch.",
        "At the end of the work on many labels that touch, such as lobes, vertebrae, parts of the brain. Lock what must not change.",
        smooth_jointly,
        (Parameter("mm", "number", 2.0, 0.1, 50, unit="mm", help="How much (standard deviation of the blur)."),),
    ),
    ToolSpec(
        "margin",
        "Grow or shrink",
        "surface",
        "Shift-M",
        "label",
        "Grows the selected label by some millimetres, or shrinks it.",
        "For safety margins, or where a whole outline is a little too small or too large.",
        margin,
        (
            Parameter(
                "mm", "number", 2.0, -200, 200, unit="mm", help="Above 0 grows, below 0 shrinks; exact distances in millimetres."
            ),
            _in_slice(False, "Only along the slices of the plane that is shown."),
            _over_others(False),
        ),
    ),
    ToolSpec(
        "hollow",
        "Hollow",
        "surface",
        "Shift-W",
        "label",
        "Makes a shell of the selected label.",
        "To make the wall of the heart, the bladder or a vessel from its inside or its outside.",
        hollow,
        (
            Parameter("mm", "number", 3.0, 0.1, 100, unit="mm", help="Thickness of the wall."),
            Parameter(
                "wall",
                "choice",
                "inside",
                choices=("inside", "outside", "centred"),
                help="Where the wall lies, seen from the surface.",
            ),
            _over_others(False),
        ),
    ),
    # -- pieces ---------------------------------------------------------------------------------------------------------------------------
    ToolSpec(
        "keep_largest",
        "Keep the largest piece",
        "pieces",
        "Shift-K",
        "label",
        "Removes all pieces of the selected label but the largest.",
        "After thresholds and predictions of an organ that is in one piece.",
        keep_largest,
    ),
    ToolSpec(
        "drop_small",
        "Drop small pieces",
        "pieces",
        "Shift-D",
        "label",
        "Removes the pieces of the selected label that are smaller than a volume.",
        "After thresholds and predictions of what has several pieces, such as metastases or ribs.",
        drop_small,
        (
            Parameter(
                "least_ml",
                "number",
                0.1,
                0,
                100_000,
                unit="ml",
                help="Smaller pieces go. In 2D a pixel counts as if it were 1 mm thick.",
            ),
        ),
    ),
    ToolSpec(
        "keep_island",
        "Keep this piece",
        "pieces",
        "Shift-I",
        "click",
        "Keeps the piece that is clicked, and removes the other pieces of its label.",
        "Where the piece that is wanted is not the largest.",
        keep_island,
        (Parameter("drop", "flag", False, help="Remove the piece that is clicked, and keep the others."),),
    ),
    ToolSpec(
        "split_islands",
        "Pieces to labels",
        "pieces",
        "Control-Alt-I",
        "label",
        "Gives each piece of the selected label a label of its own.",
        "To count lesions, or to measure each by itself; drop the small pieces before.",
        split_islands,
        (_first("piece"), Parameter("most", "integer", 100, 2, 10_000, help="With more pieces than this nothing is done.")),
    ),
    ToolSpec(
        "fill_holes",
        "Fill holes",
        "pieces",
        "Shift-H",
        "label",
        "Fills the background that the selected label encloses.",
        "After thresholds. In slices it also fills what is open along the axis across them, such as the marrow of a bone.",
        fill_holes,
        (
            _in_slice(False, "A hole need only be closed in the slices of the plane that is shown."),
            Parameter(
                "most_ml",
                "number",
                None,
                0,
                100_000,
                unit="ml",
                optional=True,
                help="Larger holes stay open; nothing: all are filled.",
            ),
        ),
    ),
    ToolSpec(
        "split",
        "Split",
        "pieces",
        "Shift-X",
        "label",
        "Splits the selected label at its narrowest places.",
        "Where two objects touch and have become one: vertebrae, cells, lymph nodes, both kidneys.",
        split,
        (
            Parameter("parts", "integer", 2, 2, 1000, help="How many parts there shall be."),
            Parameter(
                "least_depth_mm",
                "number",
                0.5,
                0,
                50,
                unit="mm",
                help="How much thinner, in radius, a place must be to be cut through.",
            ),
            _first("part"),
        ),
    ),
    ToolSpec(
        "split_by_seeds",
        "Split between clicks",
        "pieces",
        "Control-Alt-X",
        "clicks",
        "Splits the selected label so that each click has a part.",
        "Where splitting at the narrowest places does not find the border: click once into each object.",
        split_by_seeds,
        (_first("click's part"),),
    ),
    # -- labels ---------------------------------------------------------------------------------------------------------------------------
    ToolSpec(
        "combine",
        "Combine",
        "labels",
        "Shift-C",
        "label",
        "Unites, subtracts or intersects the selected label with another one, also of another mask.",
        "To take over a second reader's or a network's label, all of it or the part on which both agree.",
        combine,
        (
            Parameter("other", "integer", 1, *_VALUE, help="The other label."),
            Parameter(
                "operation",
                "choice",
                "union",
                choices=("union", "subtract", "intersect", "xor", "copy"),
                help="union: what either has. subtract: without the other. intersect: what both have. xor: what one of them has. copy: what "
                "the other has.",
            ),
            _over_others(False),
        ),
    ),
    ToolSpec(
        "cut",
        "Keep inside or outside",
        "labels",
        "Shift-O",
        "label",
        "Removes what the selected label has outside, or inside, of other labels, also of another mask.",
        "Lesions only inside the liver, vessels only inside the lung, a tumour without the bone.",
        cut,
        (
            Parameter("by", "integers", [], *_VALUE, help="Labels that say where."),
            Parameter("side", "choice", "inside", choices=("inside", "outside"), help="Which part is kept."),
            Parameter("also", "integers", [], *_VALUE, help="Further labels that lose voxels."),
            Parameter("mm", "number", 0.0, 0, 100, unit="mm", help="How far the region reaches beyond its labels."),
            Parameter(
                "filled",
                "flag",
                True,
                help="What the region encloses belongs to it. A label that has cut into its edge is not enclosed: then take the region of "
                "another mask, where it is whole.",
            ),
        ),
    ),
    ToolSpec(
        "merge",
        "Merge",
        "labels",
        "Control-Alt-M",
        "label",
        "Makes the selected label of several others.",
        "Where a network tells parts apart that are one for you, such as the lobes of the lung.",
        merge,
        (Parameter("labels", "integers", [], *_VALUE, help="Labels that become the selected one."),),
    ),
)


def tool(name: str) -> ToolSpec:
    """Return the tool with an id.

    Raises
    ------
    ConfigError
        There is none; the closest are named first.
    """
    known = {spec.id: spec for spec in TOOLS}
    if name not in known:
        raise ConfigError(f"There is no tool {name!r}.", f"There are {', '.join(closest_first(name, list(known)))}.")
    return known[name]
