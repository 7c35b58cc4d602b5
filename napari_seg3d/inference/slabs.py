"""Convolutions of large volumes, slab by slab: a single one may take longer than anybody who cancels wants to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_seg3d.errors import Cancelled

if TYPE_CHECKING:
    import torch

#: Multiplications between two looks: a CPU does some hundred billion a second.
MOST_PRODUCTS = 2**35


class _Convolution(NamedTuple):
    """The arguments of torch.conv3d."""

    images: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] | str = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1


def convolved(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], cancelled: Callable[[], bool]) -> Any:
    """Call a function of torch; a 3D convolution that takes long is computed in slabs along the first side, to the same numbers.

    Parameters
    ----------
    function, args, kwargs
        Any function of torch, and what it is called with.
    cancelled : callable
        Asked before each slab.

    Raises
    ------
    Cancelled
        `cancelled` returned True.
    """
    import torch

    slabs: list[_Slab] = []
    if function is torch.conv3d and not kwargs:
        slabs = _forward_slabs(_Convolution(*args))
    elif function is torch.conv_transpose3d and not kwargs:
        slabs = _transposed_slabs(_Transposed(*args))
    if len(slabs) < 2:
        return function(*args, **kwargs)
    whole: torch.Tensor | None = None
    reach = slabs[-1].stop
    for slab in slabs:
        if cancelled():
            raise Cancelled("The prediction was cancelled.")
        part = slab.compute(function)
        if whole is None:
            layout = (
                torch.channels_last_3d if part.is_contiguous(memory_format=torch.channels_last_3d) else torch.contiguous_format
            )
            whole = torch.empty(
                (*part.shape[:2], reach, *part.shape[3:]), dtype=part.dtype, device=part.device, memory_format=layout
            )
        whole[:, :, slab.start : slab.stop] = part
    return whole


class _Transposed(NamedTuple):
    """The arguments of torch.conv_transpose3d."""

    images: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    output_padding: int | tuple[int, ...] = 0
    groups: int = 1
    dilation: int | tuple[int, ...] = 1


class _Slab(NamedTuple):
    """A part of an answer, from `start` to `stop`, and how it is computed."""

    start: int
    stop: int
    asked: _Convolution | _Transposed
    first: int  # of the planes that it sees, as many as `planes`; those that do not exist are zero
    planes: int

    def compute(self, function: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Return the answer."""
        import torch

        there = self.asked.images.shape[2]
        low, high = (min(max(plane, 0), there) for plane in (self.first, self.first + self.planes))
        seen, lacking = self.asked.images[:, :, low:high], self.planes - (high - low)
        if lacking:
            before = min(low - self.first, lacking)
            seen = torch.nn.functional.pad(seen, (0, 0, 0, 0, max(before, 0), lacking - max(before, 0)))
        return function(*self.asked._replace(images=seen))


def _forward_slabs(asked: _Convolution) -> list[_Slab]:
    """Return the slabs of a convolution; none where it is quick, or padded in a way of its own."""
    images, weight = asked.images, asked.weight
    if images.ndim != 5 or isinstance(asked.padding, str):
        return []
    stride, padding, dilation = (_three(given) for given in (asked.stride, asked.padding, asked.dilation))
    kernel = weight.shape[2:]
    sides = [
        (side + 2 * pad - far * (length - 1) - 1) // step + 1
        for side, pad, far, length, step in zip(images.shape[2:], padding, dilation, kernel, stride, strict=True)
    ]
    products = images.shape[0] * weight.numel() * sides[1] * sides[2]
    within = asked._replace(stride=stride, padding=(0, *padding[1:]), dilation=dilation)
    return [
        _Slab(
            start,
            stop,
            within,
            start * stride[0] - padding[0],
            (stop - start - 1) * stride[0] + dilation[0] * (kernel[0] - 1) + 1,
        )
        for start, stop in _cut(sides[0], products)
    ]


def _transposed_slabs(asked: _Transposed) -> list[_Slab]:
    """Return the slabs of a transposed convolution whose kernel is as long as its step, as in most networks; none for others."""
    images, weight, stride = asked.images, asked.weight, _three(asked.stride)
    is_plain = _three(asked.padding) == _three(asked.output_padding) == (0, 0, 0) and _three(asked.dilation) == (1, 1, 1)
    if images.ndim != 5 or not is_plain or stride != tuple(weight.shape[2:]):
        return []
    products = images.shape[0] * weight.numel() * images.shape[3] * images.shape[4]
    return [
        _Slab(start * stride[0], stop * stride[0], asked, start, stop - start) for start, stop in _cut(images.shape[2], products)
    ]


def _cut(planes: int, products: int) -> Iterator[tuple[int, int]]:
    """Yield first and last plane of slabs of so many planes in all, each of which takes so many multiplications."""
    thickness = max(1, MOST_PRODUCTS // max(1, products))
    yield from ((first, min(first + thickness, planes)) for first in range(0, planes, thickness))


def _three(given: int | tuple[int, ...]) -> tuple[int, int, int]:
    first, *rest = (given,) if isinstance(given, int) else given
    return (first, rest[0], rest[1]) if rest else (first, first, first)
