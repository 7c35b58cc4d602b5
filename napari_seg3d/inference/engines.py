"""What computes a network: torch everywhere, or OpenVINO on CPUs, whichever was measured to be faster."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ConfigError
from napari_seg3d.files import user_folder
from napari_seg3d.inference.bf16 import Labels, Trial, multiplies_bf16, with_exact_ends
from napari_seg3d.inference.offline import import_openvino
from napari_seg3d.inference.stopping import StoppableForward, asking
from napari_seg3d.inference.windows import CancelCheck

if TYPE_CHECKING:
    import torch

EngineName = Literal["auto", "torch", "openvino"]
#: Fewer windows than this take torch less time than OpenVINO needs to get ready.
WORTH_COMPILING = 8
#: Voxels that a network sees, in all windows, before bf16 is tried: less takes 32 bit some seconds, and its labels are the same each time.
WORTH_ROUNDING = 2**25
_MILLISECONDS_BETWEEN_LOOKS = 50
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Computes a network.

    Parameters
    ----------
    name : {"torch", "openvino"}
        Which one.
    forward : StoppableForward
        What computes it.
    seconds : float
        What a window took when it was measured; NaN where it was not.
    precision : {"32", "bf16", "16"}
        In which it computes.
    """

    name: Literal["torch", "openvino"]
    forward: StoppableForward
    seconds: float = float("nan")
    precision: str = "32"


class Engines:
    """The engines of a network on a CPU, one for each shape of its input, chosen once and kept.

    Parameters
    ----------
    network : torch module
        In evaluation mode.
    torch_forward : StoppableForward
        What computes it with torch.
    precision : {"32", "bf16"}
        In which they compute.
    wish : {"auto", "torch", "openvino"}
        auto measures both.
    labels : callable, optional
        What becomes of logits. Given, OpenVINO may compute in bf16 instead of 32 bit, where the processor multiplies that itself, where it
        is measured to be faster, and as long as the labels are the same, see `Trial`.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        torch_forward: StoppableForward,
        precision: str,
        wish: EngineName,
        labels: Labels | None = None,
    ) -> None:
        self._network, self._precision, self._wish = network, precision, wish
        self._labels = labels
        self._torch = torch_forward
        self._chosen: dict[tuple[tuple[int, ...], bool], Engine] = {}
        #: Why OpenVINO is not used although it might be, for the user; empty where there is nothing to say.
        self.note = ""
        #: The engine that computed last.
        self.last: Engine | None = None

    def engine_for(self, shape: tuple[int, ...], count: int, cancelled: CancelCheck | None = None) -> Engine:
        """Return the engine for `count` images of a shape ``(N, C, *sides)``.

        Raises
        ------
        ConfigError
            OpenVINO was asked for and is not installed, or cannot compute this network.
        Cancelled
            `cancelled` returned True while they were measured.
        """
        may_round = self._labels is not None and self._precision == "32" and count * prod(shape) >= WORTH_ROUNDING
        asked = (shape, may_round)
        if self._wish == "torch" or (self._wish == "auto" and count < WORTH_COMPILING and asked not in self._chosen):
            self.last = self._by_torch
        else:
            if asked not in self._chosen:
                self._chosen[asked] = self._choose(shape, may_round, cancelled)
            self.last = self._chosen[asked]
        return self.last

    @property
    def _by_torch(self) -> Engine:
        return Engine("torch", self._torch, precision=self._precision)

    def _choose(self, shape: tuple[int, ...], may_round: bool, cancelled: CancelCheck | None) -> Engine:
        precisions = [self._precision]
        if may_round and multiplies_bf16():
            precisions.append("bf16")
        try:
            compiled = {precision: _compiled(self._network, shape, precision, cancelled) for precision in precisions}
        except ConfigError as error:
            if self._wish == "openvino":
                raise
            self.note = error.what
            _log.info("%s", error)
            return self._by_torch
        engines = [Engine("openvino", forward, precision=precision) for precision, forward in compiled.items()]
        if self._wish != "openvino":
            engines.insert(0, self._by_torch)
        if len(engines) == 1:
            return engines[0]
        measured = [replace(engine, seconds=_seconds(engine.forward, shape, cancelled)) for engine in engines]
        best, *others = sorted(measured, key=lambda engine: engine.seconds)
        if best.precision == self._precision or self._labels is None:
            return best
        exact = next(engine for engine in others if engine.precision == self._precision)
        trial = Trial(best.forward, exact.forward, self._labels, lambda: self._reject(shape, exact))
        return replace(best, forward=trial)

    def _reject(self, shape: tuple[int, ...], exact: Engine) -> None:
        self._chosen[shape, True] = self.last = exact
        self.note = "bf16 would be faster, and says something else than 32 bit"


def _compiled(
    network: torch.nn.Module, shape: tuple[int, ...], precision: str, cancelled: CancelCheck | None
) -> StoppableForward:
    """Return the network as OpenVINO computes it for images of one shape; what it compiled is kept on the disk."""
    import torch

    openvino = import_openvino()
    try:
        # Traced here, because OpenVINO would have it computed three times for that, and nothing could stop it.
        with torch.no_grad(), asking(cancelled, in_slabs=False):
            traced = torch.jit.trace(network, torch.zeros(shape), check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, input=[openvino.PartialShape(list(shape))])
        core = openvino.Core()
        if precision == "bf16":
            model = with_exact_ends(model, core)
        core.set_property({"CACHE_DIR": str(user_folder("cache") / "openvino")})
        hint = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32
        request = core.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        ).create_infer_request()
    except Cancelled:
        raise
    except Exception as error:  # it raises whatever its C++ does
        raise ConfigError(
            f"OpenVINO cannot compute this network ({str(error).strip().splitlines()[0][:200]}).", "Choose torch as the engine."
        ) from error

    def forward(images: NDArray[np.float32], cancelled: CancelCheck | None = None) -> torch.Tensor:
        seen = np.ascontiguousarray(images)  # the request makes no copy of it: it must live until the end
        request.start_async({0: seen}, share_inputs=True)
        while not request.wait_for(_MILLISECONDS_BETWEEN_LOOKS):
            if cancelled is not None and cancelled():
                request.cancel()
                with contextlib.suppress(RuntimeError):  # it says that it was cancelled; until then it is busy
                    request.wait()
                raise Cancelled("The prediction was cancelled.")
        # The request keeps its memory: the answer is copied before the next one overwrites it.
        return torch.from_numpy(np.array(request.get_output_tensor(0).data, dtype=np.float32))

    return forward


def _seconds(forward: StoppableForward, shape: tuple[int, ...], cancelled: CancelCheck | None) -> float:
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    forward(images, cancelled)
    start = time.perf_counter()
    forward(images, cancelled)
    return time.perf_counter() - start
