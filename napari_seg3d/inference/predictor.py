"""`Predictor`: a loaded model that turns scans into labels on their own grid."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ModelError
from napari_seg3d.inference.device import choose_accelerator, choose_precision
from napari_seg3d.inference.model import ModelSpec, load_model
from napari_seg3d.inference.windows import CancelCheck, Progress, patch_probabilities, whole_probabilities
from napari_seg3d.networks import build_network
from napari_seg3d.transforms import Pipeline, channels_after, preprocess
from napari_seg3d.volumes import Grid, Label, Volume, lattice_offset, resample, smallest_integer

if TYPE_CHECKING:
    import torch

Mode = Literal["auto", "patches", "whole"]


@dataclass(frozen=True)
class Prediction:
    """What a model says about a scan.

    Parameters
    ----------
    labels : Volume
        On the scan's own grid and in its voxel order, with the scan's source.
    seconds : float
        How long it took, from the scan in memory to the labels.
    """

    labels: Volume
    seconds: float


class Predictor:
    """A model, kept warm between scans.

    Parameters
    ----------
    spec : ModelSpec
        What the model is.
    network : torch module
        Its network, on its device.
    accelerator, precision : str
        Where and how it computes.
    name : str
        What to call it.
    """

    def __init__(self, spec: ModelSpec, network: torch.nn.Module, accelerator: str, precision: str, name: str = "model") -> None:
        self.spec = spec
        self.name = name
        self.pipeline = Pipeline.from_list(spec.pipeline)
        self.network = network
        self._accelerator = accelerator
        self._precision = precision

    @classmethod
    def load(cls, path: str | Path, accelerator: str = "auto", precision: str = "auto") -> Predictor:
        """Return the model in a checkpoint file, ready to predict.

        Raises
        ------
        ModelError
            The file is not one of our models (see `load_model`), or its weights do not fit the network it names.
        ConfigError
            The device is not there.
        """
        import torch

        path = Path(path)
        spec, weights = load_model(path)
        device = choose_accelerator(accelerator)
        network = build_network(spec.network)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(
                f"The weights in {path} do not fit its network.", "The file is damaged: take another checkpoint."
            ) from error
        network = network.to(torch.device(device)).eval()
        name = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
        return cls(spec, network, device, choose_precision(device, precision), name)

    @property
    def labels(self) -> dict[int, str]:
        """Mask value -> name, without the background."""
        return dict(self.spec.labels)

    def predict(
        self, volume: Volume, mode: Mode = "auto", progress: Progress | None = None, cancelled: CancelCheck | None = None
    ) -> Prediction:
        """Return the labels of a scan.

        Parameters
        ----------
        volume : Volume
            The scan, in any voxel order and spacing, with as many channels as the model was trained on.
        mode : {"auto", "patches", "whole"}
            auto: as the model was trained.
        progress, cancelled : callable, optional
            Told (done, total) after, and asked before, each patch.

        Raises
        ------
        ModelError
            The scan has another number of channels than the model.
        ReadError
            The scan is constant or holds values that are no numbers.
        Cancelled
            `cancelled` returned True.
        """
        start = time.perf_counter()
        wanted = self.spec.network.in_channels
        if channels_after(self.pipeline, volume.data.shape[0]) != wanted:
            raise ModelError(
                f"The scan has {volume.data.shape[0]} channels, the model was trained on {wanted // channels_after(self.pipeline, 1)}.",
                "Choose another scan or model.",
            )
        processed, _ = preprocess(self.pipeline, volume)
        if cancelled is not None and cancelled():
            raise Cancelled("The prediction was cancelled.")
        classes = self.classes(
            np.asarray(processed.data, dtype=np.float32), processed.grid, volume.grid, mode, progress, cancelled
        )
        values = np.array(self.spec.label_values)
        lookup = values.astype(smallest_integer(0, int(values.max())))
        labels = Volume(
            lookup[classes][np.newaxis],
            volume.affine,
            "labels",
            volume.source,
            labels={value: Label(name) for value, name in self.labels.items()},
            is_oriented=volume.is_oriented,
        )
        return Prediction(labels, time.perf_counter() - start)

    def classes(
        self,
        image: NDArray[np.float32],
        grid: Grid,
        native: Grid,
        mode: Mode = "auto",
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> NDArray[np.integer]:
        """Return the class of every voxel of the native grid for a scan that is preprocessed already.

        Validation while training calls this with cached arrays, so that its Dice is that of the finished prediction.

        Parameters
        ----------
        image : array of shape (C, I, J, K)
            The preprocessed scan.
        grid : Grid
            Where it lies.
        native : Grid
            The grid to answer on: the probabilities are resampled to it and only then made labels, which keeps thin structures that
            resampled labels would lose.

        Returns
        -------
        array of native.shape
            Class indices.
        """
        import torch

        with torch.inference_mode():
            tensor = torch.from_numpy(image)
            if (self.spec.mode if mode == "auto" else mode) == "whole":
                probabilities = whole_probabilities(self._forward, tensor, self.spec.network.divisor)
                if progress is not None:
                    progress(1, 1)
            else:
                probabilities = patch_probabilities(self._forward, tensor, self.spec.patch_size, progress, cancelled)
        return _classes_on(probabilities.numpy(), grid, native)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        batch = batch.to(self._accelerator, memory_format=torch.channels_last_3d)
        with torch.autocast(self._accelerator, torch.bfloat16, enabled=self._precision == "bf16"):
            return self.network(batch)  # type: ignore[no-any-return]


def _classes_on(probabilities: NDArray[np.float32], grid: Grid, native: Grid) -> NDArray[np.integer]:
    """Return the likeliest class at each voxel of `native`, holding one resampled class at a time instead of all."""
    canonical = native.canonical()
    classes = np.zeros(canonical.shape, dtype=smallest_integer(0, len(probabilities) - 1))
    known = Volume(probabilities, grid.affine).canonical()
    offset = lattice_offset(known.grid, canonical)
    if offset is not None:
        # The same voxels, perhaps cropped or padded: outside of a crop is background.
        ends = [(start, start + side) for start, side in zip(offset, known.grid.shape, strict=True)]
        target = tuple(slice(max(0, first), max(0, last)) for first, last in ends)
        sides = zip(ends, canonical.shape, strict=True)
        inside = tuple(slice(max(0, -first), max(0, min(last, side) - first)) for (first, last), side in sides)
        classes[target] = known.data[(slice(None), *inside)].argmax(axis=0)
    else:
        best = np.full(canonical.shape, -1.0, dtype=np.float32)
        for index, probability in enumerate(probabilities):
            here = resample(Volume(probability[np.newaxis], grid.affine), canonical)[0]
            better = here > best
            best[better] = here[better]
            classes[better] = index
    return np.ascontiguousarray(native.from_canonical(classes))
