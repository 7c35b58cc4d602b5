"""`ToolSpec`: a tool described, so that docks, the cheat sheet of keys and the docs can be made from it. Nothing here knows a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter as Argument
from inspect import signature
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_seg3d.editing.change import Change
from napari_seg3d.editing.limits import Limits
from napari_seg3d.errors import ConfigError
from napari_seg3d.transforms.parameter import Parameter, closest_first

#: How a tool is told where: a stroke, one click, several clicks, a polygon in a slice, the slice that is shown, or nothing but the label.
Gesture = Literal["stroke", "click", "clicks", "polygon", "slice", "label"]
#: What a tool is about; groups of the dock.
Family = Literal["paint", "click", "slices", "strokes", "surface", "pieces", "labels"]
#: Families as people read them, in the order of the dock.
FAMILIES: Mapping[Family, str] = {
    "paint": "Paint",
    "click": "Click",
    "slices": "Slices",
    "strokes": "From strokes",
    "surface": "Surface",
    "pieces": "Pieces",
    "labels": "Labels",
}
# What functions call the places that a gesture gives them.
_DRAWN = ("centres", "place", "seeds", "vertices")


@dataclass(frozen=True)
class Work:
    """What a tool works on.

    Parameters
    ----------
    mask : array of integers
        In two or three dimensions.
    spacing : sequence of float
        The mm of each axis.
    label : int
        The selected label.
    image : array, optional
        The image under the mask, of its shape.
    places : array, optional
        What was drawn, in voxels: (n, d) for a stroke or several clicks, (d,) for one, (n, 2) for a polygon in a slice.
    across, index : int, optional
        The slice that is shown: its number along the axis across it. None in two dimensions.
    source : array of integers, optional
        Another mask of the same scan, of the same shape.
    limits : Limits
        What may be touched; tools in which labels compete take what is locked as walls.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each step.
    """

    mask: NDArray[np.integer]
    spacing: Sequence[float]
    label: int
    image: NDArray[np.integer | np.floating] | None = None
    places: ArrayLike | None = None
    across: int | None = None
    index: int | None = None
    source: NDArray[np.integer] | None = None
    limits: Limits = field(default_factory=Limits)
    progress: Callable[[int, int], None] | None = None
    cancelled: Callable[[], bool] | None = None


@dataclass(frozen=True)
class ToolSpec:
    """One tool.

    Parameters
    ----------
    id : str
        Its name in settings, journals and the command line; never changed.
    title : str
        What people read.
    family : Family
        Where it stands.
    key : str
        The key that chooses it, as napari writes keys: ``"Shift-B"``.
    gesture : Gesture
        How it is told where.
    tooltip : str
        One sentence: what it does.
    use : str
        When to take it, for the docs.
    function : callable
        Returns the `Change`. Its arguments have the names of the fields of `Work` and of the parameters.
    parameters : tuple of Parameter
        What may be chosen. ``in_slice`` is whether it works in the slice that is shown, and not in all directions.
    fixed : mapping
        Arguments that this tool always gives.
    """

    id: str
    title: str
    family: Family
    key: str
    gesture: Gesture
    tooltip: str
    use: str
    function: Callable[..., Change] = field(repr=False)
    parameters: tuple[Parameter, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_image(self) -> bool:
        """Whether it cannot do without the image."""
        image = signature(self.function).parameters.get("image")
        return image is not None and image.default is Argument.empty

    @property
    def takes_source(self) -> bool:
        """Whether it can take labels of another mask."""
        return "source" in signature(self.function).parameters

    @property
    def is_long(self) -> bool:
        """Whether it may take more than a moment, tells its progress and can be cancelled."""
        return "progress" in signature(self.function).parameters

    def defaults(self) -> dict[str, Any]:
        """Return every parameter's default."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return all parameters, those of `values` checked and the others at their defaults.

        Raises
        ------
        ConfigError
            A name is unknown, or a value is out of range.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        checked = self.defaults()
        for name, value in values.items():
            if name not in known:
                names = ", ".join(closest_first(name, list(known)))
                raise ConfigError(f"{self.title} has no parameter {name!r}.", f"It has {names}." if names else "It has none.")
            try:
                checked[name] = known[name].check(value)
            except ValueError as error:
                raise ConfigError(f"{self.title}: {error}.", f"Give {known[name].allowed}.") from error
        return checked

    def run(self, work: Work, values: Mapping[str, Any] | None = None) -> Change:
        """Return what the tool wants to change.

        Parameters
        ----------
        work : Work
            What it works on. It is not written.
        values : mapping, optional
            Parameters; those that are not given have their defaults.

        Raises
        ------
        ConfigError
            As `check`; or the tool needs an image, or something drawn, that the work does not have.
        Seg3dError
            What the tool itself raises.
        """
        chosen = {**self.check(values or {}), **self.fixed}
        in_slice = chosen.pop("in_slice", True)
        asked = signature(self.function).parameters
        given: dict[str, Any] = {}
        for name in asked:
            if name in chosen:
                given[name] = chosen[name]
            elif name in _DRAWN:
                if work.places is None:
                    raise ConfigError(f"{self.title} needs a {self.gesture}, and nothing was drawn.", "Draw it in the scan.")
                given[name] = work.places
            elif name == "image":
                if work.image is None and self.needs_image:
                    raise ConfigError(f"{self.title} looks at the image, and there is none.", "Choose the image of the mask.")
                given[name] = work.image
            elif name == "across":
                given[name] = work.across if in_slice else None
            elif hasattr(work, name):
                given[name] = getattr(work, name)
        return self.function(**given)
