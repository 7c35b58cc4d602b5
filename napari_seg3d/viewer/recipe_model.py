"""`RecipeModel`: the steps that are edited, where they came from, and whether training shall use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from qtpy.QtCore import QObject, Signal

from napari_seg3d.errors import ConfigError
from napari_seg3d.training import TrainConfig
from napari_seg3d.training.plan import Fingerprint, fingerprint_of, planned_preprocessing
from napari_seg3d.transforms import (
    Pipeline,
    Recipe,
    Step,
    augmentation_pipeline,
    load_preset,
    load_recipe,
    save_recipe,
)
from napari_seg3d.viewer.data_model import DataModel

Kind = Literal["preprocessing", "augmentation"]
KINDS: tuple[Kind, Kind] = ("preprocessing", "augmentation")


class RecipeModel(QObject):
    """The two lists of steps.

    Parameters
    ----------
    data : DataModel
        The data set that is open: the default resamples to the median of its spacings.

    Attributes
    ----------
    name, description : str
        Of the recipe; empty where it has none.
    config : TrainConfig
        What the Train dock would start.
    """

    #: The steps, or the name, are others.
    changed = Signal()
    #: What the Train dock would start is another: it was changed there, or steps were handed over.
    configChanged = Signal()

    def __init__(self, data: DataModel) -> None:
        super().__init__()
        self._data = data
        self.name, self.description = "", ""
        self.config = TrainConfig.parse({"data": {"images": "."}})
        # None: what training does by itself, which follows the data set.
        self._steps: dict[Kind, tuple[Step, ...] | None] = dict.fromkeys(KINDS)
        self._by_default = self._defaults()
        data.changed.connect(self._follow)

    @property
    def fingerprint(self) -> Fingerprint | None:
        """What the cases of the data set are like that can train; None before it is checked."""
        report = self._data.report
        return fingerprint_of(report) if report is not None and report.sound else None

    @property
    def label_values(self) -> tuple[int, ...]:
        """The labels that the data set teaches; none before it is checked."""
        report = self._data.report
        return tuple(sorted(value for value in report.dataset.labels if value > 0)) if report else ()

    def steps(self, kind: Kind) -> tuple[Step, ...]:
        """Return the steps of a list."""
        steps = self._steps[kind]
        return self.default(kind) if steps is None else steps

    def default(self, kind: Kind) -> tuple[Step, ...]:
        """Return what training does by itself with the data set that is open."""
        return self._by_default[kind]

    def is_default(self, kind: Kind) -> bool:
        """Return whether a list is what training does by itself."""
        return self.steps(kind) == self.default(kind)

    def value(self) -> Recipe:
        """Return both lists.

        Raises
        ------
        ConfigError
            A step is in the wrong one of the two.
        """
        return Recipe(self.name or "my transforms", self.description, *(Pipeline(self.steps(kind)) for kind in KINDS))

    def set_steps(self, kind: Kind, steps: Sequence[Step]) -> None:
        """Take other steps for a list."""
        if tuple(steps) != self.steps(kind):
            self._steps[kind] = tuple(steps)
            self.changed.emit()

    def set_value(self, recipe: Recipe) -> None:
        """Take all steps of a recipe."""
        self.name, self.description = recipe.name, recipe.description
        self._steps = {"preprocessing": recipe.preprocessing.steps, "augmentation": recipe.augmentation.steps}
        self.changed.emit()

    def take_default(self) -> None:
        """Take what training does by itself."""
        self.name, self.description = "", ""
        self._steps = dict.fromkeys(KINDS)
        self.changed.emit()

    def take_preset(self, name: str) -> None:
        """Take a recipe that comes with the program."""
        self.set_value(load_preset(name))

    def load(self, path: Path) -> None:
        """Take the steps in a file; a ConfigError leaves them as they are."""
        self.set_value(load_recipe(path))

    def save(self, path: Path) -> None:
        """Write the steps to a file, under its name if they have none."""
        save_recipe(replace(self.value(), name=self.name or path.stem), path)

    def settings(self) -> dict[str, Any]:
        """Return the lists as settings of a training run, by their dotted names; "auto" where a list is the default.

        Raises
        ------
        ConfigError
            A step is in the wrong list.
        """
        self.value()
        return {f"transforms.{kind}": "auto" if self.is_default(kind) else Pipeline(self.steps(kind)).to_list() for kind in KINDS}

    def hand_over(self) -> None:
        """Let the next training run use these steps; a ConfigError if it could not."""
        self.set_config(self.config.with_values(self.settings()))

    @property
    def is_handed_over(self) -> bool:
        """Whether the next training run uses these very steps."""
        try:
            return dict(self.config.transforms) == {name.split(".")[1]: value for name, value in self.settings().items()}
        except ConfigError:
            return False

    def set_config(self, config: TrainConfig) -> None:
        """Note what the Train dock would start."""
        if config != self.config:
            self.config = config
            self._follow()
            self.configChanged.emit()

    def _defaults(self) -> dict[Kind, tuple[Step, ...]]:
        # Without a data set there is no median: the scan in view keeps the spacing that it has.
        known = self.fingerprint
        spacing = {} if known or self.config.preprocessing.spacing != "auto" else {"preprocessing.spacing": "native"}
        auto = self.config.with_values({f"transforms.{kind}": "auto" for kind in KINDS} | spacing)
        preprocessing = planned_preprocessing(auto, known or Fingerprint((), {}))
        return {"preprocessing": preprocessing.steps, "augmentation": augmentation_pipeline().steps}

    def _follow(self) -> None:
        """Tell that the default is another, if it is."""
        defaults = self._defaults()
        if defaults != self._by_default:
            self._by_default = defaults
            self.changed.emit()
