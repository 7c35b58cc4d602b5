"""A viewer with all docks, opened on a finished run: what the demo ends with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtCore import QEventLoop, QTimer

from napari_seg3d.datasets import Case
from napari_seg3d.errors import Seg3dError
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import Run
from napari_seg3d.viewer.session import session_of

_DOCKS = ("Data", "Train", "Runs", "Predict", "Look")
_PATIENCE_SECONDS = 60.0


def open_tour(run: Run, case: Case, screenshots: Path | None) -> None:
    """Open napari with the docks on a run and a scan, and predict it.

    Parameters
    ----------
    run : Run
        A finished run.
    case : Case
        The scan to predict.
    screenshots : Path, optional
        A folder: pictures of each dock are left there and the viewer closes. Left out, it stays open until the user closes it.
    """
    viewer = napari.Viewer(title="napari-seg3d")
    viewer.window.resize(1366, 768)
    data, train, runs, predict, look = (viewer.window.add_plugin_dock_widget("napari-seg3d", name)[1] for name in _DOCKS)
    session = session_of(viewer)
    data.open(dataset_folder())
    _until(lambda: session.data.report is not None)
    session.watch.follow(run)
    _until(lambda: session.watch.status.ended and len(viewer.layers) > 0)
    train.come_forward()
    _picture(viewer, screenshots, "1-train")
    runs.come_forward()
    _until(lambda: any(history.run == run for history in session.runs.histories))
    runs.table.choose([run])
    _until(lambda: any(history.run == run for history in session.runs.compared))
    runs.slider.back.click()
    _until(lambda: session.epochs.shown is not None)
    _picture(viewer, screenshots, "2-runs")
    data.come_forward()
    data.table.selectRow(0)
    _until(lambda: len(viewer.layers) > 3)
    _picture(viewer, screenshots, "3-data")
    predict.come_forward()
    session.preview.set_on(False)
    viewer.layers.clear()
    viewer.open(str(case.images[0]), plugin="napari-seg3d")
    predict.run_button.click()
    _until(lambda: session.prediction.job is None)
    _picture(viewer, screenshots, "4-predict")
    look.come_forward()
    look.four.click()
    _until(lambda: session.labels.job is None)
    _picture(viewer, screenshots, "5-look")
    look.four.click()
    predict.come_forward()
    if screenshots is None:
        napari.run()
    else:
        viewer.close()


def _picture(viewer: napari.Viewer, folder: Path | None, name: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _pause(1.0)
        viewer.window.screenshot(str(folder / f"{name}.png"), canvas_only=False, flash=False)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Seg3dError("The viewer did not get ready in time.", "Close other programs and try again.")
        _pause(0.1)


def _pause(seconds: float) -> None:
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()
