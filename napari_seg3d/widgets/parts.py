"""The few parts that docks share: file dialogs, a notice in words, a progress bar with the time left."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QResizeEvent, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDockWidget,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_seg3d.errors import Seg3dError

if TYPE_CHECKING:
    from napari import Viewer

#: Docks are laid out for this width; a laptop of 1366 pixels keeps more than two thirds of its screen for the scan.
DOCK_WIDTH = 360
_ANY_HEIGHT = 16_777_215  # what Qt calls no limit
_COLOURS = {"error": "#e06c60", "warning": "#e0b040", "info": ""}
_DARK = 128  # text below this lightness stands on a light background
_PERCENT_DARKER = 170


class Dock(QScrollArea):
    """A dock whose content scrolls when the screen is too low for it.

    Parameters
    ----------
    title : str
        What its tab says.

    Attributes
    ----------
    body : QVBoxLayout
        Where its parts go, from top to bottom.
    """

    _foot: QWidget | None = None  # Qt filters events before a constructor is through

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        content = QWidget()
        self.body = QVBoxLayout(content)
        self.body.setContentsMargins(8, 8, 8, 8)
        self.body.setSpacing(6)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(DOCK_WIDTH)
        self._has_a_place = False

    def showEvent(self, event: QShowEvent) -> None:
        """Join our other docks as a tab at first sight: three of them above each other fit no screen, and napari cannot be asked to."""
        super().showEvent(event)
        if not self._has_a_place:
            QTimer.singleShot(0, self._join_others)

    def sizeHint(self) -> QSize:
        """Ask for no more width than the layout was made for: the scan needs it."""
        return QSize(DOCK_WIDTH, super().sizeHint().height())

    def add_foot(self) -> QVBoxLayout:
        """Return where parts go that stay below what scrolls, and are seen however low the screen is."""
        foot = self._foot = QWidget(self)
        column = QVBoxLayout(foot)
        column.setContentsMargins(8, 4, 8, 8)
        column.setSpacing(4)
        foot.installEventFilter(self)
        return column

    def eventFilter(self, whom: QObject, event: QEvent) -> bool:
        """Give the foot as much room as it asks for."""
        if whom is self._foot and event.type() == QEvent.Type.LayoutRequest:
            self._place_foot()
        return bool(super().eventFilter(whom, event))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the foot at the bottom."""
        super().resizeEvent(event)
        self._place_foot()

    def _place_foot(self) -> None:
        if self._foot is not None:
            layout, width = self._foot.layout(), self.viewport().width()  # beside the scroll bar
            height = layout.heightForWidth(width) if layout.hasHeightForWidth() else layout.sizeHint().height()
            self.setViewportMargins(0, 0, 0, height)
            self._foot.setGeometry(0, self.height() - height, width, height)

    def come_forward(self) -> None:
        """Show this tab in front of the others."""
        frame = _frame_of(self)
        if frame is not None:
            frame.show()
            frame.raise_()

    def is_closed(self) -> bool:
        """Return whether the user closed it; behind another tab it is open."""
        frame = _frame_of(self)
        return frame is None or frame.isHidden()

    def frame(self) -> QDockWidget | None:
        """Return what napari put it into; None while it stands alone."""
        return _frame_of(self)

    def _join_others(self) -> None:
        frame = _frame_of(self)
        window = frame.parentWidget() if frame is not None else None
        if self._has_a_place or frame is None or not isinstance(window, QMainWindow):
            return
        self._has_a_place = True
        frame.setWindowTitle(self._title)  # the plugin's name behind it would be cut off in the tab
        for other in window.findChildren(Dock):
            beside = _frame_of(other)
            if (
                other is not self
                and other._has_a_place
                and beside is not None
                and not beside.isFloating()
                and not beside.isHidden()
            ):
                window.tabifyDockWidget(beside, frame)
                frame.raise_()
                return


def dock_beside(dock: Dock, viewer: Viewer, kind: type[D], title: str) -> D:
    """Return another of our docks in the same window, opened if it was not."""
    found = dock.window().findChildren(kind)
    return found[0] if found else viewer.window.add_plugin_dock_widget("napari-seg3d", title)[1]


def give_keys_to_scan(dock: Dock) -> None:
    """Let the canvas have the keys, where they choose tools; in a field of a dock they would be typed."""
    window = dock.window()
    view = window.centralWidget().findChild(QtViewer) if isinstance(window, QMainWindow) else None
    if view is not None:
        view.canvas.native.setFocus()


def _frame_of(dock: QWidget) -> QDockWidget | None:
    parent = dock.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent


D = TypeVar("D", bound=Dock)


class Folded(QCollapsible):
    """A heading that opens onto choices which most people never need.

    Attributes
    ----------
    rows : QVBoxLayout
        Where its parts go.
    """

    def __init__(self, title: str, tooltip: str) -> None:
        super().__init__(title)
        self.setToolTip(f"<p>{tooltip}</p>")
        self.toggleButton().setToolTip(self.toolTip())
        content = QWidget()
        self.rows = QVBoxLayout(content)
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.setContent(content)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.layout().setSpacing(0)
        self.setCollapsedIcon("▸")
        self.setExpandedIcon("▾")
        self.setDuration(0)
        # Open, it is as high as what is in it, also when that grows later: another heading that is opened, an answer that comes.
        self.toggled.connect(lambda is_open: content.setMaximumHeight(_ANY_HEIGHT if is_open else 0))
        self.collapse(animate=False)


def readable(colour: str, on: QWidget) -> str:
    """Return one of our colours as it can be read on a widget: they are made for napari's dark theme, and are darker in the light one."""
    is_light = on.palette().windowText().color().lightness() < _DARK
    return str(QColor(colour).darker(_PERCENT_DARKER).name()) if is_light else colour


class Notice(QLabel):
    """A sentence for the user, hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._kind = "info"
        self.hide()

    def say(self, text: str, kind: str = "info") -> None:
        """Show `text` as "info", "warning" or "error"; empty text hides the notice."""
        # Long paths have no place to break; one behind each separator gives them some.
        self.setText(text.replace("/", "/\u200b").replace("\\", "\\\u200b"))
        self._kind = kind
        self._colour()
        self.setVisible(bool(text))

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.ParentChange):
            self._colour()

    def _colour(self) -> None:
        colour = _COLOURS[self._kind]
        style = f"color: {readable(colour, self.parentWidget() or self)}" if colour else ""
        if style != self.styleSheet():
            self.setStyleSheet(style)

    def say_error(self, error: Seg3dError | None) -> None:
        """Show an error with its fix, or nothing."""
        self.say(str(error) if error is not None else "", "error")


class ProgressRow(QWidget):
    """A progress bar with the time left and, if wanted, a Cancel button; hidden while nothing goes on."""

    cancelled = Signal()

    def __init__(self, cancel: bool = True) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._text = QLabel()
        row = QHBoxLayout()
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setMaximumHeight(14)
        row.addWidget(self._bar)
        self.button = QPushButton("Cancel")
        self.button.setToolTip("Stop this; nothing that is on disk or in the viewer changes.")
        self.button.clicked.connect(self.cancelled)
        self.button.setVisible(cancel)
        row.addWidget(self.button)
        column.addLayout(row)
        column.addWidget(self._text)
        self._began = time.monotonic()
        self.hide()

    def begin(self, text: str) -> None:
        """Show that something goes on whose length is not known yet."""
        self._began = time.monotonic()
        self._bar.setRange(0, 0)
        self._text.setText(text)
        self.show()

    def step(self, text: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done, and how long the rest will take."""
        passed = time.monotonic() - self._began
        left = f", {duration(passed * (total - done) / done)} left" if done and passed > 2 else ""
        self.show_share(f"{text} {done} of {total}{left}", done, total)

    def show_share(self, text: str, done: float, total: float) -> None:
        """Show a share and a text as it is."""
        self._bar.setRange(0, 1000)
        self._bar.setValue(round(1000 * done / total) if total else 0)
        self._text.setText(text)
        self.show()


def narrow_combo(tooltip: str) -> QComboBox:
    """Return a choice that asks for no more width than a dock has, however long its entries are."""
    combo = QComboBox()
    combo.setToolTip(tooltip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(12)
    return combo


def duration(seconds: float) -> str:
    """Return a duration as a person says it: ``0.4 s``, ``12 s``, ``3 min``, ``1 h 20 min``."""
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def choose_folder(parent: QWidget, title: str) -> Path | None:
    """Ask for a folder; None when the user thinks better of it."""
    chosen = QFileDialog.getExistingDirectory(parent, title)
    return Path(chosen) if chosen else None


def choose_file(parent: QWidget, title: str, filters: str) -> Path | None:
    """Ask for an existing file; None when the user thinks better of it."""
    chosen, _ = QFileDialog.getOpenFileName(parent, title, "", filters)
    return Path(chosen) if chosen else None


def choose_new_file(parent: QWidget, title: str, suggestion: str, kinds: Sequence[str]) -> tuple[Path, str] | None:
    """Ask for a file to write, and of which of `kinds` it shall be; the dialog itself asks before one is replaced.

    A name without an ending gets the first one of its kind.
    """
    chosen, kind = QFileDialog.getSaveFileName(parent, title, suggestion, ";;".join(kinds))
    if not chosen:
        return None
    endings = re.findall(r"\*(\.[\w.]+)", kind)
    path = Path(chosen)
    return (path if path.suffix or not endings else path.with_name(path.name + endings[0])), kind
