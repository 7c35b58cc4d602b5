"""Which sizes a network takes, told before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from napari_seg3d.errors import ConfigError
from napari_seg3d.networks.spec import NetworkSpec
from napari_seg3d.networks.zoo import NETWORKS


def check_sides(spec: NetworkSpec, sides: Sequence[int]) -> None:
    """Refuse a size that the network cannot take.

    Parameters
    ----------
    spec : NetworkSpec
        The network.
    sides : two or three ints
        Size of what it is shown; for 2D networks a third side, if any, is 1.

    Raises
    ------
    ConfigError
        Names the side and the nearest sizes that fit.
    """
    shown = " x ".join(map(str, sides))
    if spec.dims == 2 and any(side != 1 for side in sides[2:]):
        raise ConfigError(f"{spec.name} looks at slices, and {shown} is a volume.", "Let the third side be 1, or choose dims 3.")
    sides = tuple(sides[: spec.dims])
    if len(sides) < spec.dims or min(sides) < 1:
        raise ConfigError(f"{shown} is no size for a {spec.dims}D network.", f"Give {spec.dims} sides of one voxel or more.")
    fixed = _fixed_sides(spec)
    if fixed is not None:
        if sides != fixed:
            raise ConfigError(
                f"This {spec.name} takes {' x '.join(map(str, fixed))} voxels only, not {shown}.",
                "Choose that size, or train it for another: its image size is one of its options.",
            )
        return
    for axis, (side, step) in enumerate(zip(sides, spec.divisor, strict=False)):
        if side % step:
            below, above = side // step * step, -(-side // step) * step
            near = f"{below} or {above}" if below else f"{above}"
            raise ConfigError(
                f"Side {axis + 1} of {shown} is {side}, and {spec.name} with {len(spec.features)} levels takes multiples of {step} there.",
                f"Choose {near}.",
            )
    deepest = [-(-side // step) for side, step in zip(sides, spec.shrinking, strict=False)]
    if max(deepest) < 2:
        raise ConfigError(
            f"Of {shown} voxels a single one is left at the deepest level of {spec.name}, where it cannot be normalised.",
            f"Choose a side of at least {2 * spec.shrinking[0]}, or fewer levels.",
        )


def round_sides(spec: NetworkSpec, sides: Sequence[int]) -> tuple[int, ...]:
    """Return the smallest sizes that the network takes and that hold `sides`; the third side of slices stays 1.

    A network with a fixed size gives that one, whatever was asked for.
    """
    rest = (1,) * (len(sides) - spec.dims)
    fixed = _fixed_sides(spec)
    if fixed is not None:
        return (*fixed, *rest)
    rounded = [-(-max(side, 1) // step) * step for side, step in zip(sides[: spec.dims], spec.divisor, strict=False)]
    if all(side <= step for side, step in zip(rounded, spec.shrinking, strict=False)):
        rounded = [2 * step for step in spec.shrinking[: spec.dims]]
    return (*rounded, *rest)


def output_sides(spec: NetworkSpec, sides: Sequence[int]) -> tuple[int, ...]:
    """Return the size of the output for an input of `sides`: the same, or that of the deepest level where the network answers there."""
    if NETWORKS[spec.name].answers == "voxels":
        return tuple(sides)
    return tuple(-(-side // step) for side, step in zip(sides, spec.shrinking, strict=False))


def _fixed_sides(spec: NetworkSpec) -> tuple[int, ...] | None:
    for option in NETWORKS[spec.name].options:
        value = spec.options.get(option.name)
        if option.kind == "sides" and isinstance(value, list):
            return tuple(value[: spec.dims])
    return None
