"""A `TrainConfig` as a form: the few settings that matter on top, the rest folded by section, all made from the config's own fields."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks import network_info, network_names
from napari_seg3d.training import TrainConfig
from napari_seg3d.widgets.parts import Folded
from napari_seg3d.widgets.setting_fields import SettingField, make_field

# The Data dock chooses these.
_NOT_SHOWN = ("data.images", "data.masks")
_FILES = {"data.subjects": "Tables (*.csv)", "network.pretrained": "Models (*.pt)"}
# What nothing means, where "none" would not say it.
_EMPTY = {
    "optimization.minutes": "no limit",
    "optimization.max_iterations": "no limit",
    "optimization.epochs": "no limit",
    "optimization.patience": "whole budget",
    "optimization.metric_label": "mean of all",
    "optimization.class_weights": "all the same, or 1: 1, 2: 4",
    "sampling.label_weights": "all the same, or 1: 1, 2: 5",
    "sampling.window": "by the patch",
    "network.options": "such as dropout: 0.2",
    "network.pretrained": "random weights",
}
_WRONG = "color: #e06c60"
_DEFAULTS = TrainConfig.parse({"data": {"images": "."}}).to_dict()


@dataclass
class _Row:
    """A setting in the form."""

    field: SettingField
    label: QLabel
    title: str
    reset: QToolButton


class ConfigForm(QWidget):
    """Shows and edits a `TrainConfig`; needs no viewer and no data.

    What is not the default is marked, and can be set back.

    Parameters
    ----------
    config : TrainConfig
        What to begin with. Settings that the form does not show (the data) stay as they are in it.

    Attributes
    ----------
    more : Folded
        All but the settings that matter most.
    sections : dict of str to Folded
        The parts of it, by the name of the section.
    """

    #: Emitted after every change that a person or `setValue` makes.
    valueChanged = Signal()

    def __init__(self, config: TrainConfig, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._base = config
        self._rows: dict[str, _Row] = {}
        self._titles: dict[str, str] = {}
        self.sections: dict[str, Folded] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        top = _form()
        layout.addLayout(top)
        self.more = Folded(
            "More choices",
            "Everything else that can be set. The defaults suit most data; each has a tooltip that says when to touch it.",
        )
        for section, about in TrainConfig.model_fields.items():
            self._add_section(section, about, top)
        layout.addWidget(self.more)
        self._error = QLabel()
        self._error.setWordWrap(True)
        self._error.setStyleSheet(_WRONG)
        self._error.hide()
        layout.addWidget(self._error)
        self.setValue(config)

    def value(self) -> TrainConfig:
        """Return what the form says; a ConfigError names the setting that cannot be used."""
        return self._base.with_values({name: row.field.value() for name, row in self._rows.items()})

    def setValue(self, config: TrainConfig) -> None:
        """Show another config."""
        self._base = config
        values = config.to_dict()
        for name, row in self._rows.items():
            self._show(row, _setting(values, name))
        self._changed()

    def editor(self, name: str) -> QWidget:
        """Return the control of a dotted setting, such as ``optimization.minutes``."""
        return self._rows[name].field.widget

    def is_changed(self, name: str) -> bool:
        """Return whether a dotted setting is marked as not being the default."""
        return self._rows[name].reset.isEnabled()

    def set_back(self, name: str) -> None:
        """Set a dotted setting back to its default."""
        self._show(self._rows[name], _setting(_DEFAULTS, name))
        self._changed()

    def _add_section(self, section: str, about: FieldInfo, top: QFormLayout) -> None:
        settings = about.annotation.model_fields  # type: ignore[union-attr]  # every field is a section
        rows = _form()
        for name, field in settings.items():
            dotted = f"{section}.{name}"
            if dotted not in _NOT_SHOWN:
                is_basic = isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("basic"))
                self._add(top if is_basic else rows, dotted, field)
        title = self._titles[section] = about.title or section.capitalize()
        words = (about.annotation.__doc__ or "").strip().splitlines()[0]
        folded = self.sections[section] = Folded(title, words)
        folded.rows.setContentsMargins(12, 0, 0, 6)
        folded.rows.addLayout(rows)
        self.more.rows.addWidget(folded)

    def _add(self, form: QFormLayout, name: str, about: FieldInfo) -> None:
        field = make_field(about, self._changed, _FILES.get(name, ""), _EMPTY.get(name, "none"))
        title = about.title or name
        label = QLabel(title)
        reset = QToolButton()
        reset.setText("↺")
        reset.setAutoRaise(True)
        reset.setToolTip(f"<p>Set {title} back to its default.</p>")
        reset.clicked.connect(lambda: self.set_back(name))
        keeps = QSizePolicy()
        keeps.setRetainSizeWhenHidden(True)
        reset.setSizePolicy(keeps)
        for widget in (label, field.widget):
            widget.setToolTip(f"<p>{about.description}</p>")
        line = QHBoxLayout()
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(2)
        line.addWidget(field.widget, 1)
        line.addWidget(reset)
        form.addRow(label, line)
        self._rows[name] = _Row(field, label, title, reset)

    def _show(self, row: _Row, value: object) -> None:
        row.field.widget.blockSignals(True)
        row.field.setValue(value)
        row.field.widget.blockSignals(False)

    def _changed(self) -> None:
        problem = ""
        try:
            values = self.value().to_dict()
        except ConfigError as error:
            problem, values = error.what, {}
        self._error.setText(problem)
        self._error.setVisible(bool(problem))
        changed = dict.fromkeys(self.sections, 0)
        for name, row in self._rows.items():
            default = _setting(_DEFAULTS, name)
            # While something else is wrong the control itself has to say it.
            is_changed = (_setting(values, name) if values else row.field.value()) != default
            changed[name.split(".")[0]] += is_changed
            row.label.setText(f"<b>{row.title} •</b>" if is_changed else row.title)
            row.label.setStyleSheet(_WRONG if f"{name} =" in problem else "")
            row.reset.setEnabled(is_changed)
            row.reset.setVisible(is_changed)
        self._say_options()
        for section, folded in self.sections.items():
            folded.setText(f"{self._titles[section]} ({changed[section]} changed)" if changed[section] else self._titles[section])
        self.valueChanged.emit()

    def _say_options(self) -> None:
        """Say what the chosen network may be told."""
        row = self._rows["network.options"]
        name = str(self._rows["network.name"].field.value())
        options = network_info(name).options if name in network_names() else ()
        known = "".join(f"<br><b>{option.name}: {option.default}</b> {option.help}" for option in options)
        about = f"What only this network knows, such as {options[0].name}: {options[0].default}. {known}" if options else ""
        row.field.widget.setToolTip(f"<p>{about or f'The network {name} has no options.'}</p>")
        row.label.setToolTip(row.field.widget.toolTip())


def _setting(values: dict[str, dict[str, object]], name: str) -> object:
    section, setting = name.split(".")
    return values[section][setting]


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form
