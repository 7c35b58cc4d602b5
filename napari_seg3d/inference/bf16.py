"""bf16 on CPUs: half the bits and a multiple of the speed, as long as the labels stay the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.stopping import StoppableForward
from napari_seg3d.inference.windows import CancelCheck

if TYPE_CHECKING:
    import openvino
    import torch

#: Logits ``(N, channels, *sides)`` to labels, of any shape; 0 is the background.
Labels = Callable[["torch.Tensor"], "torch.Tensor"]
#: The Dice coefficient between the labels of both that each label needs, and the least that the labels of a rounded network have in common.
LEAST_DICE = 0.999
_ENOUGH = 2**16  # labelled voxels, after which no more are compared
_SAYS_SOMETHING = 2**11  # voxels: the Dice of a smaller label is chance
_MOST_WINDOWS = 6


def multiplies_bf16() -> bool:
    """Return whether the processor multiplies bf16 itself; what only emulates it is slower than 32 bit."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Trial:
    """A network in bf16 whose first answers are compared with those in 32 bit.

    Rounding moves the border of an organ by a hundredth of a voxel, which is nothing; but where a network hesitates, and over small
    structures, labels change. How much, only real scans tell. Windows in which nothing is found are taken as they are; of those in which
    something is, the first ones are computed twice, and the exact answer is given.

    Parameters
    ----------
    rounded, exact : StoppableForward
        Both ways to compute it.
    labels : callable
        What becomes of logits.
    rejected : callable
        Called once when they differ too much; from then on the exact one computes.
    """

    def __init__(self, rounded: StoppableForward, exact: StoppableForward, labels: Labels, rejected: Callable[[], None]) -> None:
        self._rounded, self._exact, self._labels, self._rejected = rounded, exact, labels, rejected
        self._is_over = False
        self._windows = 0
        # Voxels of each label: in 32 bit, in bf16, in both.
        self._counts: NDArray[np.int64] = np.zeros((3, 0), np.int64)

    def __call__(self, images: NDArray[np.float32], cancelled: CancelCheck | None = None) -> torch.Tensor:
        """Compute it."""
        if self._is_over:
            return self._rounded(images, cancelled)
        answer = self._rounded(images, cancelled)
        found = self._labels(answer)
        if not found.any():
            return answer
        exact = self._exact(images, cancelled)
        self._count(self._labels(exact), found)
        self._windows += 1
        same = self._dice()
        if same < LEAST_DICE:
            self._is_over = True
            self._rounded = self._exact
            self._rejected()
        elif (self._windows >= _MOST_WINDOWS and self._counts[0].sum() >= _SAYS_SOMETHING) or self._counts[0].sum() >= _ENOUGH:
            self._is_over = True
        return exact

    def _count(self, exact: torch.Tensor, rounded: torch.Tensor) -> None:
        one, other = (found.numpy().ravel() for found in (exact, rounded))
        length = max(int(one.max()), int(other.max()), self._counts.shape[1] - 1) + 1
        counted = [np.bincount(seen, minlength=length) for seen in (one, other, one[one == other])]
        self._counts = np.pad(self._counts, ((0, 0), (0, length - self._counts.shape[1]))) + counted
        self._counts[:, 0] = 0

    def _dice(self) -> float:
        """Return the Dice coefficient of all labels together, or the least of a label that has enough voxels for one."""
        together = self._counts.sum(axis=1, keepdims=True)
        seen = np.concatenate([self._counts[:, self._counts[0] >= _SAYS_SOMETHING], together], axis=1)
        one, other, both = seen
        if together[0, 0] < _SAYS_SOMETHING:
            return 1.0  # too little to say anything yet
        return float((2 * both / (one + other)).min())


def with_exact_ends(model: openvino.Model, core: openvino.Core) -> openvino.Model:
    """Return a network whose two ends stay in 32 bit when the rest is computed in bf16.

    The image that its first convolution sees, and the features of which its last one makes logits, are where rounding costs most: with
    both ends kept, the error of the logits is half as large, and a window takes a twentieth longer. OpenVINO keeps the precision of nodes
    that are marked as precise, and reads that mark from its own files only.
    """
    nodes = model.get_ordered_ops()
    convolutions = [number for number, node in enumerate(nodes) if node.get_type_name() == "Convolution"]
    spatial = [number for number in convolutions if max(nodes[number].input(1).get_shape()[2:], default=1) > 1]
    if not spatial:
        return model
    kept = {nodes[convolutions[0]].get_friendly_name()} | {node.get_friendly_name() for node in nodes[spatial[-1] + 1 :]}
    with tempfile.TemporaryDirectory() as folder:
        import openvino

        file, weights = Path(folder) / "network.xml", Path(folder) / "network.bin"
        openvino.serialize(model, file, weights)
        tree = ElementTree.parse(file)
        for layer in tree.getroot().iterfind("layers/layer"):
            if layer.get("name") in kept and layer.get("type") not in ("Parameter", "Result", "Const"):
                _mark(layer)
        marked: Any = ElementTree.tostring(tree.getroot())
        return core.read_model(marked, weights.read_bytes())


def _mark(layer: ElementTree.Element) -> None:
    told = layer.find("rt_info")
    if told is None:
        told = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, told)
    ElementTree.SubElement(told, "attribute", name="precise", version="0")
