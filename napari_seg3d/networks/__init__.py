"""The networks, by name, and what each asks of its input."""

from napari_seg3d.networks.spec import NetworkName, NetworkSpec, plan_strides
from napari_seg3d.networks.zoo import build_network

__all__ = ["NetworkName", "NetworkSpec", "build_network", "plan_strides"]
