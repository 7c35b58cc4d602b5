import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_seg3d.networks import network_info, network_names
from napari_seg3d.training import TrainConfig
from napari_seg3d.widgets.config_form import ConfigForm
from tests.pumping import pump

BASE = TrainConfig.parse({"data": {"images": "/scans/knees", "masks": "/scans/masks"}})
CHANGES = {
    "data.subjects": ["/scans/who.csv"],
    "data.validation": [0.35, 1 / 3],
    "data.split": ["folds"],
    "data.folds": [4],
    "data.fold": [3],
    "data.stride": [7],
    "data.split_seed": [3, 2**31],
    "preprocessing.spacing": [[0.5, 0.75, 2.5], [0.123456789012, 1.0, 1.0], "native"],
    "preprocessing.normalization": ["rescale"],
    "transforms.preprocessing": [[{"name": "ToCanonical"}, {"name": "ZNormalization"}]],
    "transforms.augmentation": [[{"name": "RandomNoise", "parameters": {"std": [0.0, 0.5]}, "probability": 0.3}], []],
    "targets.kind": ["overlapping"],
    "targets.known": ["slices"],
    "targets.plane": ["coronal"],
    "targets.background": [0, 9],
    "targets.ignore": [0, 255],
    "sampling.mode": ["whole"],
    "sampling.patch_size": [[64, 48, 32]],
    "sampling.draw": ["lesions"],
    "sampling.foreground": [0.25, 0.0, 1.0],
    "sampling.label_weights": [{"1": 1.0, "3": 5.5}],
    "sampling.case_weights": [{"scan_12": 3.0, "b": 0.5}],
    "sampling.window": [[96, 96, 1]],
    "sampling.slices": ["positive"],
    "sampling.planes": [["sagittal", "axial"], ["axial", "coronal", "sagittal"]],
    "sampling.context": [3],
    "sampling.augmentation": [False],
    "sampling.augment_on": ["device"],
    "network.name": ["vnet"],
    "network.dims": [2, 3],
    "network.features": [[8, 16, 32]],
    "network.deep_supervision": [True, False],
    "network.options": [{"dropout": 0.2, "act": "prelu", "blocks": [1, 2, 2], "residual": True, "note": "a: b, {c}"}],
    "network.pretrained": ["/models/best.pt"],
    "optimization.minutes": [30.0, 0.05],
    "optimization.max_iterations": [500],
    "optimization.epochs": [2.5],
    "optimization.batch_size": [3],
    "optimization.accumulate": [4],
    "optimization.loss": ["dice"],
    "optimization.class_weights": [{"0": 0.1, "2": 4.0}],
    "optimization.optimizer": ["sgd"],
    "optimization.momentum": [0.0, 0.95],
    "optimization.learning_rate": [0.0003, 0.00012345, 0.0020000001, 1e-13],
    "optimization.weight_decay": [0.05, 0.0, 1e-5],
    "optimization.schedule": ["plateau"],
    "optimization.warm_up": [0.0],
    "optimization.gradient_clip": [None, 1.5],
    "optimization.ema": [0.0, 0.9999],
    "optimization.metric": ["recall"],
    "optimization.metric_label": ["7", "left kidney"],
    "optimization.patience": [12],
    "optimization.seed": [12],
    "optimization.deterministic": [True],
    "cascade.enabled": [True],
    "cascade.share": [0.5],
    "cascade.margin": [0.0],
    "cascade.smallest": [16],
    "record.checkpoint_minutes": [0.5],
    "record.validate_every": [3.5],
    "record.shown_cases": [1],
    "record.trackers": [["wandb"], ["wandb", "mlflow"]],
    "device.accelerator": ["cpu"],
    "device.precision": ["32"],
    "device.devices": [2],
    "device.nodes": [3],
    "device.workers": [0, 2],
    "device.channels_last": ["off"],
    "device.compile": ["auto"],
}
EVERY = [(name, value) for name, values in CHANGES.items() for value in values]


@pytest.fixture
def form(qtbot):
    form = ConfigForm(BASE)
    qtbot.addWidget(form)
    return form


def test_the_defaults_come_back_to_the_letter(form):
    assert form.value() == BASE
    assert form.value().to_yaml() == BASE.to_yaml()


def test_every_setting_round_trips_and_is_marked(form):
    for name, value in EVERY:
        config = BASE.with_values({name: value})
        assert config != BASE, name
        form.setValue(config)
        assert form.value() == config
        assert [other for other in CHANGES if form.is_changed(other)] == [name]
        form.set_back(name)
        assert form.value() == BASE
        assert not form.is_changed(name)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in CHANGES.items()}))
def test_any_settings_at_once_round_trip(form, changes):
    config = BASE.with_values(changes)
    form.setValue(config)
    assert form.value() == config
    assert form.value().to_yaml() == config.to_yaml()
    assert {name for name in CHANGES if form.is_changed(name)} == set(changes)


def test_every_setting_is_covered():
    assert set(CHANGES) == set(TrainConfig.setting_names()) - {"data.images", "data.masks"}


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("optimization.batch_size", "4", 4),
        ("optimization.batch_size", "auto", "auto"),
        ("optimization.learning_rate", "3e-4", 3e-4),
        ("optimization.learning_rate", "auto", "auto"),
        ("optimization.max_iterations", "70000", 70000),
        ("optimization.max_iterations", "", None),
        ("optimization.gradient_clip", "none", None),
        ("targets.ignore", "0", 0),
        ("targets.ignore", "", None),
    ],
)
def test_numbers_are_typed_and_so_is_the_word_for_none(form, name, typed, value):
    box = form.editor(name)
    box.selectAll()
    QTest.keyClicks(box, typed) if typed else QTest.keyClick(box, Qt.Key.Key_Delete)
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert form.value() == BASE.with_values({name: value})


def test_a_number_is_stepped_down_to_its_word_and_up_again(form):
    box = form.editor("optimization.batch_size")
    assert box.text() == "auto"
    seen = []
    for key in (Qt.Key.Key_Up, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Down):
        QTest.keyClick(box, key)
        seen.append(box.text())
    assert seen == ["1", "2", "1", "auto", "auto"]


def test_scrolling_over_a_number_does_not_turn_it(form):
    box = form.editor("data.folds")
    where = QPointF(5, 5)
    turn = QWheelEvent(
        where,
        where,
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase(0),
        False,
    )
    QApplication.sendEvent(box, turn)
    assert form.value() == BASE
    assert not turn.isAccepted(), "the dock scrolls instead"


def test_planes_are_ticked(form):
    boxes = form._rows["sampling.planes"].field.boxes
    boxes["sagittal"].click()
    assert form.value().sampling.planes == ("axial", "sagittal")
    boxes["axial"].click()
    assert form.value().sampling.planes == ("sagittal",)
    boxes["sagittal"].click()
    assert "sampling.planes" in form._error.text()


def test_pairs_are_typed(form):
    form.editor("optimization.class_weights").setText("1: 1, 2: 4")
    form.editor("network.options").setText("dropout: 0.2, sizes: [1, 2]")
    assert form.value() == BASE.with_values(
        {"optimization.class_weights": {1: 1, 2: 4}, "network.options": {"dropout": 0.2, "sizes": [1, 2]}}
    )
    form.editor("optimization.class_weights").setText("1; {")
    assert "optimization.class_weights" in form._error.text()


def test_the_options_of_the_chosen_network_are_told(form):
    for name in network_names():
        form.setValue(BASE.with_values({"network.name": name}))
        told = form.editor("network.options").toolTip()
        assert all(option.name in told and option.help in told for option in network_info(name).options)
        assert network_info(name).options or "no options" in told


def test_the_button_sets_back(form):
    form.setValue(BASE.with_values({"network.name": "vnet"}))
    assert "1 changed" in form.sections["network"].text()
    form._rows["network.name"].reset.click()
    assert form.value() == BASE
    assert form.sections["network"].text() == "Network"


def test_typing_changes_the_config(form, qtbot):
    with qtbot.waitSignal(form.valueChanged):
        form.editor("optimization.minutes").setValue(2.5)
    form.editor("sampling.patch_size").setText("32, 40, 48")
    assert form.value() == BASE.with_values({"optimization.minutes": 2.5, "sampling.patch_size": [32, 40, 48]})


def test_what_cannot_be_used_is_said_where_it_stands(form):
    form.editor("sampling.patch_size").setText("32, 40")
    assert "sampling.patch_size" in form._error.text()
    assert form._rows["sampling.patch_size"].label.styleSheet()
    assert not form._rows["optimization.minutes"].label.styleSheet()
    form.editor("sampling.patch_size").setText("auto")
    assert not form._error.text()
    assert form.value() == BASE


def test_every_control_is_explained_and_most_are_folded_away(form):
    for name, row in form._rows.items():
        assert row.field.widget.toolTip(), name
        assert row.label.toolTip() == row.field.widget.toolTip()
    form.show()
    assert not form.editor("optimization.minutes").visibleRegion().isEmpty()
    patch = form.editor("sampling.patch_size")
    assert patch.visibleRegion().isEmpty()
    form.more.expand(animate=False)
    form.resize(form.sizeHint())
    assert patch.visibleRegion().isEmpty(), "each section is folded on its own"
    form.sections["sampling"].expand(animate=False)
    pump(0.05)
    form.resize(form.sizeHint())
    pump(0.05)
    assert patch.visibleRegion().boundingRect() == patch.rect()
    assert form.editor("network.features").visibleRegion().isEmpty()
