"""`Processes`: those that train together, on several GPUs or machines; most often there is one.

A config with ``device.devices = 4`` starts four processes on this machine (`start_run` calls torchrun). For several machines, make the
run folder on a disk that all of them see, and let SLURM start the processes::

    napari-seg3d train DATA --set device.devices=4 --set device.nodes=2 --out RUN --prepare

    #SBATCH --nodes=2 --ntasks-per-node=4 --gpus-per-node=4
    srun napari-seg3d train --join RUN

or torchrun, on each of the machines::

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400 -m napari_seg3d.training.child RUN

``NAPARI_SEG3D_HOME`` must name a folder on that disk, too: the first process prepares the cases there, for all. A job that SLURM takes away
and starts again goes on from the saved state by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from napari_seg3d.errors import Seg3dError, TrainingError
from napari_seg3d.training.config import DeviceConfig

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

T = TypeVar("T")
# The others wait while the first one looks at the data, which for a large data set takes hours.
_LONGEST_WAIT = timedelta(hours=24)
_FABRIC_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def is_first_process() -> bool:
    """Return whether this process is the one of its run that writes, before any of them has been joined to the others."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


class Processes:
    """The processes that train together.

    Parameters
    ----------
    wishes : DeviceConfig
        How many there are: ``devices`` on each of ``nodes`` machines. More than one must have been started by torchrun or SLURM.
    accelerator, precision : str
        Where and how to compute.

    Raises
    ------
    TrainingError
        Another number of processes was started than the config says.
    """

    def __init__(self, wishes: DeviceConfig, accelerator: str, precision: str) -> None:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment
        from lightning_fabric.strategies import DDPStrategy

        self.count = wishes.devices * wishes.nodes
        told: dict[str, Any] = {"accelerator": accelerator, "precision": _FABRIC_PRECISION[precision], "devices": wishes.devices}
        if self.count == 1:
            # Said outright, so that a shell inside a SLURM job does not look like a job of several processes.
            self.fabric: Fabric = Fabric(**told, plugins=[LightningEnvironment()])
            return
        started = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")))
        if started != self.count:
            raise TrainingError(
                f"The run is for {self.count} processes ({wishes.devices} on each of {wishes.nodes} machines), and {started} started.",
                "Start as many with torchrun or srun, or change devices and nodes in run.yaml.",
            )
        backend = "nccl" if accelerator == "cuda" else "gloo"
        strategy = DDPStrategy(timeout=_LONGEST_WAIT, process_group_backend=backend)
        self.fabric = Fabric(**told, num_nodes=wishes.nodes, strategy=strategy)
        self.fabric.launch()

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self.fabric.global_rank)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    def agree(self, numbers: list[float]) -> list[float]:
        """Return the numbers of the first process, in all of them: a few, as often as every step."""
        if self.count == 1:
            return numbers
        import torch

        tensor = torch.tensor(numbers, dtype=torch.float64 if self.fabric.device.type != "mps" else torch.float32)
        tensor = tensor.to(self.fabric.device)
        torch.distributed.broadcast(tensor, src=0)
        return [float(number) for number in tensor]

    def first_makes(self, make: Callable[[], T]) -> T:
        """Return what the first process makes, in all of them; an error of it that is meant for the user is theirs, too."""
        if self.count == 1:
            return make()
        made: T | Seg3dError | None = None
        if self.is_first:
            try:
                made = make()
            except Seg3dError as error:
                self.fabric.broadcast(error)
                raise
        made = self.fabric.broadcast(made)
        if isinstance(made, Seg3dError):
            raise made
        return made

    def gather(self, value: T) -> list[T]:
        """Return what each process holds, in order of their ranks."""
        if self.count == 1:
            return [value]
        import torch

        values: list[T | None] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # all are filled now

    def share(self, value: T) -> T:
        """Return what the first process holds, in all of them; any object that can be pickled."""
        return value if self.count == 1 else self.fabric.broadcast(value)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the processes, with gradients: what a loss of the whole batch is made of.

        The gradient of each process is that of the loss that all of them see, times their number, because the gradients of the weights
        are averaged over the processes afterwards.
        """
        return tensor if self.count == 1 else _sum_over_processes()(tensor)

    def share_buffers(self, network: torch.nn.Module) -> None:
        """Give all processes the running means of the first one, so that they judge one model."""
        if self.count > 1:
            import torch

            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def wait_for_all(self) -> None:
        """Return when every process has come to this place."""
        self.fabric.barrier()


def _sum_over_processes() -> Any:
    import torch

    class SumOverProcesses(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, tensor: torch.Tensor) -> torch.Tensor:
            summed = tensor.clone()
            torch.distributed.all_reduce(summed)
            return summed

        @staticmethod
        def backward(_context: Any, gradient: torch.Tensor) -> torch.Tensor:
            summed = gradient.clone()
            torch.distributed.all_reduce(summed)
            return summed

    return SumOverProcesses.apply
