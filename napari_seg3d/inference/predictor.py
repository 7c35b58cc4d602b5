"""`Predictor`: a loaded model that turns scans into labels on their own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ModelError
from napari_seg3d.inference.cascade import box_on, coarse_grid, grown_box, object_box
from napari_seg3d.inference.device import Accelerator, Precision, choose_accelerator, choose_precision
from napari_seg3d.inference.engines import EngineName, Engines
from napari_seg3d.inference.home import bring_home, bring_slabs_home
from napari_seg3d.inference.model import Model, ModelSpec, load_model
from napari_seg3d.inference.slices import slice_probabilities, slice_slabs, window_count
from napari_seg3d.inference.windows import CancelCheck, Forward, Progress, Tiling, Watch, activated, blended, slabs
from napari_seg3d.networks import build_network, network_info
from napari_seg3d.networks.planes import AXIS
from napari_seg3d.transforms import Pipeline, channels_after, preprocess
from napari_seg3d.volumes import Box, Grid, Label, Volume, crop, fault_of, smallest_integer

if TYPE_CHECKING:
    import torch

Mode = Literal["auto", "patches", "whole"]
_MOST_CHANNELS = 64
_NOTHING = "The first network found nothing in this scan that the second could segment: everything is background."

_RENUMBERED = f"The labels overlap and their values go beyond {_MOST_CHANNELS}: they are numbered anew, from 1, in the order of their values."


@dataclass(frozen=True)
class Prediction:
    """What a model says about a scan.

    Parameters
    ----------
    labels : Volume
        On the scan's own grid and in its voxel order, with the scan's source. Overlapping labels have a channel each: channel c holds 0
        and c + 1, where c + 1 is the value of the label. Values beyond 64 are numbered anew, from 1.
    seconds : float
        How long it took, from the scan in memory to the labels.
    notes : tuple of str
        What the user should know about it.
    """

    labels: Volume
    seconds: float
    notes: tuple[str, ...] = ()


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
    roi : Predictor, optional
        The first network of a cascade: it looks at the whole scan, and this one at the box around what it finds (`spec.crop`).
    engine : {"torch", "openvino", "auto"}
        What computes on a CPU; auto measures both. A network that still learns is computed by torch.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: torch.nn.Module,
        accelerator: str,
        precision: str,
        name: str = "model",
        roi: Predictor | None = None,
        engine: EngineName = "torch",
    ) -> None:
        self.spec = spec
        self.name = name
        self.pipeline = Pipeline.from_list(spec.pipeline)
        self.network = network
        self.roi = roi
        self._accelerator = accelerator
        self._precision = precision
        self._engines = Engines(network, self._forward, precision, engine) if accelerator == "cpu" else None

    @classmethod
    def load(
        cls, path: str | Path, accelerator: str = "auto", precision: str = "auto", engine: EngineName = "torch"
    ) -> Predictor:
        """Return the model in a checkpoint file, ready to predict.

        Raises
        ------
        ModelError
            The file is not one of our models (see `load_model`), or its weights do not fit the network it names.
        ConfigError
            The device is not there.

        Notes
        -----
        On a CPU, `engine` says what computes: torch, OpenVINO, or auto for the one that is measured to be faster on each shape of window.
        """
        path = Path(path)
        model = load_model(path)
        device = choose_accelerator(accelerator)
        name = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
        return cls._of(model, path, device, choose_precision(device, precision), name, engine)

    @classmethod
    def _of(
        cls, model: Model, path: Path, accelerator: Accelerator, precision: Precision, name: str, engine: EngineName
    ) -> Predictor:
        import torch

        network = build_network(model.spec.network)
        try:
            network.load_state_dict(model.weights)
        except RuntimeError as error:
            raise ModelError(
                f"The weights in {path} do not fit its network.", "The file is damaged: take another checkpoint."
            ) from error
        network = network.to(torch.device(accelerator)).eval()
        roi = cls._of(model.roi, path, accelerator, precision, name, engine) if model.roi is not None else None
        return cls(model.spec, network, accelerator, precision, name, roi, engine)

    @property
    def engine(self) -> str:
        """What computed the last window, for the user: OpenVINO, or torch and why not OpenVINO."""
        engines = self._engines
        if engines is not None and engines.last is not None and engines.last.name == "openvino":
            return "OpenVINO"
        return f"torch ({engines.note})" if engines is not None and engines.note else "torch"

    @property
    def labels(self) -> dict[int, str]:
        """Mask value -> name, without the background."""
        return dict(self.spec.labels)

    @property
    def stored_labels(self) -> dict[int, str]:
        """Value -> name as in predictions, where values that are too large for channels are numbered anew."""
        names = dict(sorted(self.labels.items()))
        return dict(enumerate(names.values(), start=1)) if self._has_channels and max(names) > _MOST_CHANNELS else names

    def predict(
        self, volume: Volume, mode: Mode = "auto", progress: Progress | None = None, cancelled: CancelCheck | None = None
    ) -> Prediction:
        """Return the labels of a scan.

        Parameters
        ----------
        volume : Volume
            The scan, in any voxel order and spacing, with as many channels as the model was trained on.
        mode : {"auto", "patches", "whole"}
            How the network sees it: in pieces or as a whole (slice by slice, for a 2D network). auto: as the model was trained.
        progress, cancelled : callable, optional
            Told (done, total) after, and asked before, each window.

        Raises
        ------
        ModelError
            The scan has another number of channels than the model, or is a single slice of another plane.
        ReadError
            The scan is constant or holds values that are no numbers.
        Cancelled
            `cancelled` returned True.
        """
        start = time.perf_counter()
        notes = (_RENUMBERED,) if set(self.stored_labels) != set(self.labels) else ()
        if self.roi is None:
            classes = self._classes_of(volume, mode, progress, cancelled)
        else:
            box = self.find(volume, cancelled)
            part = crop(volume, box) if box is not None else None
            if box is None or part is None or fault_of(part) is not None:
                return Prediction(self.as_volume(None, volume), time.perf_counter() - start, (*notes, _NOTHING))
            inside = self._classes_of(part, mode, progress, cancelled)
            classes = np.zeros((len(inside), *volume.grid.shape), dtype=inside.dtype)
            classes[(slice(None), *box)] = inside
        return Prediction(self.as_volume(classes, volume), time.perf_counter() - start, notes)

    def find(self, volume: Volume, cancelled: CancelCheck | None = None) -> Box | None:
        """Return the box of a scan that the second network of a cascade sees, None when the first one finds nothing.

        Parameters
        ----------
        volume : Volume
            The whole scan.
        cancelled : callable, optional
            Asked between the steps.

        Raises
        ------
        ModelError, ReadError, Cancelled
            As `predict` does.
        """
        assert self.roi is not None
        assert self.spec.crop is not None
        box = self.roi._object_in(volume, cancelled)
        return grown_box(box, volume.grid.shape, self.spec.crop) if box is not None else None

    def classes(
        self,
        image: NDArray[np.float32],
        grid: Grid,
        native: Grid,
        mode: Mode = "auto",
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> NDArray[np.integer]:
        """Return what is where on the native grid, for a scan that is preprocessed already.

        Validation while training calls this with cached arrays, so that its Dice is that of the finished prediction. Of a cascade only
        the second network is asked: the arrays are those of its box.

        Parameters
        ----------
        image : array of shape (C, I, J, K)
            The preprocessed scan.
        grid : Grid
            Where it lies.
        native : Grid
            The grid to answer on: the probabilities are resampled to it and only then made labels, which keeps thin structures that
            resampled labels would lose.
        mode, progress, cancelled
            As for `predict`.

        Returns
        -------
        array of shape (T, I, J, K)
            On `native`. Exclusive labels: T = 1, class indices. Overlapping ones: 0 and 1 for each label, by rising value.
        """
        if self._is_coarse or (self.spec.network.dims == 2 and len(self.spec.planes) > 1):
            probabilities, grid = self.probabilities(image, grid, mode, progress, cancelled)
            return bring_home(probabilities, grid, native, self.spec.targets)
        # Slices come in the order of their plane. Of volumes, along the longest axis what is kept of the probabilities is smallest.
        axis = AXIS[self.spec.planes[0]] if self.spec.network.dims == 2 else int(np.argmax(image.shape[1:]))
        return bring_slabs_home(self._slabs(image, mode, progress, cancelled, axis), grid, native, self.spec.targets, axis)

    def probabilities(
        self,
        image: NDArray[np.float32],
        grid: Grid,
        mode: Mode = "auto",
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> tuple[NDArray[np.float32], Grid]:
        """Return how likely each class or label is, for a scan that is preprocessed already, and where that lies.

        Parameters
        ----------
        image, grid, mode, progress, cancelled
            As for `classes`. A network that answers at its deepest level always sees the scan as a whole.

        Returns
        -------
        array of shape (channels, i, j, k)
            float32.
        Grid
            That of the image, or the coarser one of such a network.
        """
        spec, tile = self.spec, self._tile(mode)
        if spec.network.dims == 2:
            seen = slice_probabilities(
                self._computed(image.shape[1]), image, spec.planes, spec.context, tile, spec.targets, progress, cancelled
            )
            return seen, grid
        tiling, lowest = tile(image.shape[1:]), float(image.min())
        watch = Watch(len(tiling.corners), progress, cancelled)
        if self._is_coarse:
            padded = tiling.pad(image[np.newaxis], lowest)
            logits = next(self._forward(padded) for _ in watch.over(tiling.corners))
            grid = coarse_grid(grid, tiling, logits.shape[2:])
        else:
            logits = blended(self._computed(len(tiling.corners)), image[np.newaxis], tiling, lowest, watch)
        return activated(logits, spec.targets)[0].numpy(), grid

    def _slabs(
        self, image: NDArray[np.float32], mode: Mode, progress: Progress | None, cancelled: CancelCheck | None, axis: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the probabilities ``(channels, i, j, k)`` of slabs along an axis, each with its first voxel."""
        spec, tile = self.spec, self._tile(mode)
        if spec.network.dims == 2:
            plane = spec.planes[0]
            watch = Watch(window_count(image, plane, tile), progress, cancelled)
            yield from slice_slabs(self._computed(image.shape[1]), image, plane, spec.context, tile, spec.targets, watch)
            return
        tiling, lowest = tile(image.shape[1:]), float(image.min())
        watch = Watch(len(tiling.corners), progress, cancelled)
        for first, logits in slabs(self._computed(len(tiling.corners)), image[np.newaxis], tiling, lowest, watch, axis):
            yield first, activated(logits, spec.targets)[0].numpy()

    def _tile(self, mode: Mode) -> Callable[[tuple[int, ...]], Tiling]:
        """Return what lays the windows for images or slices with the given sides."""
        dims = self.spec.network.dims
        if self._is_coarse or (self.spec.mode if mode == "auto" else mode) == "whole":
            return partial(Tiling.whole, divisor=self.spec.network.divisor[:dims])
        return partial(Tiling, window=self.spec.patch_size[:dims])

    @property
    def _is_coarse(self) -> bool:
        return network_info(self.spec.network.name).answers != "voxels"

    def _classes_of(
        self, volume: Volume, mode: Mode, progress: Progress | None, cancelled: CancelCheck | None
    ) -> NDArray[np.integer]:
        processed = self._preprocessed(volume, cancelled)
        image = np.asarray(processed.data, dtype=np.float32)
        return self.classes(image, processed.grid, volume.grid, mode, progress, cancelled)

    def _object_in(self, volume: Volume, cancelled: CancelCheck | None) -> Box | None:
        """Return the box of the scan around what this network finds anywhere."""
        processed = self._preprocessed(volume, cancelled)
        image = np.asarray(processed.data, dtype=np.float32)
        probabilities, grid = self.probabilities(image, processed.grid, "whole", cancelled=cancelled)
        anything = 1 - probabilities[0] if self.spec.targets == "exclusive" else probabilities.max(axis=0)
        box = object_box(np.greater(anything, 0.5))
        return box_on(box, grid, volume.grid) if box is not None else None

    def _preprocessed(self, volume: Volume, cancelled: CancelCheck | None) -> Volume:
        slices = 2 * self.spec.context + 1
        wanted = self.spec.network.in_channels // slices
        if channels_after(self.pipeline, volume.data.shape[0]) != wanted:
            raise ModelError(
                f"The scan has {volume.data.shape[0]} channels, the model was trained on {wanted // channels_after(self.pipeline, 1)}.",
                "Choose another scan or model.",
            )
        shape = volume.grid.canonical().shape
        flat = [plane for plane, axis in AXIS.items() if shape[axis] == 1]
        if self.spec.network.dims == 2 and flat and not set(flat) & set(self.spec.planes):
            raise ModelError(
                f"The scan is a single {flat[0]} slice, and the model sees {' and '.join(self.spec.planes)} ones.",
                "Choose a model that was trained on such slices.",
            )
        processed, _ = preprocess(self.pipeline, volume)
        if cancelled is not None and cancelled():
            raise Cancelled("The prediction was cancelled.")
        return processed

    def as_volume(self, classes: NDArray[np.integer] | None, scan: Volume) -> Volume:
        """Return classes ``(T, I, J, K)``, as `classes` gives them, as labels of the scan; None stands for background alone."""
        names = self.stored_labels
        values = np.array(list(names))
        if self._has_channels:
            dtype = smallest_integer(0, int(values.max()))
            data = np.zeros((values.max(), *scan.grid.shape), dtype)
            if classes is not None:
                data[values - 1] = classes * values.astype(dtype)[:, None, None, None]
        else:
            lookup = np.array(self.spec.label_values, dtype=smallest_integer(0, int(values.max())))
            data = lookup[classes if classes is not None else np.zeros((1, *scan.grid.shape), np.uint8)]
        return Volume(
            data,
            scan.affine,
            "labels",
            scan.source,
            labels={value: Label(name) for value, name in names.items()},
            is_oriented=scan.is_oriented,
        )

    @property
    def _has_channels(self) -> bool:
        return self.spec.targets == "overlapping" and len(self.labels) > 1

    def _computed(self, count: int) -> Forward:
        """Return what computes the network for about `count` windows: the faster engine."""
        engines = self._engines
        if engines is None:
            return self._forward
        return lambda images: engines.engine_for(images.shape, count).forward(images)

    def _forward(self, images: NDArray[np.float32]) -> torch.Tensor:
        import torch

        # What is mapped from a file may not be written to, and torch wants no such array.
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        layout = torch.channels_last_3d if batch.ndim == 5 else torch.channels_last
        batch = batch.to(self._accelerator, memory_format=layout)
        dtype = torch.float16 if self._precision == "16" else torch.bfloat16
        # Not inference mode: its tensors could not be changed in place by whoever gets them.
        with torch.no_grad(), torch.autocast(self._accelerator, dtype, enabled=self._precision != "32"):
            return self.network(batch).float().cpu()  # type: ignore[no-any-return]
