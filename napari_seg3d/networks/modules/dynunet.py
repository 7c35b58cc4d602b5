"""MONAI's DynUNet, told by a `NetworkSpec`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import monai.networks.nets
from torch import Tensor, empty

if TYPE_CHECKING:
    from napari_seg3d.networks.spec import NetworkSpec


class DynUNet(monai.networks.nets.DynUNet):
    """U-Net with strided convolutions, instance norm and leaky ReLU (Isensee et al., Nature Methods 2021).

    With deep supervision every level but the two coarsest answers, as in nnU-Net. MONAI's own interpolates those answers to the size
    of the finest and stacks them; here each stays at its resolution, where it is cheap to judge.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        steps = [stride[: spec.dims] for stride in spec.strides]
        super().__init__(
            spatial_dims=spec.dims,
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            kernel_size=[(3,) * spec.dims] * len(spec.features),
            strides=[(1,) * spec.dims, *steps],
            upsample_kernel_size=steps,
            filters=list(spec.features),
            dropout=spec.options["dropout"] or None,
            norm_name=("INSTANCE", {"affine": True}),
            act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
            deep_supervision=spec.deep_supervision,
            deep_supr_num=len(spec.features) - 2,
            res_block=spec.options["residual"],
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits, or while training with deep supervision those of each level, finest first."""
        finest: Tensor = self.output_block(self.skip_layers(image))
        if not (self.training and self.deep_supervision):
            return finest
        logits = [finest, *self.heads]
        # MONAI leaves the answers on the module, where they would keep the whole graph alive and could not be copied.
        self.heads[:] = [empty(0)] * len(self.heads)
        return logits
