"""`ForeignPredictor`: a network from elsewhere with the preprocessing that it was trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ModelError, ReadError
from napari_seg3d.inference.cascade import box_on
from napari_seg3d.inference.computer import Computer
from napari_seg3d.inference.device import Accelerator, choose_accelerator, choose_precision
from napari_seg3d.inference.engines import EngineName
from napari_seg3d.inference.foreign.seen import Windows
from napari_seg3d.inference.home import Answer, Partly
from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.inference.options import PATIENT_AXES, PredictOptions
from napari_seg3d.inference.prediction import Prediction
from napari_seg3d.inference.predictor import Predictor
from napari_seg3d.inference.windows import CancelCheck, Progress
from napari_seg3d.networks import NetworkSpec
from napari_seg3d.volumes import Volume, box_of, fault_of

if TYPE_CHECKING:
    import torch

#: A scan as it is -> the scan as the network wants it, wherever and in whichever axis order that lies: its affine says so.
Prepare = Callable[[Volume], Volume]
_AS_TRAINED = PredictOptions()
_AXES = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


class ForeignPredictor(Predictor):
    """Predicts like `Predictor`, and prepares a scan in its own way.

    Parameters
    ----------
    spec : ModelSpec
        A description: its network is a stand-in with the same channels and divisor, its pipeline says only to which voxels the scan is
        brought.
    network : torch module
        On the CPU.
    prepare : callable
        The preprocessing. What it crops away is background.
    windows : Windows
        How the network looks at what is left.
    name : str
        What to call it.
    notes : tuple of str
        What the user should know about each prediction.
    orientation : str or None
        To which `prepare` turns every scan, such as ``"RAS"``. None: the network sees the order of the file, which is said with each
        prediction, because on a file of another order it might mistake left for right.
    accelerator, precision, engine
        As for `Predictor.load`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: torch.nn.Module,
        prepare: Prepare,
        windows: Windows,
        name: str,
        notes: tuple[str, ...] = (),
        orientation: str | None = "RAS",
        accelerator: str = "auto",
        precision: str = "auto",
        engine: EngineName = "auto",
    ) -> None:
        import torch

        device = choose_accelerator(accelerator)
        choose_precision(device, precision)  # raises where that is not to be had
        network = network.to(torch.device(device)).eval()
        super().__init__(spec, _Told(name, network, device, precision, engine, spec.targets), name)
        self._prepare, self._windows = prepare, windows
        self._notes, self._orientation = notes, orientation

    def predict(
        self,
        volume: Volume,
        options: PredictOptions = _AS_TRAINED,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
        partly: Partly | None = None,
    ) -> Prediction:
        """Return the labels of a scan; the parameters and errors are those of `Predictor.predict`."""
        # Our own networks see R, A and S in this order, and mirror images are made along the first, second and third axis of what is seen.
        axes = [PATIENT_AXES[_AXES[direction]] for direction in self._orientation or volume.orientation]
        flips = tuple(seen for seen, axis in zip(PATIENT_AXES, axes, strict=True) if axis in options.flips)
        prediction = super().predict(volume, replace(options, flips=flips), progress, cancelled, partly)
        return replace(prediction, notes=(*prediction.notes, *self._notes, *self._said_about(volume)))

    def _said_about(self, volume: Volume) -> tuple[str, ...]:
        if self._orientation is not None:
            return ()
        return (
            f"{self.name} does not say in which orientation it wants a scan, and saw this one in the order of its file "
            f"({volume.orientation}). Its labels are right only if it was trained on such files: check left and right.",
        )

    def _answer_of(
        self,
        volume: Volume,
        options: PredictOptions,
        progress: Progress | None,
        cancelled: CancelCheck | None,
        partly: Partly | None,
    ) -> Answer:
        processed = self._preprocessed(volume, cancelled)
        padded = self._windows.padded(processed)
        image = np.asarray(padded.data, dtype=np.float32)
        answer = self.answer(image, padded.grid, volume.grid, options, progress, cancelled, partly)
        box = box_on(box_of((0, 0, 0), processed.grid.shape), processed.grid, volume.grid)
        return answer.cut(box).in_box(box, volume.grid.shape)

    def _preprocessed(self, volume: Volume, cancelled: CancelCheck | None) -> Volume:
        wanted = self.spec.network.in_channels
        if volume.data.shape[0] != wanted:
            raise ModelError(
                f"The scan has {volume.data.shape[0]} channels, {self.name} was trained on {wanted}.",
                "Choose another scan or model.",
            )
        fault = fault_of(volume)
        if fault is not None:
            raise ReadError(f"{volume.source.path if volume.source is not None else 'The image'} {fault[0]}", fault[1])
        processed = self._prepare(volume)
        if cancelled is not None and cancelled():
            raise Cancelled("The prediction was cancelled.")
        return processed


class _Told(Computer):
    """Says in words which windows a network cannot see: of one from elsewhere nobody knows."""

    def __init__(
        self,
        name: str,
        network: torch.nn.Module,
        accelerator: Accelerator,
        precision: str,
        engine: EngineName,
        targets: Literal["exclusive", "overlapping"],
    ) -> None:
        super().__init__(network, accelerator, precision, engine, targets)
        self._name = name

    def forward(self, images: NDArray[np.float32], count: int = 1, cancelled: CancelCheck | None = None) -> torch.Tensor:
        try:
            return super().forward(images, count, cancelled)
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            sides = " x ".join(str(side) for side in images.shape[2:])
            raise ModelError(
                f"The network of {self._name} cannot see {sides} voxels at once ({str(error).splitlines()[0]}).",
                "Predict as the model was trained (mode auto), or correct the size of its windows.",
            ) from error


def stand_in(in_channels: int, out_channels: int, divisor: tuple[int, int, int], dims: int = 3) -> NetworkSpec:
    """Return a spec with the channels and the divisor of a network that is none of our zoo.

    Raises
    ------
    ModelError
        A divisor is no power of two.
    """
    halvings = [side.bit_length() - 1 for side in divisor]
    if any(2**count != side for count, side in zip(halvings, divisor, strict=True)):
        raise ModelError(
            f"The network shrinks an axis by {max(divisor)} in all, and only steps of 1 and 2 are known.", "Use another model."
        )
    steps = max(2, *halvings)
    i, j, k = ([2 if step < count else 1 for step in range(steps)] for count in halvings)
    strides = list(zip(i, j, k, strict=True))
    features = tuple(min(16 * 2**level, 512) for level in range(steps + 1))
    values = {"in_channels": in_channels, "out_channels": out_channels, "features": features, "strides": strides, "dims": dims}
    return NetworkSpec.model_validate({"name": "dynunet", **values})
