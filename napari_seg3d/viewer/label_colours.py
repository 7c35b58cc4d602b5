"""Colours and names of a Labels layer as it comes into the viewer; a value has the same colour in every mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

from napari_seg3d.volumes import Label

# Strong and unlike each other on a grey scan, for the colour-blind too; a value has the same colour in every mask.
_COLOURS = (
    "#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#42d4f4", "#911eb4", "#bfef45", "#f032e6", "#469990",
    "#fabed4", "#9a6324", "#aaffc3", "#800000", "#dcbeff", "#808000", "#ffd8b1", "#6a79f7", "#a9a9a9", "#fffac8",
)  # fmt: skip


def labels_settings(labels: Mapping[int, str | Label] | None = None) -> dict[str, Any]:
    """Return colours and names for a Labels layer; without a colour of its own, a label has the one that its value has everywhere."""
    given: Mapping[int, str | Label] = labels or {}
    known: dict[int, Label] = {int(value): Label(found) if isinstance(found, str) else found for value, found in given.items()}
    settings: dict[str, Any] = {"opacity": 0.5}
    if any(label.colour for label in known.values()):
        colours: dict[int | None, str] = {value: label.colour or label_colour(value) for value, label in known.items()}
        settings["colormap"] = DirectLabelColormap(color_dict={**colours, 0: "transparent", None: label_colour(1)})
    else:
        cycle = np.array([[0, 0, 0, 0], *(_rgba(colour) for colour in _COLOURS)])
        settings["colormap"] = CyclicLabelColormap(colors=cycle, background_value=0)
    if known:
        names = [(0, "background"), *((value, label.name or f"label {value}") for value, label in known.items())]
        settings["features"] = {"index": [value for value, _ in names], "name": [name for _, name in names]}
    return settings


def label_colour(value: int) -> str:
    """Return the colour that a label value has in every mask, as ``#rrggbb``."""
    return _COLOURS[(value - 1) % len(_COLOURS)]


def _rgba(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] + [1.0]
