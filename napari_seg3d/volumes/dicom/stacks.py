"""What of a series belongs to one volume: frames of one size and orientation, in the order of their positions."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from napari_seg3d.errors import GeometryError, IrregularSeries, ReadError
from napari_seg3d.volumes.dicom.flat import flat_stacks
from napari_seg3d.volumes.dicom.frames import Frame
from napari_seg3d.volumes.dicom.planes import LPS_TO_RAS, Plane, Spread, plane_of, positions_of, spread_of
from napari_seg3d.volumes.dicom.repeats import Repeats, repeats_of, time_names
from napari_seg3d.volumes.dicom.stack import Stack
from napari_seg3d.volumes.grid import FloatArray

#: Directions that differ by less belong to one stack: 0.1 pixel at the edge of a slice, and more than writers round by.
_SAME_DIRECTION = 2e-4
#: Words of ImageType that tell how a picture was processed, not what it shows: a volume may mix them.
_PROCESSING = {"AXIAL", "ADD", "NORM", "ND", "DIS2D", "DIS3D", "FIL", "NONE", "OTHER", "MFSPLIT", "SHARP", "AVERAGE"}
#: Slices that lie closer together than this share of a pixel are at one place.
_SAME_PLACE = 0.02
#: A gap of more slices than this comes from a wrong position, not from slices that got lost.
_LONGEST_GAP = 1000
_MOSAIC = ReadError(
    "Each file holds all the slices of a volume side by side (Siemens mosaic), and says where they lie only in a private way.",
    "Export the series as enhanced DICOM, or convert it to NIfTI with dcm2niix.",
)
_UNEVEN_FIX = (
    "Open it resampled onto a regular grid (napari-seg3d convert and predict do that with --resample-irregular), or export the series "
    "again with all of its slices."
)


def stacks_of(frames: Sequence[Frame]) -> list[Stack]:
    """Return the volumes that the frames of one series make up, the largest first."""
    frames, copies = _without_copies(frames)
    placed = [frame for frame in frames if frame.position is not None and len(frame.orientation) == 6]
    stacks = flat_stacks([frame for frame in frames if frame.position is None or len(frame.orientation) != 6])
    for group in _alike(placed):
        if any("MOSAIC" in value.split() for name, value in group[0].contrast if name == "type"):
            stacks.append(Stack([group], problem=_MOSAIC))
            continue
        try:
            stacks += _stacks_in(plane_of(group[0]), group)
        except GeometryError as error:
            stacks.append(Stack([group], problem=error))
    stacks = [replace(stack, copies=(*stack.copies, *_copies_in(stack, copies))) for stack in stacks]
    return sorted(stacks, key=lambda stack: -int(np.prod(stack.shape)))


def _alike(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames by size and direction."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _same_slab(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _same_slab(one: Frame, other: Frame) -> bool:
    first, second = one.header, other.header
    if (first.rows, first.columns, first.samples) != (second.rows, second.columns, second.samples) or one.stack != other.stack:
        return False
    if len(one.spacing) != len(other.spacing) or any(
        abs(mine - theirs) > 1e-3 * abs(mine) for mine, theirs in zip(one.spacing, other.spacing, strict=True)
    ):
        return False
    return max(abs(mine - theirs) for mine, theirs in zip(one.orientation, other.orientation, strict=True)) < _SAME_DIRECTION


def _stacks_in(plane: Plane, frames: Sequence[Frame]) -> list[Stack]:
    """Return the volumes among frames of one plane: repeats at the same places are never stacked as slices."""
    places = _places(plane, frames)
    if beside := _side_by_side(plane, places):
        return [stack for group in beside for stack in _stacks_in(plane, group)]
    most = max(len(place) for place in places)
    if most == 1:
        whole = _stack(plane, [places_of(places)])
        shown = _contrasts(frames, without=_PROCESSING)
        if len(shown) == 1 or whole.problem is None:
            return [whole]
        parts = [stack for group in shown.values() for stack in _stacks_in(plane, group)]
        return parts if all(stack.problem is None for stack in parts) else [whole]
    contrasts = _contrasts(frames)
    by_contrast = {name: _places(plane, group) for name, group in contrasts.items()}
    if len(contrasts) > 1 and any(not _same_places(plane, own, places) for own in by_contrast.values()):
        return [stack for group in contrasts.values() for stack in _stacks_in(plane, group)]
    return [_repeated(plane, by_contrast)]


def _repeated(plane: Plane, by_contrast: dict[str, list[list[Frame]]]) -> Stack:
    """Return a stack with a channel for each repeat of each contrast."""
    copies: tuple[tuple[Frame, Frame], ...] = ()
    channels: list[tuple[Frame, ...]] = []
    names: list[str] = []
    by: list[str] = []
    is_certain = True
    for contrast, places in by_contrast.items():
        extra = sum(len(place) - 1 for place in places)
        if 0 < extra < len(places) and len(by_contrast) == 1:
            # A few slices that are there twice: fine if they are the same picture, which only their pixels can tell.
            copies = (*copies, *((place[0], other) for place in places for other in place[1:]))
            places = [place[:1] for place in places]
        try:
            repeats = repeats_of(places)
        except ReadError as error:
            return Stack([places_of(places)], problem=error, plane=plane)
        if repeats is None:
            copies = (*copies, *((place[0], other) for place in places for other in place[1:]))
            repeats = Repeats((tuple(places_of(places)),))
        is_certain &= repeats.is_certain
        channels += repeats.frames
        times = time_names(repeats.frames) if len(repeats.frames) > 1 else ("",)
        names += [", ".join(part for part in (contrast, time) if part) for time in times]
        by += [repeats.by] if repeats.by else []
    stack = replace(_stack(plane, channels), copies=copies, is_certain=is_certain)
    if len(channels) == 1:
        return stack
    if len(by_contrast) == 1:
        note = f"Each slice is there {len(channels)} times, told apart by {by[0]}: read as {len(channels)} time points."
        return replace(stack, fourth="time", channels=tuple(names), notes=(*stack.notes, note))
    note = (
        f"Each slice is there {len(channels)} times, as {', '.join(names[:6])}{' …' if len(names) > 6 else ''}: read as channels."
    )
    return replace(stack, channels=tuple(names), notes=(*stack.notes, note))


def _stack(plane: Plane, channels: Sequence[Sequence[Frame]]) -> Stack:
    positions = positions_of(channels[0])
    spread = spread_of(plane, positions)
    stack = Stack(channels, plane=plane, spread=spread)
    if not spread.is_regular:
        return replace(stack, problem=irregular(spread, positions))
    if len(positions) > 1:
        gap = float(spread.places[-1] - spread.places[0]) / (len(positions) - 1)
        return replace(stack, affine=plane.affine(positions[0], gap))
    thickness = channels[0][0].thickness
    note = (
        f"A single slice: its thickness ({thickness:g} mm) is the third edge of its voxels."
        if thickness
        else "A single slice of unknown thickness: the third edge of its voxels counts as 1 mm."
    )
    return replace(stack, affine=plane.affine(positions[0], thickness or 1.0), notes=(note,))


def irregular(spread: Spread, positions: FloatArray) -> IrregularSeries:
    """Return the error that tells how slices at `positions` lie that form no regular grid."""
    found = []
    if spread.slide and spread.tilt:
        found.append(f"they are tilted by {spread.tilt:.1f} degrees (gantry tilt)")
    elif spread.slide:
        found.append(f"they are shifted sideways by up to {spread.slide:.2f} mm")
    if not spread.is_even:
        found.append(f"the gaps between them go from {spread.gaps.min():.2f} to {spread.gaps.max():.2f} mm")
    if missing := missing_slices(spread, positions):
        axis = int(np.abs(positions[-1] - positions[0]).argmax())
        places = ", ".join(f"{place[axis]:.1f}" for place in missing[:8]) + (" …" if len(missing) > 8 else "")
        found.append(f"{len(missing)} slices are missing, at {'xyz'[axis]} = {places} mm")
    elif len(positions) > 1:
        found.append(f"the usual gap is {spread.gap:.2f} mm")
    return IrregularSeries(f"The {len(positions)} slices do not lie on a regular grid: {'; '.join(found)}.", _UNEVEN_FIX)


def missing_slices(spread: Spread, positions: FloatArray) -> list[FloatArray]:
    """Return where slices are missing (RAS, mm): in gaps that are a multiple of the usual one."""
    found = []
    for before, after, gap in zip(positions, positions[1:], spread.gaps, strict=False):
        times = round(float(gap) / spread.gap)
        if 2 <= times <= _LONGEST_GAP and abs(gap - times * spread.gap) <= 0.1 * spread.gap:
            found += [LPS_TO_RAS[:3, :3] @ (before + step / times * (after - before)) for step in range(1, times)]
    return found


def places_of(places: Sequence[Sequence[Frame]]) -> list[Frame]:
    """Return the only frame at each place."""
    return [place[0] for place in places]


def _places(plane: Plane, frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames by their place along the normal, ascending."""
    along = plane.coordinates(positions_of(frames))[:, 2]
    order = np.argsort(along, kind="stable")
    tolerance = min(0.01, _SAME_PLACE * min(plane.spacing))
    places = [[frames[order[0]]]]
    for before, after in pairwise(order):
        if along[after] - along[before] > tolerance:
            places.append([])
        places[-1].append(frames[after])
    return places


def _side_by_side(plane: Plane, places: Sequence[Sequence[Frame]]) -> list[list[Frame]]:
    """Return the frames of each of several fields of view at the same heights, such as both hips; empty if there is one."""
    at_first = plane.coordinates(positions_of(max(places, key=len)))[:, :2]
    if np.abs(at_first - at_first[0]).max() <= 0.5 * min(plane.spacing):
        return []
    groups: list[list[Frame]] = []
    corners: list[FloatArray] = []
    for frame in (frame for place in places for frame in place):
        corner = plane.coordinates(positions_of([frame]))[0, :2]
        for known, group in zip(corners, groups, strict=True):
            if np.abs(known - corner).max() <= 0.5 * min(plane.spacing):
                group.append(frame)
                break
        else:
            corners.append(corner)
            groups.append([frame])
    return groups if len(groups) > 1 else []


def _same_places(plane: Plane, one: Sequence[Sequence[Frame]], other: Sequence[Sequence[Frame]]) -> bool:
    if len(one) != len(other):
        return False
    mine, theirs = (plane.coordinates(positions_of(places_of(places)))[:, 2] for places in (one, other))
    return bool(np.abs(mine - theirs).max() <= 0.01)


def _contrasts(frames: Sequence[Frame], without: Collection[str] = ()) -> dict[str, list[Frame]]:
    """Return the frames by what makes them different pictures, named by that only in which they differ."""
    keys = {frame: dict(frame.contrast) for frame in frames}
    for key in keys.values() if without else ():
        key["type"] = " ".join(word for word in key.get("type", "").split() if word not in without)
    names = {name for key in keys.values() for name in key}
    differing = sorted(name for name in names if len({key.get(name, "") for key in keys.values()}) > 1)
    groups: dict[str, list[Frame]] = {}
    for frame, key in keys.items():
        words = [key[name] if name in ("type", "component") else f"{name} {key[name]}" for name in differing if key.get(name)]
        groups.setdefault(", ".join(words), []).append(frame)
    return dict(sorted(groups.items(), key=lambda group: _natural(group[0])))


def _natural(name: str) -> list[tuple[int, float, str]]:
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(1, float(part), "") if part[:1].isdigit() else (0, 0.0, part) for part in parts]


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], tuple[tuple[Frame, Frame], ...]]:
    """Set aside frames of files that say they are the same picture (SOPInstanceUID) at the same place.

    The place counts, too, because some anonymisers give all the files of a series one and the same number.
    """
    kept: dict[tuple[object, ...], Frame] = {}
    copies = []
    unnamed = []
    for frame in frames:
        if not frame.header.instance:
            unnamed.append(frame)
        elif (known := kept.setdefault((frame.header.instance, frame.index, frame.position), frame)) is not frame:
            copies.append((known, frame))
    return [*kept.values(), *unnamed], tuple(copies)


def _copies_in(stack: Stack, copies: tuple[tuple[Frame, Frame], ...]) -> list[tuple[Frame, Frame]]:
    own = {frame for channel in stack.frames for frame in channel}
    return [copy for copy in copies if copy[0] in own]
