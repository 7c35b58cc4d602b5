"""What the network is punished for: each loss is a formula over a few sums per channel, which are what is costly."""

from napari_seg3d.training.losses.build import Loss, LossName, build_loss

__all__ = ["Loss", "LossName", "build_loss"]
