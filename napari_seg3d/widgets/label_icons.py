"""The small pictures in the table of labels: a colour, an eye, a padlock; drawn here, so that they need no font that has them."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QBrush, QColor, QIcon, QPainter, QPainterPath, QPen, QPixmap

_SIDE = 32  # drawn at twice the size that is shown, for sharp screens
# They can be told from napari's dark and from its light background.
_STRONG, _FAINT, _LOCKED = "#9a9a9a", "#7a7a7a", "#e0a030"


def swatch(colour: str, filled: bool) -> QIcon:
    """Return a square of a colour; only its edge where the label is hidden."""
    picture, painter = _begin()
    painter.setPen(QPen(QColor(colour), 4))
    painter.setBrush(QBrush(QColor(colour)) if filled else Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(QRectF(4, 4, 24, 24), 4, 4)
    return _end(picture, painter)


def eye(is_open: bool) -> QIcon:
    """Return an eye, crossed out when it is not open."""
    picture, painter = _begin()
    painter.setPen(QPen(QColor(_STRONG if is_open else _FAINT), 3))
    lids = QPainterPath(QPointF(2, 16))
    lids.quadTo(16, 2, 30, 16)
    lids.quadTo(16, 30, 2, 16)
    painter.drawPath(lids)
    if is_open:
        painter.setBrush(QBrush(QColor(_STRONG)))
        painter.drawEllipse(QPointF(16, 16), 4, 4)
    else:
        painter.drawLine(QPointF(5, 28), QPointF(27, 4))
    return _end(picture, painter)


def padlock(is_closed: bool) -> QIcon:
    """Return a padlock, closed and coloured or open and faint."""
    picture, painter = _begin()
    colour = QColor(_LOCKED if is_closed else _FAINT)
    painter.setPen(QPen(colour, 3))
    painter.setBrush(QBrush(colour) if is_closed else Qt.BrushStyle.NoBrush)
    painter.drawRect(QRectF(6, 15, 20, 14))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    left = 10 if is_closed else 18  # an open one has its bow swung to the side
    painter.drawArc(QRectF(left, 4, 12, 20), 0, 180 * 16)
    return _end(picture, painter)


def _begin() -> tuple[QPixmap, QPainter]:
    picture = QPixmap(_SIDE, _SIDE)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    return picture, painter


def _end(picture: QPixmap, painter: QPainter) -> QIcon:
    painter.end()
    return QIcon(picture)
