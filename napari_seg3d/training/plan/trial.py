"""A few real steps on the GPU, so that a batch is never larger than fits, nor smaller than is free."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from napari_seg3d.errors import ConfigError
from napari_seg3d.inference.device import is_out_of_memory
from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.plan.make import MOST_PER_STEP
from napari_seg3d.training.plan.plan import Plan, Reason

_WARM_UP, _STEPS = 2, 3
_USED_AT_MOST = 0.85  # of the device's memory: batches of a run are not all alike, and the display needs some
# Twice as many samples per step are half as many steps in the same time, unless the device computes them nearly for nothing.
_WORTH = 1.5


@dataclass(frozen=True)
class Trial:
    """What a step took.

    Parameters
    ----------
    memory : int
        Bytes at its peak.
    free : int
        Bytes that it might have taken.
    seconds : float
        Its time.
    """

    memory: int
    free: int
    seconds: float


def tried_on_device(plan: Plan, config: TrainConfig, step: Callable[[Plan], Trial | None] | None = None) -> Plan:
    """Return the plan with a batch that was seen to fit the device.

    On a CPU the estimate decides, because a step that swaps takes the whole machine with it, and the plan comes back as it is. A batch
    that was set is only tried.

    Parameters
    ----------
    plan : Plan
        From `make_plan`.
    config : TrainConfig
        What it was made from.
    step : callable, optional
        Makes real steps of a plan; None when they do not fit. Left out, on the plan's GPU.

    Raises
    ------
    ConfigError
        Not even one sample fits, or not as many as were set.
    """
    if step is None:
        if plan.accelerator != "cuda":
            return plan
        step = _on_the_gpu
    is_auto = config.optimization.batch_size == "auto"
    batch, trial = plan.batch_size, step(plan)
    while is_auto and batch > 1 and not _leaves_some(trial):
        batch //= 2
        trial = step(replace(plan, batch_size=batch))
    if trial is None:
        sides = " x ".join(map(str, plan.sides))
        raise ConfigError(
            f"{batch} {'sample' if batch == 1 else 'samples'} of {sides} voxels do not fit the memory of the GPU; it was tried.",
            "Choose a smaller patch or batch, fewer features, or a larger spacing.",
        )
    if not is_auto:
        return replace(plan, memory=trial.memory)
    why = "It was tried on the device: "
    if batch < plan.batch_size:
        why += f"{2 * batch} do not fit its memory."
    else:
        while 2 * batch <= MOST_PER_STEP[plan.spec.network.dims] and 2 * trial.memory < _USED_AT_MOST * trial.free:
            more = step(replace(plan, batch_size=2 * batch))
            if more is None or not _leaves_some(more) or 2 * trial.seconds / more.seconds < _WORTH:
                break
            batch, trial = 2 * batch, more
        why += (
            f"a step takes {trial.memory / 1e9:.1f} of {trial.free / 1e9:.0f} GB, and larger ones gain too little, if they fit."
        )
    others = tuple(reason for reason in plan.reasons if reason.setting != "optimization.batch_size")
    reason = Reason("optimization.batch_size", batch, why)
    return replace(plan, batch_size=batch, memory=trial.memory, reasons=(*others, reason))


def _leaves_some(trial: Trial | None) -> bool:
    return trial is not None and trial.memory < _USED_AT_MOST * trial.free


def _on_the_gpu(plan: Plan) -> Trial | None:
    """Make a few steps of training on noise; None when they do not fit."""
    import torch

    trial = None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    free = torch.cuda.mem_get_info()[0]
    try:
        seconds = seconds_per_step(plan)
        trial = Trial(torch.cuda.max_memory_allocated() - before, free, seconds)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # what the failed step held hangs on its traceback
    torch.cuda.empty_cache()
    return trial


def seconds_per_step(plan: Plan) -> float:
    """Return the seconds of a step, as training makes them, of the best of a few."""
    import torch

    from napari_seg3d.networks import build_network
    from napari_seg3d.training.losses import build_loss

    device = torch.device(plan.accelerator)
    spec = plan.spec.network
    network = build_network(spec).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    overlapping = plan.spec.targets == "overlapping"
    loss_of = build_loss(plan.loss, overlapping, spec.out_channels, plan.class_weights)
    image = torch.randn(plan.batch_size, spec.in_channels, *plan.sides, device=device)
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(plan.precision)
    best = float("inf")
    for number in range(_WARM_UP + _STEPS):
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            logits = network(image)
        shape = (logits[0] if isinstance(logits, list) else logits).shape
        target = torch.zeros(shape[0], shape[1] if overlapping else 1, *shape[2:], dtype=torch.uint8, device=device)
        loss_of(logits, target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= _WARM_UP:
            best = min(best, time.perf_counter() - start)
    return best
