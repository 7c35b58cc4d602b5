"""The networks, by name, and what each asks of its input. Nothing here imports torch before a network is built."""

from napari_seg3d.networks.info import NetworkInfo
from napari_seg3d.networks.options import Option, OptionValue
from napari_seg3d.networks.pretrained import Transferred, load_pretrained
from napari_seg3d.networks.sides import check_sides, output_sides, round_sides
from napari_seg3d.networks.spec import NetworkName, NetworkSpec, complete_spec, fitting_strides, plan_strides
from napari_seg3d.networks.summary import Layer, Summary, summarise
from napari_seg3d.networks.zoo import build_network, network_info, network_names

__all__ = [
    "Layer",
    "NetworkInfo",
    "NetworkName",
    "NetworkSpec",
    "Option",
    "OptionValue",
    "Summary",
    "Transferred",
    "build_network",
    "check_sides",
    "complete_spec",
    "fitting_strides",
    "load_pretrained",
    "network_info",
    "network_names",
    "output_sides",
    "plan_strides",
    "round_sides",
    "summarise",
]
