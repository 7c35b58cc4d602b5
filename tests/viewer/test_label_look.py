from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

from napari_seg3d.viewer.label_colours import label_colour, labels_settings
from napari_seg3d.viewer.label_look import foresee, set_styles, style_of, styles_of


def _layer(values=(1, 2, 3), dtype=np.uint8, **settings) -> Labels:
    data = np.zeros((4, 12, 8), dtype)
    for place, value in enumerate(values):
        data[:, place] = value
    return Labels(data, **labels_settings(settings.pop("names", None)) | settings)


def _drawn(layer: Labels, value: int) -> str:
    """What napari draws for a value in an array: this is the way of slices and thumbnails."""
    return _hex(layer.colormap.map(np.full((2, 2), value, layer.dtype))[0, 0])


def _hex(rgba) -> str:
    if rgba[3] == 0:
        return "hidden"
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in rgba[:3])


def test_a_new_mask_looks_as_before():
    layer = _layer(names={1: "liver"})
    before = layer.colormap
    assert style_of(layer, 1).name == "liver"
    assert style_of(layer, 2).name == ""
    for value in (1, 2, 19, 20, 21, 200):
        assert style_of(layer, value).colour == label_colour(value) == _drawn(layer, value)
    assert list(styles_of(layer)) == [1]
    foresee(layer, [1, 2, 3])
    assert layer.colormap is before


def test_a_colour_is_drawn_and_the_others_stay():
    layer = _layer()
    layer.selected_label, layer.contour, layer.opacity = 2, 3, 0.3
    set_styles(layer, {2: replace(style_of(layer, 2), colour="#102030")})
    assert isinstance(layer.colormap, DirectLabelColormap)
    assert _drawn(layer, 2) == style_of(layer, 2).colour == "#102030"
    for value in (1, 3, 77, 255):
        assert _drawn(layer, value) == label_colour(value)
    assert _drawn(layer, 0) == "hidden"
    assert (layer.selected_label, layer.contour, layer.opacity) == (2, 3, 0.3)
    assert layer.colormap.selection == 2


def test_a_hidden_label_is_transparent_and_comes_back_in_its_colour():
    layer = _layer()
    before = layer.colormap
    set_styles(layer, {2: replace(style_of(layer, 2), visible=False)})
    assert _drawn(layer, 2) == "hidden"
    assert _drawn(layer, 3) == label_colour(3)
    assert style_of(layer, 2).colour == label_colour(2), "hidden labels keep their colour"
    set_styles(layer, {2: replace(style_of(layer, 2), visible=True)})
    assert layer.colormap is before
    assert not style_of(layer, 2).locked


def test_only_the_selected_label_stays_shown_alone():
    layer = _layer()
    layer.selected_label, layer.show_selected_label = 3, True
    set_styles(layer, {3: replace(style_of(layer, 3), colour="#102030")})
    assert layer.colormap.use_selection
    assert _drawn(layer, 3) == "#102030"
    assert _drawn(layer, 1) == "hidden"


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_every_number_type_is_drawn(dtype):
    limits = np.iinfo(dtype)
    values = [value for value in (1, 2, 90, 300, 40_000, 70_000, 100_000, -1, -70_000) if limits.min <= value <= limits.max]
    layer = _layer(values, dtype)
    foresee(layer, values)
    hidden = values[-1]
    set_styles(layer, {2: replace(style_of(layer, 2), colour="#102030"), hidden: replace(style_of(layer, hidden), visible=False)})
    expected = {value: style_of(layer, value).colour for value in values} | {hidden: "hidden", 2: "#102030"}
    assert {value: _drawn(layer, value) for value in values} == expected
    assert {value: _hex(layer.colormap.map(value)) for value in values} == expected
    # The way of the canvas: values become texture values, and those colours.
    layer.refresh()
    assert _textured(layer, values) == expected
    set_styles(
        layer, {hidden: replace(style_of(layer, hidden), visible=True), 2: replace(style_of(layer, 2), colour=label_colour(2))}
    )
    assert isinstance(layer.colormap, CyclicLabelColormap)


def _textured(layer: Labels, values) -> dict[int, str]:
    texture = layer._slice.image.view
    if layer.dtype.itemsize <= 2:
        colours = layer.colormap._get_mapping_from_cache(layer.dtype)
    else:
        colours = layer.colormap._values_mapping_to_minimum_values_set()[1]
    return {value: _hex(colours[texture[place, 0]]) for place, value in enumerate(values)}


def test_a_value_nobody_foresaw_is_grey_until_it_is_known():
    layer = _layer((1, 5000), np.int32)
    set_styles(layer, {1: replace(style_of(layer, 1), colour="#102030")})
    assert _drawn(layer, 5000) == "#a9a9a9"
    foresee(layer, [1, 5000])
    assert _drawn(layer, 5000) == label_colour(5000)
    assert _drawn(layer, 1) == "#102030"


def test_a_mask_of_napari_keeps_its_own_colours():
    layer = Labels(np.array([[0, 1], [2, 3]]))
    own = layer.colormap
    colours = {value: _drawn(layer, value) for value in (1, 2, 3)}
    assert {value: style_of(layer, value).colour for value in colours} == colours
    set_styles(layer, {1: replace(style_of(layer, 1), visible=False)})
    assert _drawn(layer, 2) == colours[2]
    set_styles(layer, {1: replace(style_of(layer, 1), visible=True)})
    assert layer.colormap is own


def test_colours_that_came_with_the_file_are_the_defaults():
    layer = Labels(
        np.zeros((4, 4), np.uint8), colormap=DirectLabelColormap(color_dict={0: "transparent", 1: "#dd8265", None: "gray"})
    )
    assert style_of(layer, 1).colour == "#dd8265"
    assert style_of(layer, 2).colour == label_colour(2)
    set_styles(layer, {2: replace(style_of(layer, 2), visible=False)})
    assert _drawn(layer, 1) == "#dd8265"


def test_a_value_that_the_colours_of_a_file_leave_out_is_told_apart():
    colours = DirectLabelColormap(color_dict={0: "transparent", 1: "#dd8265", None: "red"})
    layer = Labels(np.zeros((4, 4), np.uint8), colormap=colours)
    foresee(layer, [1])
    assert layer.colormap is colours
    foresee(layer, [1, 2, 3])
    assert [_drawn(layer, value) for value in (1, 2, 3)] == ["#dd8265", label_colour(2), label_colour(3)]
    set_styles(layer, {1: replace(style_of(layer, 1), visible=False)})
    set_styles(layer, {1: replace(style_of(layer, 1), visible=True)})
    assert [_drawn(layer, value) for value in (1, 2, 3)] == ["#dd8265", label_colour(2), label_colour(3)]


def test_a_colormap_given_by_somebody_else_is_the_new_beginning():
    layer = _layer()
    set_styles(layer, {1: replace(style_of(layer, 1), visible=False)})
    layer.new_colormap(seed=3)
    shuffled = layer.colormap
    colour = _drawn(layer, 2)
    set_styles(layer, {3: replace(style_of(layer, 3), colour="#102030")})
    assert _drawn(layer, 1) == "hidden"
    assert _drawn(layer, 2) == style_of(layer, 2).colour == colour
    set_styles(
        layer, {value: replace(style_of(layer, value), visible=True, colour=_hex(shuffled.map(value))) for value in (1, 3)}
    )
    assert layer.colormap is shuffled


def test_names_are_those_of_the_status_bar():
    layer = _layer(names={1: "liver"})
    set_styles(layer, {1: replace(style_of(layer, 1), name="Leber"), 9: replace(style_of(layer, 9), name="Milz")})
    assert list(layer.features["index"]) == [0, 1, 9]
    assert list(layer.features["name"]) == ["background", "Leber", "Milz"]
    layer.data[0, 5] = 9
    assert "name: Milz" in layer.get_status((0, 5, 5), dims_displayed=[1, 2], world=True)["value"]
    assert {value: style.name for value, style in styles_of(layer).items()} == {1: "Leber", 9: "Milz"}


def test_the_first_name_of_a_mask_and_the_columns_of_others():
    layer = Labels(np.zeros((4, 4), np.uint8))
    set_styles(layer, {3: replace(style_of(layer, 3), name="tumour")})
    assert style_of(layer, 3).name == "tumour"
    assert style_of(layer, 0).name == "background"
    other = Labels(np.zeros((4, 4), np.uint8), features={"area": [0.0, 5.0]})
    set_styles(other, {1: replace(style_of(other, 1), name="one"), 4: replace(style_of(other, 4), name="four")})
    assert list(other.features["area"][:2]) == [0.0, 5.0]
    assert [style_of(other, value).name for value in (1, 4)] == ["one", "four"]


def test_a_duplicate_goes_its_own_way():
    layer = _layer()
    set_styles(layer, {1: replace(style_of(layer, 1), locked=True)})
    data, state, _ = layer.as_layer_data_tuple()
    twin = Labels(data.copy(), **state)
    assert style_of(twin, 1).locked
    set_styles(twin, {1: replace(style_of(twin, 1), locked=False), 2: replace(style_of(twin, 2), visible=False)})
    assert style_of(layer, 1).locked
    assert style_of(layer, 2).visible
