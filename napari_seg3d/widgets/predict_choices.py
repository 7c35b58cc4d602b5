"""What may be chosen about a prediction, folded away: the defaults are right nearly always."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from napari.layers import Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QMenu, QSizePolicy, QSpinBox, QToolButton

from napari_seg3d.inference import EngineName, Mode, ModelSpec, PatientAxis, PredictOptions
from napari_seg3d.inference.windows import Blending
from napari_seg3d.widgets.parts import Folded

#: What the modes are called, for networks that see volumes and for those that see slices.
_MODES: dict[int, dict[Mode, str]] = {
    3: {"whole": "Whole scan", "patches": "Patches"},
    2: {"whole": "Whole slices", "patches": "Patches of slices"},
}
_BLENDINGS: dict[Blending, str] = {
    "gaussian": "Gaussian (as nnU-Net)",
    "hann": "Hann (raised cosine)",
    "average": "Average",
    "crop": "Nearest middle (crop)",
}
_FLIPS: dict[PatientAxis, tuple[str, str]] = {
    "R": ("R–L", "Right and left. Not where the labels tell left from right: the mirror image has them the other way round."),
    "A": ("A–P", "Front and back. Seldom worth it for patients, who lie on their backs."),
    "S": ("S–I", "Head and feet. Seldom worth it: a network knows which end is up."),
}
_ENGINES: dict[EngineName, str] = {
    "auto": "The faster one (measured)",
    "torch": "torch",
    "openvino": "OpenVINO",
}


class PredictChoices(Folded):
    """Mode, overlap, blending, mirror images, region, engine, and what is shown beside the mask."""

    #: The user wants to draw a region.
    drawRequested = Signal()
    #: Something was chosen that may change how much memory is needed.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__(
            "More choices", "How the scan is cut for the network, what part of it, and what is shown beside the mask."
        )
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.modes = _combo(
            "As trained is right nearly always. Whole scans are quicker where the memory holds them; patches need less memory."
        )
        form.addRow("Mode", self.modes)

        self.overlap = QSpinBox()
        self.overlap.setRange(0, 90)
        self.overlap.setSuffix(" %")
        self.overlap.setToolTip(
            "<p>How much of a patch the next one sees again. More makes smoother borders between patches and takes longer: in 3D, 75 % "
            "takes about eight times as long as 50 %.</p>"
        )
        form.addRow("Overlap", self.overlap)
        self.blending = _combo(
            "How the answers of patches that overlap are weighted. Gaussian trusts the middle of a patch most."
        )
        for blending, name in _BLENDINGS.items():
            self.blending.addItem(name, blending)
        form.addRow("Blending", self.blending)

        self.flips: dict[PatientAxis, QCheckBox] = {}
        row = QHBoxLayout()
        for axis, (name, when) in _FLIPS.items():
            box = QCheckBox(name)
            box.setToolTip(
                f"<p>Shows the network mirror images as well and averages: a little better, twice the time for each axis. {when}</p>"
            )
            row.addWidget(box)
            self.flips[axis] = box
        row.addStretch(1)
        form.addRow("Mirror", row)

        self.partners = QToolButton()
        self.partners.setToolTip(
            "<p>Further models of the same labels, such as other folds. Their probabilities are averaged, which takes as many times as long "
            "and is often better; with uncertainty, where they disagree is shown.</p>"
        )
        self.partners.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.partners.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._partner_menu = QMenu(self.partners)
        self.partners.setMenu(self._partner_menu)
        form.addRow("Together with", self.partners)

        self.regions = _combo(
            "Only what lies in the box around everything that is drawn in a shapes layer; the rest stays empty."
        )
        draw = QToolButton()
        draw.setText("Draw")
        draw.setToolTip("<p>Adds a layer to draw a rectangle in. Drawn on one slice, it reaches through all of them.</p>")
        draw.clicked.connect(self.drawRequested)
        where = QHBoxLayout()
        where.addWidget(self.regions, 1)
        where.addWidget(draw)
        form.addRow("Region", where)

        self.uncertainty = QCheckBox("uncertainty")
        self.uncertainty.setToolTip(
            "<p>Adds a layer that is bright where the model is unsure (the entropy of its probabilities), and with mirror images one where "
            "these disagree.</p>"
        )
        self.probabilities = QCheckBox("probabilities")
        self.probabilities.setToolTip(
            "<p>Adds a layer with the probability of each label. They take as much memory as as many scans.</p>"
        )
        shown = QHBoxLayout()
        for box in (self.uncertainty, self.probabilities):
            shown.addWidget(box)
        shown.addStretch(1)
        form.addRow("Show", shown)

        self.engine = _combo(
            "What computes the network on a CPU. torch is the reference; OpenVINO is often faster, and its answers differ in the last "
            "digits. The faster one is found by trying both, once for each model."
        )
        for engine, name in _ENGINES.items():
            self.engine.addItem(name, engine)
        form.addRow("Engine", self.engine)
        self.rows.addLayout(form)

        standard = PredictOptions()
        self.overlap.setValue(round(100 * standard.overlap))
        self.modes.currentIndexChanged.connect(self._enable)
        for combo in (self.modes, self.blending, self.regions):
            combo.currentIndexChanged.connect(self.changed)
        for box in (*self.flips.values(), self.uncertainty, self.probabilities):
            box.toggled.connect(self.changed)
        self.overlap.valueChanged.connect(self.changed)
        self.set_model(None)
        self.set_models({})
        self.set_regions([])

    def options(self) -> PredictOptions:
        """Return what is chosen, but for the region."""
        return PredictOptions(
            mode=self.modes.currentData(),
            overlap=self.overlap.value() / 100,
            blending=self.blending.currentData(),
            flips=tuple(axis for axis, box in self.flips.items() if box.isChecked()),
            probabilities=self.probabilities.isChecked(),
            uncertainty=self.uncertainty.isChecked(),
        )

    @property
    def models(self) -> list[Path]:
        """The models that answer together with the chosen one."""
        return [action.data() for action in self._partner_menu.actions() if action.isChecked()]

    def set_models(self, models: Mapping[Path, str]) -> None:
        """Offer the models beside the chosen one, by name; what was checked stays so."""
        checked = self.models
        self._partner_menu.clear()
        for path, name in models.items():
            action = self._partner_menu.addAction(name)
            action.setData(path)
            action.setCheckable(True)
            action.setChecked(path in checked)
            action.toggled.connect(self._name_partners)
            action.toggled.connect(self.changed)
        self._name_partners()

    def _name_partners(self) -> None:
        chosen = [action.text() for action in self._partner_menu.actions() if action.isChecked()]
        self.partners.setText(
            "no other model" if not chosen else chosen[0] if len(chosen) == 1 else f"{len(chosen)} other models"
        )
        self.partners.setEnabled(bool(self._partner_menu.actions()))

    @property
    def region(self) -> Shapes | None:
        """The layer around whose shapes is predicted; None for the whole scan."""
        shapes: Shapes | None = self.regions.currentData()
        return shapes

    def set_model(self, spec: ModelSpec | None) -> None:
        """Offer the modes by the names that fit a model; the choice stays where it can."""
        chosen = self.modes.currentData()
        names = _MODES[spec.network.dims if spec is not None else 3]
        self._trained: Mode = spec.mode if spec is not None else "patches"
        trained = f"As trained ({names[spec.mode].lower()})" if spec is not None else "As trained"
        self.modes.blockSignals(True)  # while the list is empty there is no mode
        self.modes.clear()
        for mode, name in ({"auto": trained} | names).items():
            self.modes.addItem(name, mode)
        self.modes.setCurrentIndex(max(0, self.modes.findData(chosen)))
        self.modes.blockSignals(False)
        self._enable()

    def set_regions(self, layers: list[Shapes]) -> None:
        """Offer the shapes layers that there are; the choice stays where it can."""
        chosen = self.region
        self.regions.clear()
        self.regions.addItem("Whole scan", None)
        for layer in layers:
            self.regions.addItem(layer.name, layer)
        self.regions.setCurrentIndex(1 + layers.index(chosen) if chosen in layers else 0)

    def choose_region(self, layer: Shapes) -> None:
        """Choose a shapes layer that is offered."""
        for row in range(self.regions.count()):
            if self.regions.itemData(row) == layer:
                self.regions.setCurrentIndex(row)

    def _enable(self) -> None:
        """Only patches overlap."""
        mode = self.modes.currentData()
        in_patches = (self._trained if mode == "auto" else mode) == "patches"
        for field in (self.overlap, self.blending):
            field.setEnabled(in_patches)


def _combo(tooltip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(f"<p>{tooltip}</p>")
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo
