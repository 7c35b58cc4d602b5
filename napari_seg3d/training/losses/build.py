"""`build_loss`: from a name to a function of logits and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from napari_seg3d.errors import ConfigError
from napari_seg3d.training.losses import formulas
from napari_seg3d.training.losses.formulas import Sums

if TYPE_CHECKING:
    import torch

LossName = Literal["dice_ce", "dice", "dice_per_label", "ce", "bce", "generalized_dice", "tversky", "focal", "dice_fn"]
Loss = Callable[[Any, Any], Any]
_Formula = Callable[[Sums, Any], Any]

# What is said about the labels, without the background.
_OVER_LABELS: dict[str, _Formula] = {
    "dice_ce": formulas.dice_per_label,
    "dice": formulas.dice,
    "dice_per_label": formulas.dice_per_label,
    "tversky": formulas.tversky,
    "dice_fn": formulas.dice_of_missed,
}
# What is said about all channels.
_OVER_CHANNELS: dict[str, _Formula] = {
    "dice_ce": formulas.cross_entropy,
    "ce": formulas.cross_entropy,
    "bce": formulas.cross_entropy,
    "focal": formulas.cross_entropy,
    "generalized_dice": formulas.generalized_dice,
}
# Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
_FOCAL_GAMMA = 2.0


def build_loss(
    name: LossName,
    overlapping: bool,
    channels: int,
    weights: Sequence[float] | None = None,
    reduce: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Callable[[torch.Tensor | list[torch.Tensor], torch.Tensor], torch.Tensor]:
    """Return a loss of logits and targets.

    The function that is returned takes logits ``(N, C, ...)`` of any floating type, or a list of these, full resolution first (deep
    supervision: they weigh 1, 1/2, 1/4, … and share one; the target is brought down by nearest neighbour), and a target
    ``(N, T, ...)``: class indices (exclusive, T = 1, background 0) or 0 and 1 (overlapping, T = C). Voxels that are 255 in the target
    are unknown, and count for nothing. It computes in float32.

    Every loss is over the batch as one: a patch without a label then does not punish each wrong voxel as if all were wrong. Those over
    labels leave out the background; cross-entropies and generalised Dice look at it too.

    Parameters
    ----------
    name : str
        ``dice_ce``: mean over the labels of their soft Dice, plus cross-entropy. ``dice``: soft Dice over all labels as one.
        ``dice_per_label``: mean over the labels. ``ce``: cross-entropy; binary for overlapping labels. ``bce``: binary cross-entropy of
        each channel. ``generalized_dice``, ``tversky``, ``focal``, ``dice_fn``: see :mod:`napari_seg3d.training.losses.formulas`.
    overlapping : bool
        Each channel by itself (sigmoid), or one class per voxel (softmax).
    channels : int
        C, with the background where labels are exclusive.
    weights : sequence of float, optional
        How much each channel counts, relative to the others.
    reduce : callable, optional
        Adds up a tensor over all processes that train together, with gradients. Each then has the loss of the whole batch, and the mean
        of their gradients is its gradient.

    Raises
    ------
    ConfigError
        There is not one weight for each channel, or all that the loss looks at are 0.
    """
    import torch

    from napari_seg3d.training.losses.sums import sigmoid_sums, softmax_sums

    first = 0 if overlapping else 1
    values = [1.0] * channels if weights is None else [float(weight) for weight in weights]
    _check(values, channels, first if name in _OVER_LABELS else 0)
    gamma = _FOCAL_GAMMA if name == "focal" else 0.0
    of_labels, of_channels = _OVER_LABELS.get(name), _OVER_CHANNELS.get(name)

    def sums_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        target = _brought_down(target, logits.shape[2:])
        if overlapping:
            return sigmoid_sums(logits, target, gamma)
        if name == "bce":
            return sigmoid_sums(logits, _one_hot(target, channels), gamma)
        return softmax_sums(logits, target, gamma)

    def compute(logits: torch.Tensor | list[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        levels = logits if isinstance(logits, list) else [logits]
        sums = torch.stack([sums_of(level, target) for level in levels])
        if reduce is not None:
            sums = reduce(sums)
        weight = torch.tensor(values, device=sums.device)
        loss = sums.new_zeros(())
        for depth, parts in enumerate(sums):
            share = 0.5**depth / sum(0.5**other for other in range(len(levels)))
            if of_labels is not None:
                loss = loss + share * of_labels(Sums(*parts[:, first:]), weight[first:])
            if of_channels is not None:
                loss = loss + share * of_channels(Sums(*parts), weight)
        return loss

    return compute


def _check(weights: Sequence[float], channels: int, first: int) -> None:
    if len(weights) != channels:
        raise ConfigError(f"There are {len(weights)} class weights for {channels} channels.", "Give one for each.")
    if not any(weights[first:]):
        raise ConfigError("The class weights of all labels are 0: there is nothing to learn.", "Give one of them a weight.")


def _one_hot(target: torch.Tensor, channels: int) -> torch.Tensor:
    """Return a target ``(N, C, ...)`` of 0, 1 and UNKNOWN for class indices ``(N, 1, ...)``."""
    import torch

    from napari_seg3d.evaluation.counts import UNKNOWN

    classes = torch.arange(channels, device=target.device, dtype=target.dtype).view(-1, *[1] * (target.ndim - 2))
    return (target == classes).to(target.dtype).masked_fill(target == UNKNOWN, UNKNOWN)


def _brought_down(target: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """Return the target on a coarser grid, at each voxel what is nearest to its centre."""
    import torch

    for axis, side in enumerate(sides, start=2):
        length = target.shape[axis]
        if side != length:
            centres = (torch.arange(side, device=target.device) * 2 + 1) * length // (2 * side)
            target = target.index_select(axis, centres)
    return target
