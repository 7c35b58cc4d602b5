"""Two masks measured from the dock: the numbers are those of the core, and a row opens where it is worst."""

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels

from napari_seg3d.evaluation import measure_masks
from napari_seg3d.viewer.label_look import LabelStyle, set_styles
from napari_seg3d.volumes import Label, Volume, write_volume
from tests.pumping import pump_until

PLUGIN = "napari-seg3d"
AFFINE = np.array([[0, -1.5, 0, 3], [-1, 0, 0, 2], [0, 0, 2, -7], [0, 0, 0, 1.0]])


def _mask(shift: int) -> Volume:
    data = np.zeros((1, 14, 16, 12), np.uint8)
    data[0, 2:8, 3 + shift : 9 + shift, 2:7] = 1
    data[0, 9:12, 10:14, 8:11] = 2
    data[0, 9:12, 10:14, 8 : 8 + shift] = 0
    return Volume(data, AFFINE, "labels", labels={1: Label("liver"), 2: Label("spleen")})


@pytest.fixture
def dock(make_napari_viewer_proxy, tmp_path: Path):
    viewer = make_napari_viewer_proxy()
    scan = np.random.default_rng(0).normal(0, 100, (1, 14, 16, 12)).astype(np.int16)
    for name, volume in (("scan", Volume(scan, AFFINE)), ("truth", _mask(0)), ("mine", _mask(1))):
        viewer.open(str(write_volume(volume, tmp_path / f"{name}.nii.gz")), plugin=PLUGIN)
    # NIfTI has no place for names.
    set_styles(viewer.layers["mine"], {1: LabelStyle("liver", "#aa0000"), 2: LabelStyle("spleen", "#0000aa")})
    return viewer.window.add_plugin_dock_widget(PLUGIN, "Measure")[1]


def _measure(dock) -> None:
    dock.button.click()
    pump_until(lambda: dock._model.job is None, what="the measures")


def test_the_table_holds_what_the_core_measures_and_a_row_opens_the_worst_slice(dock, tmp_path: Path) -> None:
    assert (dock.mask.currentText(), dock.reference.currentText()) == ("mine", "truth")
    _measure(dock)
    assert dock._model.error is None
    expected = measure_masks(_mask(1), _mask(0), {1: "liver", 2: "spleen"}, 1.0)
    assert dock.table.rowCount() == 2
    for at, row in enumerate(expected):
        texts = [dock.table.item(at, column).text() for column in range(5)]
        assert texts == [row.name, f"{row.dice:.3f}", f"{row.hd95:.1f}", f"{row.assd:.2f}", f"{row.nsd:.3f}"]

    dock.table.cellClicked.emit(1, 0)
    pump_until(lambda: dock._model.job is None, what="the slice")
    mine = next(layer for layer in dock._viewer.layers if layer.name == "mine")
    truth = next(layer for layer in dock._viewer.layers if layer.name == "truth")
    shown = round(mine.world_to_data(dock._viewer.dims.point)[0])
    wrong = np.count_nonzero((mine.data == 2) != (truth.data == 2), axis=(1, 2))
    assert wrong[shown] == wrong.max() > 0
    assert mine.selected_label == 2


def test_what_was_measured_is_written(dock, tmp_path: Path) -> None:
    _measure(dock)
    dock._model.save_csv(tmp_path / "measures.csv")
    pump_until(lambda: dock._model.job is None, what="the table")
    assert "liver" in (tmp_path / "measures.csv").read_text()
    dock._model.save_html(tmp_path / "measures.html")
    pump_until(lambda: dock._model.job is None, what="the page")
    assert "data:image/png" in (tmp_path / "measures.html").read_text()
    assert dock.notice.text() == "Written: measures.html"


def test_an_edit_counts_the_next_time_and_a_mask_is_not_measured_against_itself(dock) -> None:
    _measure(dock)
    before = dock._model.evaluation.rows[0].dice
    mine = next(layer for layer in dock._viewer.layers if layer.name == "mine")
    truth = next(layer for layer in dock._viewer.layers if layer.name == "truth")
    mine.data[...] = truth.data
    assert dock._model.evaluation.rows[0].dice == before
    _measure(dock)
    assert dock._model.evaluation.rows[0].dice == 1
    dock.reference.setCurrentIndex(dock.mask.currentIndex())
    assert not dock.button.isEnabled()


def test_masks_of_different_scans_are_told(dock) -> None:
    other = Labels(np.ones((3, 4, 5), np.uint8), name="elsewhere", translate=(900, 900, 900))
    dock._viewer.add_layer(other)
    dock.mask.setCurrentIndex(dock.mask.findText("elsewhere"))
    _measure(dock)
    assert dock._model.error is not None
    assert dock._model.evaluation is None
    assert dock.notice.text()


def test_empty_masks_are_told(dock) -> None:
    for layer in dock._viewer.layers:
        if isinstance(layer, Labels):
            layer.data[...] = 0
    _measure(dock)
    assert "Neither mask holds a label" in dock.notice.text()
