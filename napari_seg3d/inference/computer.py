"""`Computer`: a network on its device, computed by the fastest engine there, and with less memory where that ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ModelError
from napari_seg3d.inference.bf16 import Labels
from napari_seg3d.inference.device import Accelerator, choose_precision, is_out_of_memory
from napari_seg3d.inference.engines import EngineName, Engines
from napari_seg3d.inference.stopping import asking
from napari_seg3d.inference.windows import CancelCheck

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Targets = Literal["exclusive", "overlapping"]
_LESS = "Choose patches as the mode, limit the region, or close other programs."


class Computer:
    """Computes a network window by window.

    Parameters
    ----------
    network : torch module
        On its device.
    accelerator : {"cpu", "cuda", "mps"}
        That device.
    precision : {"auto", "32", "bf16", "16"}
        In which it computes; auto is what the device is fastest in, and on a CPU bf16 only as long as the labels are those of 32 bit.
    engine : {"torch", "openvino", "auto"}
        What computes on a CPU; auto measures both. A network that still learns is computed by torch.
    targets : {"exclusive", "overlapping"}
        What becomes of its logits: the label of the largest, or all those above 0.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        accelerator: Accelerator,
        precision: str,
        engine: EngineName = "torch",
        targets: Targets = "exclusive",
    ) -> None:
        self.network = network
        #: Whether the CPU took over because the memory of the GPU ran out.
        self.stepped_down = False
        self._accelerator: Accelerator = accelerator
        is_free = accelerator == "cpu" and precision == "auto"
        self._precision = "32" if is_free else choose_precision(accelerator) if precision == "auto" else precision
        self._engines: Engines | None = None
        if accelerator == "cpu":
            self._engines = Engines(network, self._with_torch, self._precision, engine, _labels(targets) if is_free else None)

    @property
    def is_cpu(self) -> bool:
        """Whether the CPU computes, which then has no time for anything else."""
        return self._accelerator == "cpu"

    @property
    def told(self) -> str:
        """What computed last, for the user: OpenVINO or torch, in bf16 if it was, and why not something faster."""
        engines = self._engines
        if engines is None:
            return "torch"
        last = engines.last
        name = "OpenVINO" if last is not None and last.name == "openvino" else "torch"
        detail = "bf16" if last is not None and last.precision == "bf16" else engines.note
        return f"{name} ({detail})" if detail else name

    def forward(self, images: NDArray[np.float32], count: int = 1, cancelled: CancelCheck | None = None) -> torch.Tensor:
        """Return the logits of images.

        Parameters
        ----------
        images : array of shape (N, C, *sides)
            float32.
        count : int
            About how many such images there will be: compiling must be worth it.
        cancelled : callable, optional
            Asked between the layers of the network.

        Returns
        -------
        tensor of shape (N, channels, *sides)
            float32, on the CPU.

        Raises
        ------
        ModelError
            The memory does not hold what is computed of a single image.
        ConfigError
            OpenVINO was asked for and is not installed, or cannot compute this network.
        Cancelled
            `cancelled` returned True.
        """
        if self._engines is None:
            return self._with_torch(images, cancelled)
        return self._engines.engine_for(images.shape, count, cancelled).forward(images, cancelled)

    def beside(self, parts: Iterator[T]) -> Iterator[T]:
        """Yield the parts of an answer, which torch puts together while the next windows are computed.

        The threads of torch wait for more work spinning, and so take the cores from OpenVINO, a tenth of its speed and more: beside that,
        torch keeps to one.
        """
        import torch

        threads = torch.get_num_threads()
        try:
            for part in parts:
                if self.told.startswith("OpenVINO"):
                    torch.set_num_threads(1)
                yield part
        finally:
            torch.set_num_threads(threads)

    def _with_torch(self, images: NDArray[np.float32], cancelled: CancelCheck | None = None) -> torch.Tensor:
        """Compute images with torch; where the memory does not hold them, fewer at once, then on the CPU."""
        try:
            return self._on_device(images, cancelled)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        import torch

        if self._accelerator == "cuda":
            torch.cuda.empty_cache()
        if len(images) > 1:
            half = len(images) // 2
            return torch.cat([self._with_torch(part, cancelled) for part in (images[:half], images[half:])])
        if self._accelerator != "cpu":
            self._accelerator, self._precision, self.stepped_down = "cpu", "32", True
            self.network.to("cpu")
            return self._with_torch(images, cancelled)
        sides = " x ".join(str(side) for side in images.shape[2:])
        raise ModelError(f"The memory does not hold what the network computes of {sides} voxels.", _LESS)

    def _on_device(self, images: NDArray[np.float32], cancelled: CancelCheck | None) -> torch.Tensor:
        import torch

        # What is mapped from a file may not be written to, and torch wants no such array.
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        layout = torch.channels_last_3d if batch.ndim == 5 else torch.channels_last
        batch = batch.to(self._accelerator, memory_format=layout)
        dtype = torch.float16 if self._precision == "16" else torch.bfloat16
        # Not inference mode: its tensors could not be changed in place by whoever gets them.
        with torch.no_grad(), asking(cancelled), torch.autocast(self._accelerator, dtype, enabled=self._precision != "32"):
            return self.network(batch).float().cpu()  # type: ignore[no-any-return]


def _labels(targets: Targets) -> Labels:
    def found(logits: torch.Tensor) -> torch.Tensor:
        if targets == "exclusive":
            return logits.argmax(dim=1)
        import torch

        return (logits > 0) * torch.arange(1, logits.shape[1] + 1).view(-1, *[1] * (logits.ndim - 2))

    return found
