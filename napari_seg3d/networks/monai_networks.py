"""Further networks of MONAI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.options import DROPOUT, Option, per_level

if TYPE_CHECKING:
    from torch import nn

    from napari_seg3d.networks.spec import NetworkSpec


def _segresnet(spec: NetworkSpec) -> nn.Module:
    from monai.networks.nets import SegResNet

    return SegResNet(  # type: ignore[no-any-return]
        spatial_dims=spec.dims,
        init_filters=spec.features[0],
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        dropout_prob=_option(spec, "dropout") or None,
        blocks_down=per_level(_option(spec, "blocks_down"), len(spec.features)),
        blocks_up=per_level(_option(spec, "blocks_up"), len(spec.features) - 1),
    )


def _unetr(spec: NetworkSpec) -> nn.Module:
    from monai.networks.nets import UNETR

    network = UNETR(
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        img_size=_option(spec, "image_size")[: spec.dims],
        feature_size=spec.features[0],
        hidden_size=spec.features[-1],
        mlp_dim=4 * spec.features[-1],
        num_heads=_option(spec, "heads"),
        dropout_rate=_option(spec, "dropout"),
        spatial_dims=spec.dims,
    )
    for name, weight in network.named_parameters():
        # MONAI's blocks have a norm that only decoders use; without gradients it would stop a training on several devices.
        if "norm_cross_attn" in name:
            weight.requires_grad_(False)
    return network  # type: ignore[no-any-return]


def _swinunetr(spec: NetworkSpec) -> nn.Module:
    import torch
    from monai.networks.nets import SwinUNETR

    with torch.device("cpu"):  # its constructor reads values, which the meta device has not
        return SwinUNETR(  # type: ignore[no-any-return]
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            depths=_option(spec, "depths"),
            num_heads=[_option(spec, "heads") * 2**stage for stage in range(4)],
            window_size=_option(spec, "window"),
            feature_size=spec.features[0],
            drop_rate=_option(spec, "dropout"),
            use_checkpoint=_option(spec, "checkpointing"),
            spatial_dims=spec.dims,
            use_v2=_option(spec, "version_2"),
        )


def _attentionunet(spec: NetworkSpec) -> nn.Module:
    from monai.networks.nets import AttentionUnet

    return AttentionUnet(  # type: ignore[no-any-return]
        spatial_dims=spec.dims,
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        channels=spec.features,
        strides=[stride[: spec.dims] for stride in spec.strides],
        dropout=_option(spec, "dropout"),
    )


def _mednext(spec: NetworkSpec) -> nn.Module:
    from napari_seg3d.networks.modules.monai_networks import MedNeXtList

    return MedNeXtList(spec)


def _option(spec: NetworkSpec, name: str) -> Any:
    return spec.options[name]


def _check_segresnet(spec: NetworkSpec) -> None:
    if spec.features[0] % 8:
        raise ValueError(f"segresnet normalises filters in 8 groups: {spec.features[0]} is no multiple of 8")


def _check_unetr(spec: NetworkSpec) -> None:
    *decoder, hidden = spec.features
    doubled = [decoder[0] * 2**level for level in range(len(decoder))]
    if decoder != doubled:
        raise ValueError(
            f"the filters of unetr double but for the last, the width of the transformer: {', '.join(map(str, doubled))}"
        )
    if hidden % _option(spec, "heads"):
        raise ValueError(
            f"the transformer's width of {hidden} (the last of the features) is no multiple of its {spec.options['heads']} heads"
        )
    for side in _option(spec, "image_size")[: spec.dims]:
        if side % 16:
            near = f"{side // 16 * 16 or 16} or {side // 16 * 16 + 16}" if side > 16 else "16"
            raise ValueError(f"the image size of unetr is made of multiples of 16, and {side} is none; choose {near}")


def _check_swinunetr(spec: NetworkSpec) -> None:
    first = spec.features[0]
    wanted = (first, *(first * 2**level for level in range(5)))
    if spec.features != wanted:
        raise ValueError(f"the filters of swinunetr double from the second level on: {', '.join(map(str, wanted))}")
    if first % 12 or first % _option(spec, "heads"):
        raise ValueError(
            f"the first features of swinunetr are a multiple of 12 and of its {spec.options['heads']} heads; {first} is not"
        )
    if len(_option(spec, "depths")) != 4:
        raise ValueError(f"swinunetr has 4 stages, so depths holds 4 numbers, not {len(_option(spec, 'depths'))}")


SEGRESNET = NetworkInfo(
    name="segresnet",
    title="SegResNet",
    description="Residual encoder, light decoder, group norm: strong on large volumes for its memory.",
    features=(16, 32, 64, 128),
    build=_segresnet,
    paper="Myronenko, 3D MRI brain tumor segmentation using autoencoder regularization, BrainLes 2018",
    source="MONAI SegResNet",
    features_rule="doubling",
    strides="two",
    options=(
        Option(
            "blocks_down",
            "integers",
            [1, 2, 2, 4],
            "Blocks down",
            "Residual blocks per level on the way down; the last counts for the rest.",
            1,
            16,
        ),
        Option(
            "blocks_up",
            "integers",
            [1, 1, 1],
            "Blocks up",
            "Residual blocks per level on the way up; the last counts for the rest.",
            1,
            16,
        ),
        DROPOUT,
    ),
    check=_check_segresnet,
)
UNETR = NetworkInfo(
    name="unetr",
    title="UNETR",
    description="A vision transformer as encoder. Has one fixed size, and needs many cases and a GPU.",
    features=(16, 32, 64, 128, 768),
    build=_unetr,
    paper="Hatamizadeh et al., UNETR, WACV 2022",
    source="MONAI UNETR",
    levels=(5, 5),
    strides="two",
    sides="fixed",
    options=(
        Option(
            "image_size",
            "sides",
            [96, 96, 96],
            "Image size",
            "The only size it takes: multiples of 16. Left alone, it is the patch size.",
            1,
            1024,
        ),
        Option("heads", "integer", 12, "Attention heads", "Must divide the last of the features.", 1, 64),
        DROPOUT,
    ),
    check=_check_unetr,
)
SWINUNETR = NetworkInfo(
    name="swinunetr",
    title="Swin UNETR",
    description="Attention within windows that shift: for large data sets and a GPU with much memory.",
    features=(24, 24, 48, 96, 192, 384),
    build=_swinunetr,
    paper="Hatamizadeh et al., Swin UNETR, BrainLes 2021",
    source="MONAI SwinUNETR",
    levels=(6, 6),
    strides="two",
    options=(
        Option("depths", "integers", [2, 2, 2, 2], "Depths", "Transformer blocks of each of the four stages.", 1, 24),
        Option("heads", "integer", 3, "Attention heads", "Of the first stage; doubled at each further one.", 1, 32),
        Option("window", "integer", 7, "Window", "Voxels along each side of an attention window.", 2, 16),
        Option("version_2", "flag", False, "Version 2", "A residual convolution before each stage, as in SwinUNETR-V2."),
        Option(
            "checkpointing",
            "flag",
            False,
            "Save memory",
            "Computes attention twice instead of keeping it: less memory, more time.",
        ),
        DROPOUT,
    ),
    check=_check_swinunetr,
)
ATTENTIONUNET = NetworkInfo(
    name="attentionunet",
    title="Attention U-Net",
    description="U-Net whose side connections are weighed by what lies deeper: small organs in large surroundings.",
    features=(16, 32, 64, 128, 256),
    build=_attentionunet,
    paper="Oktay et al., Attention U-Net, MIDL 2018",
    source="MONAI AttentionUnet",
    options=(DROPOUT,),
)
MEDNEXT = NetworkInfo(
    name="mednext",
    title="MedNeXt",
    description="U-Net of ConvNeXt blocks (depthwise convolutions): accurate on a GPU, slow on a CPU.",
    features=(32, 64, 128, 256, 512),
    build=_mednext,
    paper="Roy et al., MedNeXt, MICCAI 2023",
    source="MONAI MedNeXt",
    levels=(5, 5),
    features_rule="doubling",
    strides="two",
    deep_supervision=True,
    options=(
        Option("size", "choice", "S", "Size", "Blocks and their width, as published.", choices=("S", "B", "M", "L")),
        Option("kernel", "choice", "3", "Kernel", "Edge of the depthwise convolutions.", choices=("3", "5", "7")),
    ),
)
