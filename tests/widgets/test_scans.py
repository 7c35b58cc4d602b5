"""The Scans and Look docks as a person uses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.qt import QtViewer
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication

from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.volumes import read_volume
from napari_seg3d.widgets.look import LookDock
from napari_seg3d.widgets.scans import ScansDock
from tests.pumping import pump, pump_until
from tests.volumes.dicom.series_writer import write_series

PLUGIN = "napari-seg3d"
SCAN = sorted((dataset_folder() / "imagesTr").glob("*.nii.gz"))[0]
MASK = SCAN.parents[1] / "labelsTr" / SCAN.name


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def scans(viewer) -> ScansDock:
    dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Scans")[1]
    pump(0.2)
    return dock


def opened(dock: ScansDock, *paths: Path) -> None:
    dock.open(list(paths))
    pump_until(lambda: dock._model.job is None, what="opening")
    pump(0.1)


def voxels(number: int, slices: int = 5) -> np.ndarray:
    """Smooth slices ``(K, rows, columns)``, unlike for each number."""
    z, y, x = np.meshgrid(np.arange(slices), np.arange(16), np.arange(20), indexing="ij")
    return (100 * number + 10 * z + 3 * y + 2 * x).astype(np.int16)


@pytest.fixture
def study(tmp_path) -> Path:
    """A patient's study: two regular series, a tilted one, and a text file."""
    for number in (1, 2):
        uid = f"1.2.3.{number}"
        write_series(tmp_path / "study" / f"s{number}", voxels(number), series=uid, SeriesInstanceUID=uid, SeriesNumber=number)
    slide = np.array([[0.0, 1.0 * k, 2.5 * k] for k in range(5)])
    write_series(
        tmp_path / "study" / "s3", voxels(3), positions=slide, series="1.2.3.3", SeriesInstanceUID="1.2.3.3", SeriesNumber=3
    )
    (tmp_path / "study" / "readme.txt").write_text("hello")
    return tmp_path / "study"


def test_files_open_beside_each_other_and_a_bad_one_opens_none(viewer, scans, tmp_path):
    opened(scans, SCAN, MASK)
    assert [type(layer) for layer in viewer.layers] == [Image, Labels]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(SCAN.read_bytes()[:1000])
    opened(scans, SCAN, bad)
    assert len(viewer.layers) == 2
    assert "bad.nii.gz" in scans.notice.text().replace("\u200b", "")
    assert "cut off" in scans.notice.text()
    bad.unlink()
    opened(scans, SCAN, bad)
    assert len(viewer.layers) == 2
    assert scans.notice.text().replace("\u200b", "").startswith(f"{bad} does not exist.")


def test_one_series_opens_at_once(viewer, scans, study):
    opened(scans, study / "s1")
    (layer,) = viewer.layers
    np.testing.assert_array_equal(np.sort(layer.data.ravel()), np.sort(voxels(1).ravel()))
    assert not scans.list.isVisible()


def test_several_series_are_offered_with_pictures_and_without_the_patient(viewer, scans, study):
    opened(scans, study)
    assert not len(viewer.layers)
    assert scans.list.count() == 3
    pump_until(lambda: len(scans._model.thumbnails) == 3, what="the thumbnails")
    texts = " ".join(scans.list.item(row).text() for row in range(3))
    for identity in ("Muster", "Erika", "4711", "1961", "9931"):
        assert identity not in texts
    assert "20 x 16 x 5" in texts
    row = next(row for row in range(3) if "CT 2" in scans.list.item(row).text())
    scans.list.setCurrentRow(row)
    scans.list.itemDoubleClicked.emit(scans.list.item(row))
    pump_until(lambda: len(viewer.layers) == 1, what="the series")
    assert viewer.layers[0].data.max() == voxels(2).max()
    for identity in ("Muster", "Erika", "4711"):
        assert identity not in viewer.layers[0].name


def test_a_tilted_series_is_refused_and_offered_resampled(viewer, scans, study):
    opened(scans, study / "s3")
    assert not len(viewer.layers)
    assert scans.list.count() == 1
    assert "tilted by 21.8 degrees" in scans.problem.text()
    assert not scans.open_button.isEnabled()
    assert scans.resample_button.isVisible()
    scans.resample_button.click()
    pump_until(lambda: len(viewer.layers) == 1, what="the resampled scan")
    pump(0.1)
    assert "Resampled" in scans.notice.text()


def test_what_is_dropped_onto_the_picture_opens_without_questions(viewer, scans, study):
    view = viewer.window._qt_window.centralWidget().findChild(QtViewer)
    urls = QMimeData()
    urls.setUrls([QUrl.fromLocalFile(str(study / "s2"))])
    none, left = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    QApplication.sendEvent(view, QDragEnterEvent(QPoint(50, 50), Qt.DropAction.CopyAction, urls, left, none))
    event = QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, urls, left, none)
    QApplication.sendEvent(view, event)
    pump_until(lambda: len(viewer.layers) == 1, what="the dropped series")
    assert event.isAccepted()


def test_napari_itself_is_told_of_a_tilted_series_and_gets_no_layer(viewer, study):
    notification_manager.records.clear()
    assert viewer.open(str(study / "s3"), plugin=PLUGIN) == []
    (record,) = notification_manager.records
    assert "tilted by 21.8 degrees" in record.message
    assert not len(viewer.layers)


def test_the_look_dock_follows_and_sets_the_window(viewer, study):
    look: LookDock = viewer.window.add_plugin_dock_widget(PLUGIN, "Look")[1]
    pump(0.2)
    assert not look.preset.isEnabled()
    viewer.open(str(study / "s1"), plugin=PLUGIN)
    image = viewer.layers[0]
    pump(0.1)
    low, high = image.contrast_limits
    assert look.level.value() == pytest.approx((low + high) / 2, abs=1)
    look.preset.setCurrentText("Full range")
    look.preset.activated.emit(look.preset.currentIndex())
    assert tuple(image.contrast_limits) == (voxels(1).min(), voxels(1).max())
    look.width_field.setValue(20)
    low, high = image.contrast_limits
    assert high - low == pytest.approx(20)
    assert look.preset.currentText() == "—"


@pytest.mark.slow
def test_the_look_dock_turns_the_view_and_shows_four(viewer, tmp_path):
    look: LookDock = viewer.window.add_plugin_dock_widget(PLUGIN, "Look")[1]
    viewer.open(str(SCAN), plugin=PLUGIN)
    pump(0.2)
    look.planes.button(1).click()
    assert viewer.dims.displayed == (0, 2)
    look.four.click()
    pump(0.3)
    assert len(viewer.window._qt_window.centralWidget().findChildren(QtViewer)) == 4
    assert not look.planes.button(0).isEnabled()
    look.four.click()
    pump(0.2)
    assert len(viewer.window._qt_window.centralWidget().findChildren(QtViewer)) == 1


def test_a_mask_drawn_with_new_labels_keeps_the_geometry_of_a_dicom_scan(viewer, study, tmp_path):
    (image,) = viewer.open(str(study / "s1"), plugin=PLUGIN)
    viewer.layers.selection.active = image
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    drawn = viewer.layers[-1]
    drawn.paint((2, 8, 10), 1)
    (path,) = drawn.save(str(tmp_path / "drawn.nii.gz"), plugin=PLUGIN)
    written = read_volume(path, "labels")
    assert written.grid.matches(read_volume(study / "s1").grid)
    np.testing.assert_array_equal(written.canonical().data[0].transpose(2, 1, 0), drawn.data)
