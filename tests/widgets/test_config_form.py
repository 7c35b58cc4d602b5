import pytest

from napari_seg3d.training import TrainConfig
from napari_seg3d.widgets.config_form import ConfigForm

BASE = TrainConfig.parse({"data": {"images": "/scans/knees", "masks": "/scans/masks"}})
CHANGES = {
    "data.subjects": "/scans/who.csv",
    "data.validation": 0.35,
    "data.split": "folds",
    "data.folds": 4,
    "data.fold": 3,
    "data.stride": 7,
    "data.split_seed": 3,
    "preprocessing.spacing": [0.5, 0.75, 2.5],
    "preprocessing.normalization": "rescale",
    "transforms.preprocessing": [{"name": "ToCanonical"}, {"name": "ZNormalization"}],
    "transforms.augmentation": [{"name": "RandomNoise", "parameters": {"std": [0.0, 0.5]}, "probability": 0.3}],
    "sampling.mode": "whole",
    "sampling.patch_size": [64, 48, 32],
    "sampling.foreground": 0.25,
    "sampling.augmentation": False,
    "network.features": [8, 16, 32],
    "optimization.minutes": 30.0,
    "optimization.max_iterations": 500,
    "optimization.batch_size": 3,
    "optimization.loss": "dice",
    "optimization.learning_rate": 0.0003,
    "optimization.weight_decay": 0.05,
    "optimization.seed": 12,
    "device.accelerator": "cpu",
    "device.precision": "32",
    "device.workers": 2,
}


@pytest.fixture
def form(qtbot):
    form = ConfigForm(BASE)
    qtbot.addWidget(form)
    return form


def test_the_defaults_come_back_to_the_letter(form):
    assert form.value() == BASE
    assert form.value().to_yaml() == BASE.to_yaml()


@pytest.mark.parametrize(("name", "value"), CHANGES.items())
def test_every_setting_round_trips(form, name, value):
    config = BASE.with_values({name: value})
    assert config != BASE
    form.setValue(config)
    assert form.value() == config
    form.setValue(BASE)
    assert form.value() == BASE


def test_every_setting_is_covered():
    assert set(CHANGES) == set(TrainConfig.setting_names()) - {"data.images", "data.masks", "network.name"}


@pytest.mark.parametrize("value", [0.00012345, 0.0020000001])
def test_a_value_between_the_steps_of_a_control_is_not_rounded(form, value):
    config = BASE.with_values({"optimization.learning_rate": value})
    form.setValue(config)
    assert form.value() == config


def test_typing_changes_the_config(form, qtbot):
    with qtbot.waitSignal(form.valueChanged):
        form.editor("optimization.minutes").setValue(2.5)
    form.editor("sampling.patch_size").setText("32, 40, 48")
    assert form.value() == BASE.with_values({"optimization.minutes": 2.5, "sampling.patch_size": [32, 40, 48]})


def test_what_cannot_be_used_is_said_where_it_stands(form):
    form.editor("sampling.patch_size").setText("32, 40")
    assert "sampling.patch_size" in form._error.text()
    assert form._labels["sampling.patch_size"].styleSheet()
    assert not form._labels["optimization.minutes"].styleSheet()
    form.editor("sampling.patch_size").setText("auto")
    assert not form._error.text()
    assert form.value() == BASE


def test_every_control_is_explained_and_most_are_folded_away(form):
    for name, editor in form._editors.items():
        assert editor.widget.toolTip(), name
    form.show()
    assert not form.editor("optimization.minutes").visibleRegion().isEmpty()
    assert form.editor("sampling.patch_size").visibleRegion().isEmpty()
    form.more.expand(animate=False)
    form.resize(form.sizeHint())
    assert not form.editor("sampling.patch_size").visibleRegion().isEmpty()
