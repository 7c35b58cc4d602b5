"""What the network is punished for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


def build_loss(name: Literal["dice", "dice_ce"]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a loss of logits ``(N, classes, I, J, K)`` and class indices ``(N, I, J, K)``.

    ``dice`` is the soft Dice of Milletari et al. (3DV 2016) over the labels, without the background, over the batch as one: a patch
    without a label then does not punish each wrong voxel as if all were wrong. ``dice_ce`` adds the cross-entropy over all classes.
    """
    from monai.losses import DiceCELoss, DiceLoss

    kind = DiceLoss if name == "dice" else DiceCELoss
    loss = kind(softmax=True, to_onehot_y=True, include_background=False, batch=True)

    def compute(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return loss(logits.float(), target.long().unsqueeze(1))  # type: ignore[no-any-return]

    return compute
