"""The form of a step: what goes in comes out, and what cannot be used is said beside its field."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import Step, catalogue, load_preset, presets
from napari_seg3d.widgets.step_fields import Numbers, make_field
from napari_seg3d.widgets.step_form import StepForm
from napari_seg3d.widgets.step_list import Chooser, StepList


@pytest.fixture
def form(qtbot) -> StepForm:
    form = StepForm()
    qtbot.addWidget(form)
    return form


def test_every_transform_has_a_form_that_returns_it_unchanged(form):
    for name, about in catalogue().items():
        form.set_value(Step(name))
        assert form.value() == Step(name)
        everything = Step(name, Step(name).values, 0.37, enabled=False)
        form.set_value(everything)
        assert form.value() == everything
        assert list(form.fields) == [parameter.name for parameter in about.parameters]
        assert all(field.toolTip() for field in form.fields.values())


def test_every_step_of_every_preset_passes_through_the_form(form):
    for name in presets():
        recipe = load_preset(name)
        for step in (*recipe.preprocessing.steps, *recipe.augmentation.steps):
            form.set_value(step)
            assert form.value() == step


_width = st.floats(0, 0.95, allow_subnormal=False)
_factor = st.floats(0.05, 5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scales=_width | st.lists(_width, min_size=3, max_size=3) | st.lists(_factor, min_size=2, max_size=2).map(sorted),
    degrees=st.lists(st.floats(-180, 180), min_size=2, max_size=2).map(sorted).map(lambda pair: pair * 3),
    probability=st.floats(0, 1),
)
@example(scales=0.0, degrees=[0.0, 1.25] * 3, probability=0.0)  # half a digit
def test_numbers_keep_all_their_digits(form, scales, degrees, probability):
    step = Step("RandomAffine", {"scales": scales, "degrees": degrees}, probability)
    form.set_value(step)
    assert form.value() == step


def test_a_slider_changes_the_step_and_only_what_was_moved_is_stored(form, qtbot):
    form.set_value(Step("RandomNoise"))
    form.set_value(Step("RandomAffine"))
    with qtbot.waitSignal(form.changed):
        form.fields["degrees"].numbers[0].slider.value = 15
    assert form.value() == Step("RandomAffine", {"degrees": 15.0})
    with qtbot.waitSignal(form.changed):
        form.probability.value = 0.25
    assert form.value() == Step("RandomAffine", {"degrees": 15.0}, 0.25)


def test_what_cannot_be_used_is_said_beside_its_field(form):
    form.show()
    form.set_value(Step("RemapLabels"))
    form.fields["remapping"].control.value = "seven to one"
    problem = form._problems["remapping"]
    assert problem.isVisibleTo(form)
    assert "remapping = seven to one" in problem.text()
    with pytest.raises(ConfigError, match="such as {7: 1}"):
        form.value()
    form.fields["remapping"].control.value = "7: 1"
    assert not problem.isVisibleTo(form)
    assert form.value() == Step("RemapLabels", {"remapping": {7: 1}})
    # Two that do not go together are the affair of no single field.
    form.set_value(Step("CropOrPad"))
    form.fields["only_crop"].control.value = True
    form.fields["only_pad"].control.value = True
    assert "exclude each other" in form._problem.text()


def test_steps_inside_a_step_are_edited_like_others(form):
    form.set_value(Step("OneOf", {"transforms": [{"name": "RandomAffine"}, {"name": "RandomNoise"}]}))
    inside = form.fields["transforms"]
    inside.list.rows.setCurrentRow(1)
    inside.form.fields["std"].numbers[1].control.value = 0.5
    inside.list.add("RandomFlip")
    assert [step.name for step in form.value().inside] == ["RandomAffine", "RandomNoise", "RandomFlip"]
    assert form.value().inside[1] == Step("RandomNoise", {"std": [0, 0.5]})


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        (10, 2, [-10, 10]),
        (10, 3, [10, 10, 10]),
        (10, 6, [-10, 10, -10, 10, -10, 10]),
        ([-5, 20], 1, 20),
        ([-5, 20], 6, [-5, 20, -5, 20, -5, 20]),
        ([1, 2, 3], 6, [-1, 1, -2, 2, -3, 3]),
        ([1, 2, 3], 1, 1),
    ],
)
def test_more_numbers_mean_what_fewer_meant(qtbot, value, size, expected):
    field = make_field(catalogue()["RandomAffine"].parameter("degrees"))
    qtbot.addWidget(field)
    assert isinstance(field, Numbers)
    field.set_value(value)
    field.set_size(size)
    assert field.value() == expected


def test_a_list_moves_switches_duplicates_and_removes(qtbot):
    steps = StepList(catalogue())
    qtbot.addWidget(steps)
    heard = []
    steps.changed.connect(lambda: heard.append([step.name for step in steps.value()]))
    for name in ("ToCanonical", "Clamp", "Blur"):
        steps.add(name)
    steps.move(-1)
    assert heard[-1] == ["ToCanonical", "Blur", "Clamp"]
    # What Qt does when a row is dropped elsewhere.
    assert steps.rows.model().moveRow(steps.rows.rootIndex(), 2, steps.rows.rootIndex(), 0)
    assert heard[-1] == ["Clamp", "ToCanonical", "Blur"]
    steps.rows.setCurrentRow(1)
    steps.duplicate()
    assert heard[-1] == ["Clamp", "ToCanonical", "ToCanonical", "Blur"]
    from qtpy.QtCore import Qt

    steps.rows.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert [step.enabled for step in steps.value()] == [False, True, True, True]
    steps.remove()
    assert heard[-1] == ["Clamp", "ToCanonical", "Blur"]
    assert len(heard) == 8


def test_transforms_are_found_by_what_they_do(qtbot):
    steps = StepList(catalogue())
    qtbot.addWidget(steps)
    chooser = steps._chooser
    assert isinstance(chooser, Chooser)
    assert set(chooser.names()) == set(catalogue())
    chooser.search.setText("grain")
    assert "RandomNoise" in chooser.names()
    assert "RandomFlip" not in chooser.names()
    chooser.search.setText("randomnoise")
    qtbot.keyClick(chooser.search, "\r")
    assert [step.name for step in steps.value()] == ["RandomNoise"]
