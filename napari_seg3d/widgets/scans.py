"""The Scans dock: open single scans and folders of DICOM series, and choose among the series by their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QDropEvent, QIcon, QImage, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMainWindow,
    QPushButton,
)

from napari_seg3d.errors import IrregularSeries
from napari_seg3d.viewer.reader import get_reader
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import Series
from napari_seg3d.widgets.parts import Dock, Notice, ProgressRow, choose_folder
from napari_seg3d.widgets.recovery import RecoveryPanel

if TYPE_CHECKING:
    from napari import Viewer

_THUMBNAIL = 72


class ScansDock(Dock):
    """Opens scans of any kind.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where they appear.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Scans")
        session = session_of(napari_viewer)
        session.add_dock(self)
        self._model = session.scans
        self._drops: _Drops | None = None

        self.notice = Notice()
        self.recovery = RecoveryPanel(napari_viewer)
        self.recovery.said.connect(self.notice.say)
        self.body.addWidget(self.recovery)

        buttons = QHBoxLayout()
        self.files_button = QPushButton("Open files…")
        self.files_button.setToolTip(
            "<p>Open scans and masks: NIfTI, NRRD, MetaImage, MGZ, MINC, Analyze, TIFF, NumPy, MATLAB, PNG, or DICOM files. While "
            "this dock is open, files can also be dropped onto the picture.</p>"
        )
        self.files_button.clicked.connect(self._choose_files)
        self.folder_button = QPushButton("Open folder…")
        self.folder_button.setToolTip(
            "<p>Open a folder of DICOM files (with everything below it), a DICOM disc, or an OME-Zarr. One series opens at once; "
            "several are listed to choose from.</p>"
        )
        self.folder_button.clicked.connect(self._choose_folder)
        buttons.addWidget(self.files_button)
        buttons.addWidget(self.folder_button)
        self.body.addLayout(buttons)
        self.progress = ProgressRow()
        self.progress.cancelled.connect(self._model.cancel)
        self.body.addWidget(self.progress)
        self.body.addWidget(self.notice)

        self.hint = QLabel("Open a scan, or a folder of them. Files and folders can also be dropped onto the picture.")
        self.hint.setWordWrap(True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.body.addWidget(self.hint, 1)
        self.list = QListWidget()
        self.list.setIconSize(QSize(_THUMBNAIL, _THUMBNAIL))
        self.list.setWordWrap(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setMinimumHeight(200)
        self.list.setToolTip("<p>The series in the folder. Double-click one to open it.</p>")
        self.list.itemDoubleClicked.connect(self._open_clicked)
        self.list.currentRowChanged.connect(self._enable)
        self.body.addWidget(self.list, 1)
        self.problem = Notice()
        self.body.addWidget(self.problem)
        self.open_button = QPushButton("Open series")
        self.open_button.setToolTip("<p>Puts the chosen series into the viewer, beside what is there.</p>")
        self.open_button.clicked.connect(lambda: self._open_series(resample_irregular=False))
        self.resample_button = QPushButton("Open resampled")
        self.resample_button.setToolTip(
            "<p>The slices do not lie on a regular grid. This puts them where they truly lie in the patient, and interpolates between "
            "them. Masks drawn on it belong to the resampled scan.</p>"
        )
        self.resample_button.clicked.connect(lambda: self._open_series(resample_irregular=True))
        row = QHBoxLayout()
        row.addWidget(self.open_button)
        row.addWidget(self.resample_button)
        self.body.addLayout(row)

        self._model.changed.connect(self._synchronise)
        self._model.progressed.connect(lambda done, total: self.progress.step("File", done, total))
        self._model.thumbnailRead.connect(self._show_thumbnail)
        self._listed: list[Series] = []
        self._synchronise()

    def open(self, paths: list[Path]) -> None:
        """Open files and folders."""
        self._model.open(paths)

    def showEvent(self, event: QShowEvent) -> None:
        """Take what is dropped onto the picture from now on: napari would ask which plugin shall read a folder."""
        super().showEvent(event)
        if self._drops is None:
            QTimer.singleShot(0, self._take_drops)

    def _take_drops(self) -> None:
        window = self.window()
        view = window.centralWidget().findChild(QtViewer) if isinstance(window, QMainWindow) else None
        if view is not None and self._drops is None:
            self._drops = _Drops(self)
            view.installEventFilter(self._drops)

    def _choose_files(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(self, "Open scans")
        if chosen:
            self.open([Path(one) for one in chosen])

    def _choose_folder(self) -> None:
        folder = choose_folder(self, "Open a folder of scans")
        if folder is not None:
            self.open([folder])

    def _chosen(self) -> Series | None:
        row = self.list.currentRow()
        return self._listed[row] if 0 <= row < len(self._listed) else None

    def _open_clicked(self, _item: QListWidgetItem) -> None:
        self.open_button.click()

    def _open_series(self, resample_irregular: bool) -> None:
        series = self._chosen()
        if series is not None:
            self._model.open_series(series, resample_irregular)

    def _synchronise(self) -> None:
        """Show what the model holds now."""
        if self._model.job is not None:
            self.progress.begin("Opening…")
        else:
            self.progress.hide()
        if self._model.error is not None:
            self.notice.say_error(self._model.error)
        else:
            self.notice.say("\n".join(dict.fromkeys(self._model.notes)))
        if self._listed is not self._model.series:
            self._listed = self._model.series
            self._fill()
        self._enable()

    def _fill(self) -> None:
        self.list.clear()
        for series in self._listed:
            item = QListWidgetItem(series.description.replace(f", {series.size}", f"\n{series.size}"))
            item.setIcon(QIcon(_blank()))
            if series.kind == "other":
                item.setFlags(Qt.ItemFlag.NoItemFlags)
                item.setToolTip("<p>Nothing to look at: a report, a structure set, or the like.</p>")
            elif series.problem is not None:
                item.setForeground(QColor("#e0b040"))
            self.list.addItem(item)
        for place in self._model.thumbnails:
            self._show_thumbnail(place)
        sound = [row for row, series in enumerate(self._listed) if series.kind != "other"]
        if sound:
            self.list.setCurrentRow(sound[0])

    def _show_thumbnail(self, place: int) -> None:
        picture = self._model.thumbnails.get(place)
        item = self.list.item(place)
        if picture is None or item is None or self._listed is not self._model.series:
            return
        height, width = picture.shape
        image = QImage(picture.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
        pixmap = QPixmap.fromImage(image)
        size = QSize(_THUMBNAIL, _THUMBNAIL)
        item.setIcon(QIcon(pixmap.scaled(size, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)))

    def _enable(self, _row: int = -1) -> None:
        series, is_idle = self._chosen(), self._model.job is None
        problem = series.problem if series is not None else None
        self.problem.say(str(problem) if problem is not None else "", "warning")
        has_list = bool(self._listed)
        is_irregular = isinstance(problem, IrregularSeries)
        for widget in (self.list, self.open_button):
            widget.setVisible(has_list)
        self.hint.setVisible(not has_list)
        self.open_button.setEnabled(is_idle and series is not None and series.kind != "other" and problem is None)
        self.resample_button.setVisible(has_list and is_irregular)
        self.resample_button.setEnabled(is_idle)


class _Drops(QObject):
    """Takes files and folders that are dropped onto the picture, if they are ours."""

    def __init__(self, dock: ScansDock) -> None:
        super().__init__(dock)
        self._dock = dock

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Open what we can read; the rest is napari's, and so is everything while a modifier key is held."""
        if event.type() != QEvent.Type.Drop or not isinstance(event, QDropEvent):
            return False
        if event.modifiers() != Qt.KeyboardModifier.NoModifier or not self._dock.isVisible():
            return False
        paths = [url.toLocalFile() for url in event.mimeData().urls()]
        if not all(paths) or get_reader(paths) is None:
            return False
        self._dock.open([Path(one) for one in paths])
        event.acceptProposedAction()
        return True


def _blank() -> QPixmap:
    pixmap = QPixmap(_THUMBNAIL, _THUMBNAIL)
    pixmap.fill(QColor("#202020"))
    return pixmap
