"""`StoredSplit`: who trains, validates and tests, as a data set keeps it in its ``dataset.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_seg3d.errors import DatasetError

Method = Literal["fraction", "folds", "stride", "lists"]
#: The set of a case: with folds, the number of the one in which it validates, or "train" where it trains in all.
Place = Literal["train", "validation"] | int
Test = Literal["test"]

_FIX = "Correct the split in dataset.yaml, or make it anew (napari-seg3d split, or Split in the Data dock)."

_NAMES: dict[str, Place | Test] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
_USED: dict[Method, tuple[str, ...]] = {
    "fraction": ("validation", "seed"),
    "folds": ("folds", "seed"),
    "stride": ("stride",),
    "lists": (),
}


def place_named(text: str) -> Place | Test | None:
    """Return the set that a word in a list means, such as ``"val"`` or ``"fold 2"``; None where it means none."""
    word = text.strip().lower()
    number = word.removeprefix("fold").strip()
    return int(number) if number.isdecimal() and number.isascii() and int(number) else _NAMES.get(word)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    method: Method
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    stride: Annotated[int, Field(ge=2)] = 10
    seed: Annotated[int, Field(ge=0)] = 0
    sets: dict[str, Literal["train", "validation"] | Annotated[int, Field(strict=True, ge=1)]] = {}
    test: list[str] = []
    test_content: dict[str, Annotated[str, Field(pattern=r"^\d+x\d+x\d+x\d+_[^_]+_[^_]+-[0-9a-f]{64}$")]] = {}


@dataclass(frozen=True)
class StoredSplit:
    """Who trains, validates and tests, and how that was decided.

    Parameters
    ----------
    method : {"fraction", "folds", "stride", "lists"}
        A share of the subjects validates; each fold of them in turn; every n-th; or whoever is named.
    validation : float
        The share, between 0 and 1.
    folds : int
        How many.
    stride : int
        Every so many subjects one validates.
    seed : int
        Of the draw.
    sets : mapping of str to {"train", "validation"} or int
        Case id -> its set; with folds, the number (from 1) of the one in which it validates. Cases that came later are not in it:
        they go where their subject is, or train.
    test : tuple of str
        Ids of the cases that neither train nor validate.
    test_content : mapping of str to str
        Case id -> what its scan holds (see :func:`napari_seg3d.datasets.content_of`), once the test set is frozen. A frozen test
        set changes only after `unfrozen`.

    Raises
    ------
    DatasetError
        A value is out of range, or a case of the test set has another set as well.
    """

    method: Method
    validation: float = 0.2
    folds: int = 5
    stride: int = 10
    seed: int = 0
    sets: Mapping[str, Place] = field(default_factory=dict)
    test: tuple[str, ...] = ()
    test_content: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            _Entry.model_validate(self._values())
        except ValidationError as error:
            raise DatasetError(f"The split cannot be used: {_in_words(error)}.", _FIX) from error
        object.__setattr__(self, "test", tuple(sorted(set(self.test))))
        both = sorted(self.held_back & set(self.sets))
        if both:
            others = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
            raise DatasetError(
                f"{both[0]}{others} is in the test set, and its set is {self.sets[both[0]]} as well.",
                "A case of the test set never trains: remove it from sets, or unfreeze the test set and take it out of that.",
            )
        strange = sorted(str(place) for place in set(self.sets.values()) if place not in self.places)
        if strange:
            known = f"train and the folds 1 to {self.folds}" if self.method == "folds" else "train and validation"
            raise DatasetError(f"There is no set {strange[0]}: by the method {self.method} there are {known}.", _FIX)

    @property
    def places(self) -> tuple[Place, ...]:
        """The sets that there are beside the test set."""
        return ("train", *range(1, self.folds + 1)) if self.method == "folds" else ("train", "validation")

    @property
    def is_frozen(self) -> bool:
        """Whether the test set may no longer change."""
        return bool(self.test_content)

    @property
    def held_back(self) -> frozenset[str]:
        """Ids that never train and never validate."""
        return frozenset(self.test) | frozenset(self.test_content)

    def place_of(self, case: str) -> Place | Test | None:
        """Return the set of a case, or None where it has none of its own."""
        return "test" if case in self.held_back else self.sets.get(case)

    @classmethod
    def of_places(cls, places: Mapping[str, Place | Test]) -> Self:
        """Return the split that puts each case where a person or a list says; a DatasetError where folds and validation are mixed."""
        folds = max((place for place in places.values() if isinstance(place, int)), default=0)
        return cls(
            "folds" if folds else "lists",
            folds=max(folds, 2) if folds else 5,
            sets={case: place for case, place in sorted(places.items()) if place != "test"},
            test=tuple(case for case, place in places.items() if place == "test"),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Return the split that ``dataset.yaml`` describes; a DatasetError says what is wrong with it."""
        try:
            entry = _Entry.model_validate(dict(values))
        except ValidationError as error:
            raise DatasetError(f"The split cannot be used: {_in_words(error)}.", _FIX) from error
        return cls(**{**entry.model_dump(), "test": tuple(entry.test)})

    def to_dict(self) -> dict[str, object]:
        """Return it as plain lists, numbers and strings; what its method does not use is left out where it is the default."""
        always = {"method", "sets", *_USED[self.method]}
        usual = {name: one.default for name, one in _Entry.model_fields.items()}
        return {name: value for name, value in self._values().items() if name in always or value != usual[name]}

    def _values(self) -> dict[str, object]:
        return {
            "method": self.method,
            "validation": self.validation,
            "folds": self.folds,
            "stride": self.stride,
            "seed": self.seed,
            "sets": dict(sorted(self.sets.items())),
            "test": sorted(self.test),
            "test_content": dict(sorted(self.test_content.items())),
        }


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden":
        return f"{place} is no known entry; known are {', '.join(_Entry.model_fields)}"
    if first["loc"][:1] == ("sets",):
        return f"the set of {first['loc'][1]} is {first['input']!r:.60}, and not train, validation or the number of a fold"
    if first["loc"][:1] == ("test_content",):
        return f"{place} is {first['input']!r:.60}, which freezing the test set did not write"
    return f"{place}: {first['msg'].lower()} (there is {first['input']!r:.60})"
