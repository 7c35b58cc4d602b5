"""Networks of MONAI that need a word more than their constructor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.nets import MedNeXt
from torch import Tensor

if TYPE_CHECKING:
    from napari_seg3d.networks.spec import NetworkSpec

# Of each size of the paper: expansion on the way down (the bottom is as wide as the last), blocks on the way down; the way up mirrors it.
_SIZES = {
    "S": ((2, 2, 2, 2), (2, 2, 2, 2)),
    "B": ((2, 3, 4, 4), (2, 2, 2, 2)),
    "M": ((2, 3, 4, 4), (3, 4, 4, 4)),
    "L": ((3, 4, 8, 8), (3, 4, 8, 8)),
}


class MedNeXtList(MedNeXt):
    """MedNeXt (Roy et al., MICCAI 2023) that answers with a list while it trains with deep supervision."""

    def __init__(self, spec: NetworkSpec) -> None:
        expansion, blocks = _SIZES[str(spec.options["size"])]
        super().__init__(
            spatial_dims=spec.dims,
            init_filters=spec.features[0],
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            encoder_expansion_ratio=expansion,
            decoder_expansion_ratio=expansion[::-1],
            bottleneck_expansion_ratio=expansion[-1],
            kernel_size=int(str(spec.options["kernel"])),
            deep_supervision=spec.deep_supervision,
            use_residual_connection=True,
            blocks_down=blocks,
            blocks_bottleneck=blocks[-1],
            blocks_up=blocks[::-1],
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits, or while training with deep supervision those of each level, finest first."""
        logits: Tensor | tuple[Tensor, ...] = super().forward(image)
        return list(logits) if isinstance(logits, tuple) else logits
