"""The plan of a training, folded: what `auto` chooses and why, and the network layer by layer."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_seg3d.viewer.plan_model import PlanModel
from napari_seg3d.widgets.layer_table import LayerTable
from napari_seg3d.widgets.parts import Folded, Notice
from napari_seg3d.widgets.plan_view import PlanView


class PlanPanel(QWidget):
    """Shows a `PlanModel`.

    Attributes
    ----------
    button : QPushButton
        Makes the plan.
    view : PlanView
        What was chosen, and why.
    layers : LayerTable
        The network.
    reasons_fold, layers_fold : Folded
        Where these two are.
    """

    #: A plan shall be made for the settings as they are.
    wanted = Signal()
    #: Settings shall be as planned: dotted name -> value.
    taken = Signal(dict)

    def __init__(self, model: PlanModel) -> None:
        super().__init__()
        self._model = model
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.button = QPushButton()
        self.button.setToolTip("<p>Says what auto chooses for this data on this device, and why, before anything starts.</p>")
        self.button.clicked.connect(self.wanted)
        column.addWidget(self.button)
        self.notice = Notice()
        column.addWidget(self.notice)
        self.reasons_fold = Folded("What auto chooses", "Every choice with its reason; each can be made a setting of your own.")
        self.view = PlanView()
        self.view.taken.connect(self.taken)
        self.reasons_fold.rows.addWidget(self.view)
        column.addWidget(self.reasons_fold)
        self.layers_fold = Folded("Network, layer by layer", "Shapes, parameters and memory, and whether a step fits the device.")
        self.layers = LayerTable()
        self.layers_fold.rows.addWidget(self.layers)
        column.addWidget(self.layers_fold)
        self._asked = False
        model.changed.connect(self._show)
        self.wanted.connect(self._note_wish)
        self._show()

    def _note_wish(self) -> None:
        self._asked = True

    def _show(self) -> None:
        model = self._model
        self.button.setEnabled(model.is_possible and model.job is None)
        self.button.setText("Planning…" if model.job is not None else "Show the plan")
        self.notice.say_error(model.error)
        self.view.show_reasons(model.reasons)
        self.reasons_fold.setVisible(bool(model.reasons))
        self.reasons_fold.setText(f"What auto chooses: {model.of}" if model.of else "What auto chooses")
        self.layers.show_layers(model.layers)
        self.layers_fold.setVisible(model.layers is not None)
        self.layers_fold.setText(model.layers.verdict if model.layers is not None else "Network, layer by layer")
        if self._asked and model.job is None and model.reasons:
            self._asked = False
            self.reasons_fold.expand(animate=False)
