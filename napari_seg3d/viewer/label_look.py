"""What each value of a Labels layer looks like: name, colour, shown or hidden, locked; kept with the layer and drawn by napari.

Names are the layer's `features`, which napari shows in its status bar. The rest lies in ``layer.metadata[KEY]``. As long as every label
is shown in the colour that it would have anyway, the layer keeps the colormap that it came with; a value that a table of colours leaves
out has the colour that it has in every mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.colormaps.colormap import LabelColormapBase
from numpy.typing import NDArray

from napari_seg3d.viewer.label_colours import label_colour

#: Where a layer's metadata keeps colours, and which labels are hidden or locked.
KEY = "napari_seg3d_labels"

# Values that nobody has painted yet have their colours from the first stroke on.
_FORESEEN = range(1, 257)
_UNFORESEEN_COLOUR = "#a9a9a9"
# napari without numba looks labels up in a table as long as the largest one, refuses longer ones, and mistakes negative ones.
_LARGEST_IN_TABLE = 2**15 - 1


@dataclass(frozen=True)
class LabelStyle:
    """What one label looks like.

    Parameters
    ----------
    name : str
        Empty where nobody has given one.
    colour : str
        ``#rrggbb``.
    visible : bool
        Whether it is drawn.
    locked : bool
        Whether its voxels are protected; see `label_locks`.
    """

    name: str
    colour: str
    visible: bool = True
    locked: bool = False


@dataclass(frozen=True)
class _Look:
    """What differs from a plain layer; replaced as a whole, because a duplicated layer shares its metadata with the original."""

    colours: Mapping[int, str] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    locked: frozenset[int] = frozenset()
    known: frozenset[int] = frozenset()
    base: LabelColormapBase | None = None  # that the layer came with
    applied: LabelColormapBase | None = None  # the one we gave it


class _AnyValueColormap(DirectLabelColormap):
    """A direct colormap for very large and for negative values, which napari draws only where numba is installed."""

    def _data_to_texture(self, values: NDArray[np.integer]) -> NDArray[np.integer]:
        if values.itemsize <= 2 or self.use_selection or not isinstance(values, np.ndarray):
            return super()._data_to_texture(values)
        table, _ = self._label_mapping_and_color_dict
        keys = np.array(sorted(key for key in table if key is not None))
        found = np.array([table[key] for key in keys.tolist()], np.uint8 if max(table.values()) < 2**8 else np.uint16)
        # Compared as signed integers: uint64 with int64 would become float.
        signed = values.astype(np.int64, copy=False)
        places = np.minimum(np.searchsorted(keys, signed), len(keys) - 1)
        return np.where(keys[places] == signed, found[places], found.dtype.type(table[None]))

    def map(self, values: NDArray[np.integer] | int) -> NDArray[np.floating]:
        if not isinstance(values, np.ndarray) or values.dtype.itemsize <= 2:
            return super().map(values)
        mapped = self._map_precast(self._data_to_texture(values), apply_selection=True)
        if self.use_selection:
            mapped[values != self.selection] = 0
        return mapped


def style_of(layer: Labels, value: int) -> LabelStyle:
    """Return what a label looks like, whether anything was ever said about it or not."""
    look = _look_of(layer)
    return LabelStyle(
        _names(layer).get(value, ""), _colour(look, _base(layer, look), value), value not in look.hidden, value in look.locked
    )


def styles_of(layer: Labels, values: Iterable[int] = ()) -> dict[int, LabelStyle]:
    """Return what the labels look like that have a name, a colour or a state of their own, and `values`; without the background."""
    look, names = _look_of(layer), _names(layer)
    base = _base(layer, look)
    told = set(names) | set(look.colours) | look.hidden | look.locked | set(values)
    return {
        value: LabelStyle(names.get(value, ""), _colour(look, base, value), value not in look.hidden, value in look.locked)
        for value in sorted(told - {layer.colormap.background_value})
    }


def set_styles(layer: Labels, styles: Mapping[int, LabelStyle]) -> None:
    """Give labels their names, colours and states, and draw them so; selection, contour and opacity stay."""
    look = _look_of(layer)
    base = _base(layer, look)
    names = {value: style.name for value, style in styles.items() if style.name != _names(layer).get(value, "")}
    if names:
        _rename(layer, names)
    plain = {value for value, style in styles.items() if style.colour == _default_colour(base, value)}
    look = replace(
        look,
        colours={value: colour for value, colour in look.colours.items() if value not in styles}
        | {value: style.colour for value, style in styles.items() if value not in plain},
        hidden=(look.hidden - set(styles)) | {value for value, style in styles.items() if not style.visible},
        locked=(look.locked - set(styles)) | {value for value, style in styles.items() if style.locked},
        known=look.known | set(styles),
    )
    _draw(layer, look)


def foresee(layer: Labels, values: Iterable[int]) -> None:
    """Note values that the layer holds, so that each is drawn in its colour; costs nothing when they are known."""
    look = _look_of(layer)
    new = set(values) - look.known
    if new:
        look = replace(look, known=look.known | new)
        layer.metadata[KEY] = look
        if not _tells_apart(layer.colormap, new):
            _draw(layer, look)


def locked_values(layer: Labels) -> frozenset[int]:
    """Return the labels of a layer that are locked."""
    return _look_of(layer).locked


def _look_of(layer: Labels) -> _Look:
    look = layer.metadata.get(KEY)
    return look if isinstance(look, _Look) else _Look()


def _base(layer: Labels, look: _Look) -> LabelColormapBase:
    # A colormap that somebody else has given the layer since, with napari's shuffle button or in code, is where we begin anew.
    return look.base if look.base is not None and layer.colormap is look.applied else layer.colormap


def _tells_apart(colormap: LabelColormapBase, values: Iterable[int]) -> bool:
    """Return whether each of the values has a colour; a table from a file has one for all that it does not name."""
    return not isinstance(colormap, DirectLabelColormap) or set(values) <= set(colormap.color_dict)


def _colour(look: _Look, base: LabelColormapBase, value: int) -> str:
    return look.colours.get(value) or _default_colour(base, value)


def _default_colour(base: LabelColormapBase, value: int) -> str:
    if isinstance(base, DirectLabelColormap):
        if value not in base.color_dict:
            return label_colour(value)
        rgba = base.color_dict[value]
    else:
        rgba = base.colors[(value - 1) % (len(base.colors) - 1) + 1]
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in rgba[:3])


def _draw(layer: Labels, look: _Look) -> None:
    base = _base(layer, look)
    if not look.colours and not look.hidden and _tells_apart(base, look.known):
        was_ours = look.applied is not None and layer.colormap is look.applied
        layer.metadata[KEY] = replace(look, base=None, applied=None)
        if was_ours:
            _set_colormap(layer, base)
        return
    # Values past the range of the layer's numbers cannot occur; napari would only fill its tables with them.
    limits = np.iinfo(layer.dtype)
    values = [value for value in {*_FORESEEN, *look.known, *look.colours, *look.hidden} if limits.min <= value <= limits.max]
    colours: dict[int | None, str] = {value: _colour(look, base, value) for value in values}
    colours |= dict.fromkeys(look.hidden, "transparent")
    colours |= {layer.colormap.background_value: "transparent", None: _UNFORESEEN_COLOUR}
    kind = _AnyValueColormap if min(values) < 0 or max(values) > _LARGEST_IN_TABLE else DirectLabelColormap
    applied = kind(color_dict=colours, background_value=layer.colormap.background_value)
    layer.metadata[KEY] = replace(look, base=base, applied=applied)
    _set_colormap(layer, applied)


def _set_colormap(layer: Labels, colormap: LabelColormapBase) -> None:
    # napari keeps these two in the layer and in its colormap, and does not carry them over.
    colormap.use_selection = layer.show_selected_label
    colormap.selection = layer.selected_label
    layer.colormap = colormap


def _names(layer: Labels) -> dict[int, str]:
    """Return the names in the layer's features; where these have no column of values, the row is the value, as in napari."""
    table = layer.features
    if "name" not in table:
        return {}
    values = table["index"] if "index" in table else range(len(table))
    return {int(value): name for value, name in zip(values, table["name"], strict=True) if isinstance(name, str) and name}


def _rename(layer: Labels, names: Mapping[int, str]) -> None:
    table = layer.features
    values = [int(value) for value in (table["index"] if "index" in table else range(len(table)))]
    column: list[object] = list(table["name"]) if "name" in table else [""] * len(values)
    if not values:
        values, column = [layer.colormap.background_value], ["background"]
    for value, name in names.items():
        if value in values:
            column[values.index(value)] = name
        else:
            values.append(value)
            column.append(name)
    # Rows that are new are empty in the columns of others.
    layer.features = table.reindex(range(len(values))).assign(index=values, name=column)


def history_of(layer: Labels | None) -> tuple[int, ...]:
    """Return what is another after each edit, undo and redo: how many can be undone and redone, and which is the last.

    napari announces no undo; it only draws the slice anew, which scrolling does too.
    """
    if layer is None:
        return ()
    done, undone = layer._undo_history, layer._redo_history
    return len(done), len(undone), id(done[-1]) if done else 0
