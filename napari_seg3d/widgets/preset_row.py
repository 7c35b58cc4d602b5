"""The choice of a preset: `auto`, or the settings of a known system."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_seg3d.training import TrainConfig
from napari_seg3d.training.presets import presets
from napari_seg3d.viewer.preset_choice import AUTO

_AUTO_TITLE = "auto: by the data and the device"
_AUTO_TIP = "Everything is chosen from the data set and the device; Show the plan says what, and why."


class PresetRow(QWidget):
    """Offers presets, and says what was changed since one was chosen.

    Attributes
    ----------
    choice : QComboBox
        The presets; nothing is chosen when the settings came from elsewhere.
    note : QLabel
        How many settings were changed since.
    """

    #: A preset was chosen, by name, `AUTO` for none; and the one that was before, or None.
    chosen = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.addWidget(label := QLabel("Preset"))
        self.choice = QComboBox()
        self.choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.choice.setMinimumContentsLength(12)
        self.choice.setPlaceholderText("settings of your own")
        self.choice.addItem(_AUTO_TITLE, AUTO)
        self.choice.setItemData(0, f"<p>{_AUTO_TIP}</p>", Qt.ItemDataRole.ToolTipRole)
        for name, preset in presets().items():
            self.choice.addItem(preset.title, name)
            self.choice.setItemData(
                self.choice.count() - 1, f"<p><b>{preset.title}</b><br>{preset.description}</p>", Qt.ItemDataRole.ToolTipRole
            )
        label.setToolTip("<p>A known system whose settings are taken; the default suits most data.</p>")
        self.choice.activated.connect(lambda _index: self._choose())
        row.addWidget(self.choice, 1)
        column.addLayout(row)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.hide()
        column.addWidget(self.note)
        self.choice.setCurrentIndex(0)
        self._before: str | None = AUTO
        self._show_tip()

    @property
    def name(self) -> str | None:
        """The chosen preset, `AUTO`, or None."""
        return self.choice.currentData()  # type: ignore[no-any-return]

    def forget(self) -> None:
        """Say that the settings came from elsewhere."""
        self.choice.setCurrentIndex(-1)
        self._before = None
        self.note.hide()
        self._show_tip()

    def show_changes(self, config: TrainConfig) -> None:
        """Say how many settings are others than those of the preset; what no preset touches does not count."""
        self._show_tip()
        if self.name in (None, AUTO):
            self.note.hide()
            return
        now, then = config.to_dict(), config.with_preset(self.name).to_dict()
        differing = sum(value != then[section][name] for section, settings in now.items() for name, value in settings.items())
        self.note.setText(f"{differing} {'setting was' if differing == 1 else 'settings were'} changed. Choose it again to undo.")
        self.note.setVisible(differing > 0)

    def _choose(self) -> None:
        before, self._before = self._before, self.name
        self.chosen.emit(self.name, before)

    def _show_tip(self) -> None:
        index = self.choice.currentIndex()
        tip = self.choice.itemData(index, Qt.ItemDataRole.ToolTipRole) if index >= 0 else None
        self.choice.setToolTip(tip or "<p>The settings are your own. Choose a preset to take its settings instead.</p>")
