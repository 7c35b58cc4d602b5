"""Run a network over a volume: whole, or in overlapping patches that are blended with a Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_seg3d.errors import Cancelled

if TYPE_CHECKING:
    import torch

#: Called with (done, total) after each window.
Progress = Callable[[int, int], None]
#: Returns whether to stop.
CancelCheck = Callable[[], bool]
_OVERLAP = 0.5


def whole_probabilities(
    network: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, divisor: Sequence[int]
) -> torch.Tensor:
    """Return the class probabilities of an image seen at once.

    Parameters
    ----------
    network : callable
        ``(1, C, i, j, k)`` to logits ``(1, classes, i, j, k)``, for sides divisible by `divisor`.
    image : tensor of shape (C, I, J, K)
        Any size: it is padded with its lowest value, and the result cropped back.

    Returns
    -------
    tensor of shape (classes, I, J, K)
        float32, on the CPU, summing to one.
    """
    import torch

    size = [-(-side // step) * step for side, step in zip(image.shape[1:], divisor, strict=True)]
    padded, place = pad_to(image, size)
    logits = network(padded[None])[0]
    return torch.softmax(logits.float(), dim=0).cpu()[(slice(None), *place)]


def patch_probabilities(
    network: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    patch_size: Sequence[int],
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
) -> torch.Tensor:
    """Return the class probabilities of an image seen in overlapping patches.

    Half of a patch overlaps with the next. The logits are weighted with a Gaussian whose sigma is an eighth of the patch, as in
    nnU-Net (Isensee et al., Nature Methods 2021), because a network is least sure at the border of what it sees.

    Parameters
    ----------
    network : callable
        ``(1, C, *patch_size)`` to logits ``(1, classes, *patch_size)``.
    image : tensor of shape (C, I, J, K)
        Any size; smaller than a patch, it is padded with its lowest value.
    patch_size : three ints
        Sides of a patch.
    progress, cancelled : callable, optional
        Told after, and asked before, each patch.

    Returns
    -------
    tensor of shape (classes, I, J, K)
        float32, on the CPU, summing to one.

    Raises
    ------
    Cancelled
        `cancelled` returned True.
    """
    import torch

    padded, place = pad_to(image, [max(side, patch) for side, patch in zip(image.shape[1:], patch_size, strict=True)])
    weight = _gaussian(patch_size)
    total: torch.Tensor | None = None
    weights = torch.zeros(padded.shape[1:])
    corners = list(product(*(_starts(side, patch) for side, patch in zip(padded.shape[1:], patch_size, strict=True))))
    for done, corner in enumerate(corners):
        if cancelled is not None and cancelled():
            raise Cancelled("The prediction was cancelled.")
        window = (slice(None), *(slice(start, start + patch) for start, patch in zip(corner, patch_size, strict=True)))
        logits = network(padded[window][None])[0].float().cpu()
        if total is None:
            total = torch.zeros((logits.shape[0], *padded.shape[1:]))
        total[window] += logits * weight
        weights[window[1:]] += weight
        if progress is not None:
            progress(done + 1, len(corners))
    assert total is not None  # there is always at least one patch
    # In place: two copies of all classes of a large volume are what peers run out of memory with.
    total /= weights
    torch.softmax(total, dim=0, out=total)
    return total[(slice(None), *place)]


def pad_to(image: torch.Tensor, size: Sequence[int]) -> tuple[torch.Tensor, tuple[slice, slice, slice]]:
    """Return `image` padded on both sides to at least `size`, and where in the result it lies."""
    import torch.nn.functional

    before = [max(0, wanted - side) // 2 for side, wanted in zip(image.shape[1:], size, strict=True)]
    after = [max(0, wanted - side) - first for side, wanted, first in zip(image.shape[1:], size, before, strict=True)]
    place = tuple(slice(first, first + side) for first, side in zip(before, image.shape[1:], strict=True))
    if not any(before) and not any(after):
        return image, (place[0], place[1], place[2])
    padding = [edge for pair in zip(reversed(before), reversed(after), strict=True) for edge in pair]
    padded = torch.nn.functional.pad(image, padding, value=float(image.min()))
    return padded, (place[0], place[1], place[2])


def _starts(side: int, patch: int) -> list[int]:
    """Return evenly spaced starts that cover `side`, the last patch ending exactly at its end."""
    step = max(1, int(patch * (1 - _OVERLAP)))
    count = -(-(side - patch) // step) + 1
    return [0] if count == 1 else [round(n * (side - patch) / (count - 1)) for n in range(count)]


def _gaussian(patch_size: Sequence[int]) -> torch.Tensor:
    import torch

    profile = np.ones((), dtype=np.float64)
    for side in patch_size:
        axis = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)
        profile = np.multiply.outer(profile, axis)
    # Never zero, so that a voxel seen only by a patch's corner still has an answer.
    return torch.from_numpy(np.clip(profile / profile.max(), 1e-3, None).astype(np.float32))
