"""Every network of the zoo with few filters, so that a test of it takes milliseconds."""

from collections.abc import Mapping

from napari_seg3d.networks import NetworkSpec, complete_spec, network_info, network_names, round_sides

FEATURES: Mapping[str, tuple[int, ...]] = {
    "dynunet": (4, 6, 8, 8),
    "torchio-unet": (2, 4, 6),
    "spine-unet": (4, 6, 8),
    "nodule-unet": (4, 6, 8),
    "cascade-unet": (4, 6, 8),
    "cascade-roi": (4, 6, 8),
    "vnet": (4, 6, 8),
    "mini-vnet": (4, 6),
    "segresnet": (8, 16, 32),
    "unetr": (4, 8, 16, 32, 24),
    "swinunetr": (12, 12, 24, 48, 96, 192),
    "attentionunet": (4, 6, 8),
    "mednext": (4, 8, 16, 32, 64),
}
#: Each network in each of its dimensions.
ALL = [(name, dims) for name in network_names() for dims in network_info(name).dims]


def small_spec(name: str, dims: int = 3, in_channels: int = 2, deep_supervision: bool = False) -> NetworkSpec:
    """Return a small network; it says of three classes, or of one object, where they are."""
    return complete_spec(
        name,
        dims=dims,
        in_channels=in_channels,
        out_channels=None if name == "cascade-roi" else 3,
        features=FEATURES[name],
        deep_supervision=deep_supervision,
        sides=(32, 16, 16)[:dims],
    )


def small_sides(spec: NetworkSpec) -> tuple[int, ...]:
    """Return a size that it takes, different along each axis where that is possible."""
    return round_sides(spec, (18, 11, 7)[: spec.dims])
