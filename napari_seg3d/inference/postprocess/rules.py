"""What happens to a label after the network, as plain values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: In which directions a hole must be closed: in all of them, or in those of the slices of a plane.
Holes = Literal["no", "3D", "axial", "coronal", "sagittal"]
_LabelValue = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Rule(BaseModel):
    """What happens to one label, in this order: gaps, small pieces, the largest piece, holes.

    Gaps come first, so that what belongs together is one piece before pieces are counted; holes last, so that a piece inside a hole that is
    dropped leaves no hole behind. Pieces are connected by faces, edges and corners (26 neighbours), the background between them by faces.

    Parameters
    ----------
    closing_mm : float, optional
        Gaps that a ball of this radius in mm cannot enter are closed (morphological closing, in millimetres along every axis).
    smallest_ml : float, optional
        Pieces below this volume in ml are dropped.
    smallest_voxels : int, optional
        The same in voxels; one of the two at most.
    largest : bool
        Whether only the largest piece is kept; of equal ones the first along R, A and S.
    holes : {"no", "3D", "axial", "coronal", "sagittal"}
        Whether holes are filled: background that the label encloses and touches. 3D: enclosed in all directions. A plane: enclosed in each
        of its slices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    closing_mm: float | None = Field(None, gt=0, le=30, allow_inf_nan=False)
    smallest_ml: float | None = Field(None, gt=0, le=100_000, allow_inf_nan=False)
    smallest_voxels: int | None = Field(None, ge=1, le=2**40)
    largest: bool = False
    holes: Holes = "no"

    @model_validator(mode="after")
    def _one_size(self) -> Rule:
        if self.smallest_ml is not None and self.smallest_voxels is not None:
            raise ValueError("the smallest piece is given in ml or in voxels, not in both")
        return self

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return self == Rule()

    @property
    def in_words(self) -> str:
        """What it does, for people: ``"largest piece, holes filled"``."""
        parts = [
            f"gaps closed by {self.closing_mm:g} mm" if self.closing_mm else "",
            f"pieces below {self.smallest_ml:g} ml dropped" if self.smallest_ml else "",
            f"pieces below {self.smallest_voxels} voxels dropped" if self.smallest_voxels else "",
            "largest piece only" if self.largest else "",
            "" if self.holes == "no" else "holes filled" if self.holes == "3D" else f"holes in {self.holes} slices filled",
        ]
        return ", ".join(part for part in parts if part) or "nothing"


class Rules(BaseModel):
    """What happens to each label.

    Parameters
    ----------
    every : Rule
        For the labels that have no rule of their own.
    labels : dict of int to Rule
        Value in the mask -> its rule, which holds instead of `every`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Rule = Field(default_factory=Rule)
    labels: dict[_LabelValue, Rule] = Field(default_factory=dict)

    def of(self, label: int) -> Rule:
        """Return the rule for a label."""
        return self.labels.get(label, self.every)

    @property
    def is_empty(self) -> bool:
        """Whether they change nothing."""
        return self.every.is_empty and all(rule.is_empty for rule in self.labels.values())
