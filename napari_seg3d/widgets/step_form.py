"""A step as a form, made from what the catalogue says about its parameters."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import FloatSlider
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms import Parameter, Pipeline, Step, catalogue, info
from napari_seg3d.widgets.step_fields import Field, make_field
from napari_seg3d.widgets.step_list import StepList

_ERROR = "color: #e06c60"


class StepForm(QWidget):
    """Shows and edits one `Step`; needs no viewer and no image.

    Parameters
    ----------
    with_probability : bool
        Whether the step may be applied by chance.
    """

    #: A person changed something; `value` says whether it can be used.
    changed = Signal()

    def __init__(self, with_probability: bool = True) -> None:
        super().__init__()
        self._with_probability = with_probability
        self._step: Step | None = None
        self._fields: dict[str, Field] = {}
        self._problems: dict[str, QLabel] = {}
        self._probability: Any = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._summary = QLabel()
        self._summary.setWordWrap(True)
        column.addWidget(self._summary)
        self._rows: QWidget | None = None
        self._problem = QLabel()
        self._problem.setWordWrap(True)
        self._problem.setStyleSheet(_ERROR)
        column.addWidget(self._problem)
        self.set_value(None)

    @property
    def fields(self) -> dict[str, Field]:
        """The field of each parameter, by its name."""
        return self._fields

    @property
    def probability(self) -> Any:
        """The slider of the probability; None where the step is always applied."""
        return self._probability

    def value(self) -> Step:
        """Return the step.

        Raises
        ------
        ConfigError
            A value cannot be used; the form shows it beside its field.
        """
        assert self._step is not None, "no step is shown"
        about = info(self._step.name)
        values: dict[str, Any] = {}
        for parameter in about.parameters:
            field = self._fields[parameter.name]
            try:
                value = field.value()
            except ValueError as error:
                raise ConfigError(f"{about.name}: {error}.", f"Give {parameter.allowed}.") from error
            # What was left out stays left out while it is the default, so that a file says no more than a person did.
            default = Pipeline.from_list(parameter.default).to_list() if parameter.kind == "steps" else parameter.default
            if parameter.name in self._step.parameters or not _is_equal(value, default):
                values[parameter.name] = value
        probability = self._step.probability if self._probability is None else self._probability_value()
        return Step(about.name, values, probability, self._step.enabled)

    def set_value(self, step: Step | None) -> None:
        """Show another step, or none; a step of the same kind is shown in the same fields."""
        is_same = step is not None and self._step is not None and step.name == self._step.name
        self._step = step
        if not is_same:
            self._build(step)
        if step is not None:
            for name, field in self._fields.items():
                field.set_value(step.values[name])
            if self._probability is not None:
                with self._probability.changed.blocked():
                    self._probability.value = step.probability
        self._say(None)

    def _probability_value(self) -> float:
        assert self._step is not None
        shown, known = float(self._probability.value), self._step.probability
        return known if abs(shown - known) < 0.005 else round(shown, 2)

    def _build(self, step: Step | None) -> None:
        if self._rows is not None:
            self._rows.setParent(None)
            self._rows.deleteLater()
        self._fields, self._problems, self._probability = {}, {}, None
        self._rows = QWidget()
        form = QFormLayout(self._rows)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.layout().insertWidget(1, self._rows)
        self._rows.show()
        self._summary.setText(info(step.name).summary if step is not None else "")
        self._summary.setVisible(step is not None)
        if step is None:
            return
        about = info(step.name)
        if self._with_probability:
            self._add_probability(form)
        for parameter in about.parameters:
            self._add(form, parameter)

    def _add(self, form: QFormLayout, parameter: Parameter) -> None:
        field: Field = Steps() if parameter.kind == "steps" else make_field(parameter)
        unit = f" ({parameter.unit})" if parameter.unit else ""
        label = QLabel(parameter.name.replace("_", " ") + unit)
        label.setWordWrap(True)
        tooltip = f"<p>{parameter.help}</p><p><i>{parameter.name}: {parameter.allowed}.</i></p>"
        problem = QLabel()
        problem.setWordWrap(True)
        problem.setStyleSheet(_ERROR)
        problem.hide()
        for widget in (label, field):
            widget.setToolTip(tooltip)
        if parameter.kind == "steps":
            form.addRow(label)
            form.addRow(field)
        else:
            form.addRow(label, field)
        form.addRow(problem)
        self._fields[parameter.name], self._problems[parameter.name] = field, problem
        field.changed.connect(self._take)

    def _add_probability(self, form: QFormLayout) -> None:
        self._probability = FloatSlider(min=0.0, max=1.0, step=0.01, value=1.0)
        tooltip = "<p>How often the step is applied to a sample: 1 is always, 0.2 once in five.</p>"
        label = QLabel("probability")
        for widget in (label, self._probability.native):
            widget.setToolTip(tooltip)
        form.addRow(label, self._probability.native)
        self._probability.changed.connect(lambda _value: self._take())

    def _take(self) -> None:
        try:
            self.value()
        except ConfigError as error:
            self._say(error)
        else:
            self._say(None)
        self.changed.emit()

    def _say(self, error: ConfigError | None) -> None:
        """Write an error beside the field that it names, or below all of them."""
        what = error.what if error is not None else ""
        name = (
            next((name for name in self._problems if what.startswith(f"{self._step.name}: {name} =")), None)
            if self._step
            else None
        )
        for parameter, label in self._problems.items():
            label.setText(what if parameter == name else "")
            label.setVisible(parameter == name)
        self._problem.setText("" if name else what)
        self._problem.setVisible(bool(what) and name is None)


class Steps(Field):
    """Steps inside a step."""

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 0, 0)
        self.list = StepList({name: about for name, about in catalogue().items() if about.is_random and name != "OneOf"})
        self.form = StepForm()
        column.addWidget(self.list)
        column.addWidget(self.form)
        self.list.changed.connect(self.changed)
        self.list.selected.connect(self._show)
        self.form.changed.connect(self._take)

    def value(self) -> list[dict[str, Any]]:
        """Return the steps as plain values."""
        row = self.list.rows.currentRow()
        if row >= 0:
            try:
                self.form.value()
            except ConfigError as error:
                raise ValueError(error.what) from error
        return Pipeline(self.list.value()).to_list()

    def set_value(self, value: Any) -> None:
        """Show other steps."""
        steps = Pipeline.from_list(value or []).steps
        if steps != self.list.value():
            self.list.set_value(steps)
        self._show(self.list.rows.currentRow())

    def _show(self, row: int) -> None:
        steps = self.list.value()
        self.form.set_value(steps[row] if 0 <= row < len(steps) else None)

    def _take(self) -> None:
        try:
            step = self.form.value()
        except ConfigError:
            pass  # the form shows it, and `value` says it
        else:
            self.list.replace(self.list.rows.currentRow(), step)
        self.changed.emit()


def _is_equal(value: Any, default: Any) -> bool:
    if isinstance(value, (list, tuple)) and isinstance(default, (list, tuple)):
        return list(value) == list(default)
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)
