"""Make the pictures of docs/images/tools: every tool of the Correct dock before and after, on phantoms, by mouse and buttons.

    scripts/with_display.sh python -m scripts.tool_pictures [TOOL …]

A mask that has something to correct is laid over a phantom, the tool is chosen in the dock and used on the canvas as a person does; the
line that is drawn on the left is the way of the mouse, and rings are clicks.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from qtpy.QtCore import QPoint
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from napari_seg3d.editing.tools import TOOLS, tool
from napari_seg3d.sample_data.make_lungs import make_lung
from napari_seg3d.sample_data.make_phantoms import TISSUES, Anatomy, Scan, make_phantom
from napari_seg3d.viewer.correct_model import CorrectModel
from napari_seg3d.viewer.label_look import LabelStyle, set_styles
from napari_seg3d.viewer.layers import layer_data
from napari_seg3d.viewer.look import show_plane, show_radiological
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Volume
from napari_seg3d.widgets.correct import CorrectDock
from tests.hands import canvas_of, drag, pixel
from tests.pumping import pump, pump_until

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "tools"
SIDE = 320  # pixels of one picture
AXIAL, CORONAL, SAGITTAL = 0, 1, 2
ORGAN, SECOND, THIRD, BACKGROUND = 1, 2, 3, 4
_COLOURS = {ORGAN: "#e69f00", SECOND: "#3fa7e0", THIRD: "#00b380", BACKGROUND: "#b05fc0"}
_PATIENCE_SECONDS = 120.0
_SHADES = 0xF8  # 32 of red, green and blue: few, so that files are small, and each colour is still its own

Mask = NDArray[np.bool_]
Labelled = NDArray[np.uint8]


@dataclass(frozen=True)
class Body:
    """A scan, and what lies in it, as arrays (z, y, x) in the order in which napari shows them.

    Parameters
    ----------
    layers : list
        What napari shows of the scan, as `layer_data` gives it.
    image : array
        Its voxels.
    spacing : tuple of float
        mm of z, y, x.
    organ : array of bool
        A large one, such as the liver.
    pair : array of bool
        Two pieces, such as the kidneys.
    chain : array of bool
        Several objects that have become one, such as vertebrae.
    links : list of array of bool
        Each of them.
    """

    layers: list[Any]
    image: NDArray[np.generic]
    spacing: tuple[float, float, float]
    organ: Mask
    pair: Mask
    chain: Mask
    links: list[Mask]


@dataclass(frozen=True)
class Example:
    """A tool at work.

    Parameters
    ----------
    mask : array of uint8
        Before.
    label : int
        The one that is selected.
    across, index : int
        The slice that is shown.
    places : list of tuple
        Where the mouse goes, in voxels (z, y, x).
    values : mapping
        What is chosen in the dock.
    source : array of uint8, optional
        Another mask whose labels are meant.
    room_mm : float
        How much is shown around what changes.
    """

    mask: Labelled
    label: int
    across: int
    index: int
    places: list[tuple[float, ...]] = field(default_factory=list)
    values: Mapping[str, Any] = field(default_factory=dict)
    source: Labelled | None = None
    room_mm: float = 12.0


# -- phantoms -------------------------------------------------------------------------------------------------------------------------------


def abdomen() -> Body:
    """Return a phantom of finer voxels than those of the sample data, with its spine."""
    scan = Scan("sub-15_ses-1", "LPS", spacing=(3, 3, 4))
    image, mask = make_phantom(scan)
    grid = scan.grid()
    patient, session = np.random.default_rng([20, scan.subject]), np.random.default_rng([20, scan.subject, 1])
    places = grid.to_world(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1).reshape(-1, 3))
    tissue = Anatomy(patient, breath=float(session.normal(0, 5))).tissue(places).reshape(grid.shape)
    is_body = (places[:, 1] > -73).reshape(grid.shape)  # behind it, all vertebrae are one
    middle = (np.hypot(places[:, 0], places[:, 1] + 62) < 10).reshape(
        grid.shape
    )  # of a disc, through which vertebrae run together
    vertebrae = (tissue == TISSUES["marrow"]) & is_body
    links, count = ndimage.label(vertebrae)
    whole = [links == number for number in range(1, count + 1) if (links == number).sum() > 300]
    discs = (tissue == TISSUES["disc"]) & middle
    chain = np.logical_or.reduce(whole) | discs
    quiet = ndimage.gaussian_filter(image.data[0].astype(np.float32), 0.7)[np.newaxis]  # noise would make large files
    layers = layer_data(Volume(quiet, image.affine), "scan")
    organs = [_shown(found, grid.affine) for found in (mask.data[0] == 1, mask.data[0] == 2, chain, *whole)]
    organ, pair, chain, *parts = organs
    return Body(layers, layers[0][0], tuple(layers[0][1]["scale"]), organ, pair, chain, parts)


def _shown(found: Mask, affine: NDArray[np.float64]) -> Mask:
    ((data, *_),) = layer_data(Volume(found[np.newaxis].astype(np.uint8), affine, "labels"), "found")
    return np.asarray(data) > 0


def lung() -> Body:
    """Return a piece of lung with nodules."""
    image, mask = make_lung(2)
    layers = layer_data(image, "scan")
    nodules = _shown(mask.data[0] > 0, mask.affine)
    return Body(layers, layers[0][0], tuple(layers[0][1]["scale"]), nodules, nodules, nodules, [])


# -- where things are -----------------------------------------------------------------------------------------------------------------------


def largest_slice(mask: Mask, across: int) -> int:
    """Return the slice with most of a mask."""
    return int(np.argmax(mask.sum(axis=tuple(axis for axis in range(3) if axis != across))))


def deepest(mask: Mask, spacing: tuple[float, ...], across: int | None = None, index: int = 0) -> tuple[float, ...]:
    """Return the voxel that lies deepest in a mask, or in one of its slices."""
    if across is None:
        return tuple(float(at) for at in np.unravel_index(np.argmax(ndimage.distance_transform_edt(mask, spacing)), mask.shape))
    flat = np.pad(mask.take(index, across), 1)
    sides = [step for axis, step in enumerate(spacing) if axis != across]
    at = np.array(np.unravel_index(np.argmax(ndimage.distance_transform_edt(flat, sides)), flat.shape)) - 1
    return _in_volume(at, across, index)


def _in_volume(at: Any, across: int, index: int) -> tuple[float, ...]:
    place = [float(value) for value in at]
    place.insert(across, float(index))
    return tuple(place)


def ball(body: Body, centre: tuple[float, ...], mm: float) -> Mask:
    """Return a ball."""
    off = [(np.arange(size) - at) * step for size, at, step in zip(body.image.shape, centre, body.spacing, strict=True)]
    z, y, x = np.meshgrid(*off, indexing="ij", sparse=True)
    return z**2 + y**2 + x**2 <= mm**2


def moved(body: Body, place: tuple[float, ...], axis: int, mm: float) -> tuple[float, ...]:
    """Return a place so many mm further along an axis."""
    return tuple(at + (mm / body.spacing[axis] if one == axis else 0) for one, at in enumerate(place))


def outline(mask: Mask, across: int, index: int, tolerance: float) -> list[tuple[float, ...]]:
    """Return corners around the largest piece of a mask in a slice."""
    flat = np.pad(mask.take(index, across).astype(float), 1)
    line = approximate_polygon(max(find_contours(flat, 0.5), key=len) - 1, tolerance)
    return [_in_volume(at, across, index) for at in line[:-1]]


def pieces(mask: Mask) -> list[Mask]:
    """Return the two largest pieces of a mask, the larger one first."""
    found, count = ndimage.label(mask)
    sizes = np.bincount(found.ravel())[1:]
    return [found == 1 + number for number in np.argsort(-sizes)[: min(2, count)]]


def end_of(mask: Mask, across: int, index: int, axis: int, last: bool) -> tuple[float, ...]:
    """Return the border of a slice of a mask, on its middle line along an axis."""
    middle = deepest(mask, (1.0, 1.0, 1.0), across, index)
    at = [int(value) for value in middle]
    line = np.flatnonzero(mask[tuple(slice(None) if one == axis else value for one, value in enumerate(at))])
    found = list(middle)
    found[axis] = float(line.max() + 0.5 if last else line.min() - 0.5)
    return tuple(found)


def as_mask(**labels: Mask) -> Labelled:
    """Return a mask of labels, later ones over earlier ones; the names are those of the constants."""
    values = {"organ": ORGAN, "second": SECOND, "third": THIRD, "background": BACKGROUND}
    found = np.zeros(next(iter(labels.values())).shape, np.uint8)
    for name, where in labels.items():
        found[where] = values[name]
    return found


# -- what each tool is shown with -----------------------------------------------------------------------------------------------------------


def _brush(body: Body) -> Example:
    index = largest_slice(body.organ, AXIAL)
    middle = deepest(body.organ, body.spacing, AXIAL, index)
    bite = ball(body, middle, 18) | ball(body, moved(body, middle, 2, 14), 14)
    way = [moved(body, middle, 2, mm) for mm in (-4, 4, 12, 18)]
    return Example(as_mask(organ=body.organ & ~bite), ORGAN, AXIAL, index, way, {"radius_mm": 16.0})


def _threshold_brush(body: Body) -> Example:
    low, high = np.percentile(body.image[ndimage.binary_erosion(body.pair)], (6, 99.9))
    one = pieces(body.pair)[0]
    index = largest_slice(one, CORONAL)
    middle = deepest(one, body.spacing, CORONAL, index)
    way = [moved(body, middle, 0, mm) for mm in (0, 8, 16, 8, 0, -8, -16, -8)]
    values = {"radius_mm": 25.0, "intensities": [float(low), float(high)], "connected": True}
    return Example(np.zeros(body.image.shape, np.uint8), ORGAN, CORONAL, index, way, values)


def _adaptive_brush(body: Body) -> Example:
    index = largest_slice(body.organ, AXIAL)
    middle = deepest(body.organ, body.spacing, AXIAL, index)
    edge = end_of(body.organ, AXIAL, index, 1, last=True)
    way = [tuple(np.add(middle, share * np.subtract(edge, middle))) for share in np.linspace(0, 0.9, 8)]
    return Example(np.zeros(body.image.shape, np.uint8), ORGAN, AXIAL, index, way, {"radius_mm": 25.0}, room_mm=30)


def _replace_brush(body: Body) -> Example:
    one, _other = pieces(body.pair)
    index = largest_slice(one, CORONAL)
    middle = deepest(one, body.spacing, CORONAL, index)
    way = [moved(body, middle, 0, mm) for mm in (-30, -15, 0, 15, 30)]
    return Example(
        as_mask(second=body.pair, organ=body.organ),
        THIRD,
        CORONAL,
        index,
        way,
        {"radius_mm": 22.0, "below": [SECOND]},
        room_mm=40,
    )


def _erase_brush(body: Body) -> Example:
    index = largest_slice(body.organ, AXIAL)
    edge = end_of(body.organ, AXIAL, index, 1, last=True)
    spill = ball(body, edge, 20)
    way = [moved(body, edge, 2, mm) for mm in (-14, -5, 5, 14)]
    return Example(as_mask(second=spill, organ=body.organ), SECOND, AXIAL, index, way, {"radius_mm": 20.0}, room_mm=25)


def _polygon(body: Body) -> Example:
    one = pieces(body.pair)[0]
    index = largest_slice(one, AXIAL)
    return Example(np.zeros(one.shape, np.uint8), ORGAN, AXIAL, index, outline(one, AXIAL, index, 0.8), room_mm=20)


def _flood_fill(body: Body) -> Example:
    one = pieces(body.pair)[0]
    index = largest_slice(one, AXIAL)
    line = one & ~ndimage.binary_erosion(one, np.ones((1, 3, 3)))
    only = np.zeros_like(line)
    only[index] = line[index]
    return Example(as_mask(organ=only), ORGAN, AXIAL, index, [deepest(one, body.spacing, AXIAL, index)], room_mm=20)


def _grow_region(body: Body) -> Example:
    index = largest_slice(body.organ, AXIAL)
    at = deepest(body.organ, body.spacing, AXIAL, index)
    inside = body.image[ndimage.binary_erosion(body.organ, iterations=2)].astype(float)
    tolerance = 3 * float(np.median(np.abs(inside - np.median(inside))))
    values = {"tolerance": round(tolerance), "radius_mm": 120.0, "neck_mm": 10.0}
    return Example(np.zeros(body.image.shape, np.uint8), ORGAN, AXIAL, index, [at], values, room_mm=20)


def _trace_level(body: Body) -> Example:
    small = pieces(body.pair)[-1]
    index = largest_slice(small, AXIAL)
    return Example(np.zeros(small.shape, np.uint8), ORGAN, AXIAL, index, [end_of(small, AXIAL, index, 2, last=True)], room_mm=25)


def _nodule(body: Body) -> Example:
    one = pieces(body.organ)[0]
    middle = deepest(one, body.spacing)
    return Example(np.zeros(one.shape, np.uint8), ORGAN, AXIAL, int(middle[0]), [middle], room_mm=20)


def _copy(body: Body, step: int) -> Example:
    index = largest_slice(body.organ, AXIAL)
    only = np.zeros_like(body.organ)
    only[index - step] = body.organ[index - step]
    return Example(as_mask(organ=only), ORGAN, AXIAL, index - step)


def _fill_between(body: Body) -> Example:
    every = np.zeros_like(body.organ)
    every[2::5] = body.organ[2::5]
    return Example(as_mask(organ=every), ORGAN, AXIAL, largest_slice(every, AXIAL))


def _strokes(body: Body) -> tuple[Labelled, int]:
    """Return some strokes in three slices, and the one in the middle."""
    one = pieces(body.pair)[0]
    index = largest_slice(one, AXIAL)
    mask = np.zeros(one.shape, np.uint8)
    away = ndimage.distance_transform_edt(~(one | body.organ), body.spacing)
    dashes = np.indices(mask.shape[1:]).sum(axis=0) // 6 % 2 == 0
    for at in (max(index - 5, 0), index, min(index + 5, len(one) - 1)):
        for where, label in ((body.organ, ORGAN), (one, SECOND)):
            core = ndimage.distance_transform_edt(where[at], body.spacing[1:])
            mask[at][where[at] & (core > 0.72 * core.max())] = label
        mask[at][dashes & (away[at] > 10) & (away[at] < 16)] = BACKGROUND
    return mask, index


def _grow_from_seeds(body: Body) -> Example:
    mask, index = _strokes(body)
    return Example(mask, ORGAN, AXIAL, index, values={"background": BACKGROUND, "margin_mm": 20.0})


def _refine(body: Body) -> Example:
    mask, index = _strokes(body)
    return Example(mask, ORGAN, AXIAL, index, values={"background": BACKGROUND, "margin_mm": 25.0})


def _blocks(mask: Mask, steps: tuple[int, int, int]) -> Mask:
    """Return a mask as if it were drawn on coarser voxels."""
    places = np.ix_(
        *(np.minimum(np.arange(size) // step * step + step // 2, size - 1) for size, step in zip(mask.shape, steps, strict=True))
    )
    return mask[places]


def _smooth(body: Body) -> Example:
    rough = _blocks(body.organ, (4, 3, 3))
    return Example(
        as_mask(organ=rough), ORGAN, CORONAL, largest_slice(body.organ, CORONAL), values={"method": "gaussian", "mm": 5.0}
    )


def _smooth_jointly(body: Body) -> Example:
    one = pieces(body.pair)[0]
    rough = as_mask(organ=_blocks(body.organ, (4, 4, 4)), second=_blocks(body.pair, (4, 4, 4)))
    return Example(rough, ORGAN, CORONAL, largest_slice(one, CORONAL), values={"mm": 4.0})


def _margin(body: Body) -> Example:
    return Example(as_mask(organ=body.pair), ORGAN, CORONAL, largest_slice(body.pair, CORONAL), values={"mm": 8.0})


def _hollow(body: Body) -> Example:
    return Example(as_mask(organ=body.organ), ORGAN, AXIAL, largest_slice(body.organ, AXIAL), values={"mm": 8.0})


def _thresholded(body: Body) -> Labelled:
    """Return what a threshold finds of the organ."""
    low, high = np.percentile(body.image[body.organ], (5, 95))
    blurred = ndimage.gaussian_filter(body.image.astype(np.float32), 0.7)
    return as_mask(organ=ndimage.binary_opening((blurred > low) & (blurred < high)))


def _keep_largest(body: Body) -> Example:
    found = _thresholded(body)
    kept = pieces(found > 0)[0]
    both = [min(one.sum(), other.sum()) for one, other in zip(kept, (found > 0) & ~kept, strict=True)]
    return Example(found, ORGAN, AXIAL, int(np.argmax(both)))


def _drop_small(body: Body) -> Example:
    found = _thresholded(body)
    larger = np.logical_or.reduce(pieces(found > 0))
    return Example(found, ORGAN, AXIAL, largest_slice((found > 0) & ~larger, AXIAL), values={"least_ml": 5.0})


def _keep_island(body: Body) -> Example:
    small = pieces(body.pair)[-1]
    index = largest_slice(body.pair, CORONAL)
    return Example(as_mask(organ=body.pair), ORGAN, CORONAL, index, [deepest(small, body.spacing, CORONAL, index)])


def _split_islands(body: Body) -> Example:
    return Example(as_mask(organ=body.pair), ORGAN, CORONAL, largest_slice(body.pair, CORONAL))


def _fill_holes(body: Body) -> Example:
    return Example(as_mask(organ=body.organ), ORGAN, AXIAL, largest_slice(body.organ, AXIAL), values={"in_slice": True})


def _split(body: Body) -> Example:
    return Example(
        as_mask(organ=body.chain), ORGAN, SAGITTAL, largest_slice(body.chain, SAGITTAL), values={"parts": len(body.links)}
    )


def _split_by_seeds(body: Body) -> Example:
    index = largest_slice(body.chain, SAGITTAL)
    clicks = [deepest(link, body.spacing, SAGITTAL, index) for link in body.links if link.take(index, SAGITTAL).any()]
    return Example(as_mask(organ=body.chain), ORGAN, SAGITTAL, index, clicks)


def _combine(body: Body) -> Example:
    index = largest_slice(body.organ, AXIAL)
    middle = deepest(body.organ, body.spacing, AXIAL, index)
    mine = body.organ & ~ball(body, moved(body, middle, 2, 22), 24)
    theirs = body.organ & ~ball(body, moved(body, middle, 2, -30), 24)
    return Example(
        as_mask(organ=mine), ORGAN, AXIAL, index, values={"other": ORGAN, "operation": "union"}, source=as_mask(organ=theirs)
    )


def _cut(body: Body) -> Example:
    index = largest_slice(body.organ, AXIAL)
    edge = end_of(body.organ, AXIAL, index, 1, last=True)
    lesion = ball(body, moved(body, edge, 1, -6), 22)
    return Example(
        as_mask(organ=body.organ, second=lesion),
        SECOND,
        AXIAL,
        index,
        values={"by": [ORGAN], "side": "inside"},
        source=as_mask(organ=body.organ),
        room_mm=30,
    )


def _merge(body: Body) -> Example:
    one, other = pieces(body.pair)
    return Example(
        as_mask(second=one, third=other), SECOND, CORONAL, largest_slice(body.pair, CORONAL), values={"labels": [THIRD]}
    )


EXAMPLES: dict[str, Callable[[Body], Example]] = {
    "brush": _brush,
    "threshold_brush": _threshold_brush,
    "adaptive_brush": _adaptive_brush,
    "replace_brush": _replace_brush,
    "erase_brush": _erase_brush,
    "polygon": _polygon,
    "flood_fill": _flood_fill,
    "grow_region": _grow_region,
    "trace_level": _trace_level,
    "nodule": _nodule,
    "copy_to_next": lambda body: _copy(body, 1),
    "copy_to_previous": lambda body: _copy(body, -1),
    "fill_between": _fill_between,
    "grow_from_seeds": _grow_from_seeds,
    "refine": _refine,
    "smooth": _smooth,
    "smooth_jointly": _smooth_jointly,
    "margin": _margin,
    "hollow": _hollow,
    "keep_largest": _keep_largest,
    "drop_small": _drop_small,
    "keep_island": _keep_island,
    "split_islands": _split_islands,
    "fill_holes": _fill_holes,
    "split": _split,
    "split_by_seeds": _split_by_seeds,
    "combine": _combine,
    "cut": _cut,
    "merge": _merge,
}
#: Where a tool is looked at in another plane than it is used in.
LOOKED_AT = {"fill_between": CORONAL}


# -- a viewer, as a person uses it ----------------------------------------------------------------------------------------------------------


class Desk:
    """A viewer with the Correct dock."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer(title="napari-seg3d")
        self.viewer.window.resize(1366, 768)
        self.dock: CorrectDock = self.viewer.window.add_plugin_dock_widget("napari-seg3d", "Correct")[1]
        self.model: CorrectModel = session_of(self.viewer).correct
        self.view = canvas_of(self.viewer)
        pump(0.3)

    def lay_out(self, body: Body, example: Example) -> Labels:
        """Show a scan and a mask to be corrected."""
        self.model.put_down()
        self.viewer.layers.clear()
        data, settings, _kind = body.layers[0]
        image: Image = self.viewer.add_image(data, **settings)
        place = {"scale": image.scale, "translate": image.translate, "units": image.units}
        if example.source is not None:
            other = self.viewer.add_labels(example.source, name="second reader", visible=False, **place)
        mask = self.viewer.add_labels(example.mask.copy(), name="mask", opacity=0.55, **place)
        set_styles(mask, {label: LabelStyle(f"label {label}", colour) for label, colour in _COLOURS.items()})
        mask.selected_label = example.label
        if example.source is not None:
            self.model.scene.set_source(other)
        show_radiological(self.viewer)
        return mask

    def show(self, mask: Labels, across: int, index: int, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Show a slice, and so much of it that a box lies in the middle."""
        show_plane(self.viewer, across)
        place = (low + high) / 2
        place[across] = index
        self.viewer.dims.set_point(range(3), mask.data_to_world(place))
        pump(0.1)
        shown = list(self.viewer.dims.displayed)
        side = ((high - low) * mask.scale)[shown].max()
        self.viewer.scene.camera.center = tuple(mask.data_to_world(place)[axis] for axis in (across, *shown))
        self.viewer.scene.camera.zoom = SIDE / side
        pump(0.2)

    def choose(self, name: str, values: Mapping[str, Any]) -> None:
        """Take a tool by its button, and choose what it does."""
        spec = tool(name)
        self.model.set_values(spec, dict(values))
        self.dock.palette_.buttons[name].click()
        pump(0.1)

    def use(self, name: str, points: list[QPoint]) -> None:
        """Draw, click, or apply."""
        gesture = tool(name).gesture
        if gesture == "stroke":
            drag(self.view, points)
        else:
            for point in points:
                drag(self.view, [point])
            if gesture != "click":
                self.dock.apply_button.click()
        pump_until(lambda: self.model.job is None, _PATIENCE_SECONDS, name)
        pump(0.2)

    def pixels(self, layer: Labels, voxels: Sequence[tuple[float, ...]]) -> list[QPoint]:
        """Return where on the canvas voxels are."""
        return [pixel(self.viewer, self.view, layer.data_to_world(voxel)) for voxel in voxels]

    def picture(self) -> Picture.Image:
        """Return the middle of the canvas."""
        canvas = self.viewer.screenshot(canvas_only=True, flash=False)
        rows, columns = ((size - SIDE) // 2 for size in canvas.shape[:2])
        return Picture.fromarray(canvas[rows : rows + SIDE, columns : columns + SIDE, :3])

    def middle(self) -> QPoint:
        """Return the upper left corner of `picture` on the canvas."""
        canvas = self.view.canvas.native
        return QPoint((canvas.width() - SIDE) // 2, (canvas.height() - SIDE) // 2)


def box_of(example: Example, after: Labelled, spacing: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the box of all that is labelled before or after, with room around it."""
    places = np.argwhere((example.mask > 0) | (after > 0))
    room = example.room_mm / np.array(spacing)
    return places.min(axis=0) - room, places.max(axis=0) + room


def draw_gesture(picture: Picture.Image, name: str, points: list[QPoint], corner: QPoint) -> None:
    """Draw where the mouse went."""
    at = [(point.x() - corner.x(), point.y() - corner.y()) for point in points]
    pen, gesture = ImageDraw.Draw(picture), tool(name).gesture
    if gesture in ("stroke", "polygon") and at:
        pen.line([*at, *(at[:1] if gesture == "polygon" else [])], fill="white", width=2)
    for x, y in at if gesture != "stroke" else at[:1]:
        radius = 3 if gesture == "polygon" else 5
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline="white", width=2)


def make(desk: Desk, name: str, body: Body) -> Picture.Image:
    """Use a tool, and return what was there before and after, side by side."""
    example = EXAMPLES[name](body)
    across = LOOKED_AT.get(name, example.across)
    after = tool_result(desk, name, body, example)
    low, high = box_of(example, after, body.spacing)
    index = example.index if across == example.across else largest_slice(after > 0, across)
    pictures = []
    for data in (example.mask, after):
        shown = Example(data, example.label, example.across, example.index, source=example.source)
        layer = desk.lay_out(body, shown)
        at = index
        if data is after and (step := tool(name).fixed.get("step")):
            at += step
        desk.show(layer, across, at, low, high)
        pictures.append(desk.picture())
    draw_gesture(pictures[0], name, desk.pixels(layer, example.places), desk.middle())
    both = Picture.new("RGB", (2 * SIDE + 4, SIDE), "white")
    for place, picture in enumerate(pictures):
        both.paste(picture, (place * (SIDE + 4), 0))
    return both


def tool_result(desk: Desk, name: str, body: Body, example: Example) -> Labelled:
    """Use a tool by mouse and buttons, and return the mask that it leaves."""
    layer = desk.lay_out(body, example)
    whole = np.zeros(3), np.array(body.image.shape, dtype=np.float64)
    desk.show(layer, example.across, example.index, *whole)
    desk.choose(name, example.values)
    desk.use(name, desk.pixels(layer, example.places))
    print(f"{name}: {desk.dock.notice.text()}", flush=True)
    return np.asarray(layer.data).copy()


def main() -> None:
    """Make all pictures, or those of the tools that are named."""
    os.environ.setdefault("NAPARI_SEG3D_HOME", tempfile.mkdtemp())
    names = sys.argv[1:] or [spec.id for spec in TOOLS]
    FOLDER.mkdir(parents=True, exist_ok=True)
    desk, belly = Desk(), abdomen()
    for name in names:
        picture = make(desk, name, lung() if name == "nodule" else belly)
        picture.point(lambda value: value & _SHADES).quantize().save(FOLDER / f"{name}.png", optimize=True)
    desk.viewer.close()


if __name__ == "__main__":
    main()
