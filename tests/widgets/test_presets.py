"""Each preset from the dock and from the command line, from a folder of scans to a predicted mask.

One step of training, with fewer filters where the published network takes a CPU minutes; that presets learn is shown in
tests/training/test_presets.py.
"""

from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from typer.testing import CliRunner

from napari_seg3d.cli import app
from napari_seg3d.sample_data import Kind, dataset_folder
from napari_seg3d.training import Run
from napari_seg3d.viewer.session import session_of
from tests.pumping import pump, pump_until
from tests.waiting import wait_for

_SMALL = {"torchio-unet3d": [4, 8, 16], "spine-xray-unet2d": [4, 8, 16], "decathlon-cascade": [4, 8, 16], "vnet": [4, 8, 16]}
_PRESETS: list[tuple[str, Kind]] = [
    ("torchio-unet3d", "abdomen"),
    ("spine-xray-unet2d", "spine"),
    ("nodule-unet25d", "lung"),
    ("decathlon-cascade", "spleen"),
    ("vnet", "spleen"),
    ("mini-vnet", "spleen"),
]


def _changes(name: str) -> dict[str, object]:
    features = {"network.features": _SMALL[name]} if name in _SMALL else {}
    return {"optimization.max_iterations": 1, "record.shown_cases": 1, "optimization.batch_size": 2, **features}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), _PRESETS)
def test_from_the_dock(name: str, kind: Kind, make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    train = viewer.window.add_plugin_dock_widget("napari-seg3d", "Train")[1]
    session = session_of(viewer)
    session.data.open(dataset_folder(kind))
    pump_until(lambda: session.data.job is None and session.data.report is not None, what="the check")
    while train.presets.name != name:
        before = train.presets.name
        QTest.keyClick(train.presets.choice, Qt.Key.Key_Down)
        assert train.presets.name != before, f"{name} is not offered"
    train.form.setValue(train.form.value().with_values(_changes(name)))
    pump(0.2)
    train.start_button.click()
    pump_until(lambda: session.watch.run is not None, what="the start")
    run = session.watch.run
    try:
        pump_until(lambda: session.watch.status.ended, 240, "the end of the run")
        assert session.watch.status.state == "finished", session.watch.status.message + run.log.read_text()
    finally:
        run.kill()
        session.preview.set_on(False)
        session.watch.stop_looking()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), _PRESETS)
def test_from_the_command_line(name: str, kind: Kind, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    settings = [part for setting, value in _changes(name).items() for part in ("--set", f"{setting}={value}")]
    _cli("train", dataset_folder(kind), "--preset", name, *settings, "--out", run.folder)
    assert wait_for(run, 1).state == "finished", run.log.read_text()
    _cli("predict", run.folder, "--validation", "--out", tmp_path / "predicted")
    assert any((tmp_path / "predicted").iterdir())


def _cli(*arguments: object) -> None:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output + str(done.exception)
