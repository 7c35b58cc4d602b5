"""`Predictor`: a loaded model that turns scans into labels on their own grid."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import Cancelled, ModelError
from napari_seg3d.inference.beside import OtherModel, fingerprint
from napari_seg3d.inference.blocks import Place, blended, blocks
from napari_seg3d.inference.calibration import calibration_beside
from napari_seg3d.inference.cascade import box_on, coarse_grid, grown_box, object_box
from napari_seg3d.inference.computer import Computer
from napari_seg3d.inference.device import Accelerator, choose_accelerator, choose_precision
from napari_seg3d.inference.engines import EngineName
from napari_seg3d.inference.flips import mirrored
from napari_seg3d.inference.home import Answer, Partly, Wanted, bring_blocks_home, bring_home
from napari_seg3d.inference.label_values import RENUMBERED, LabelValues
from napari_seg3d.inference.model import Model, ModelSpec, load_model
from napari_seg3d.inference.options import PATIENT_AXES, PredictOptions
from napari_seg3d.inference.piecewise.cutting import PaddedWhenRead, Windows
from napari_seg3d.inference.piecewise.pieces import Pieces, check_sound, extremes, pieces_of
from napari_seg3d.inference.piecewise.steps import kept, prepared
from napari_seg3d.inference.postprocess import Rules, postprocessed, rules_beside
from napari_seg3d.inference.prediction import Prediction, map_of
from napari_seg3d.inference.seeing import is_coarse, longest_two, prepares_in_pieces, seen_for, windows_of
from napari_seg3d.inference.slices import slice_probabilities, slice_slabs, window_count
from napari_seg3d.inference.windows import CancelCheck, Forward, Progress, Tiling, Watch, activated
from napari_seg3d.networks import build_network
from napari_seg3d.networks.planes import AXIS, Plane
from napari_seg3d.transforms import Pipeline, channels_after, grid_after, preprocess
from napari_seg3d.volumes import Box, Grid, Volume, box_of, crop, crop_grid, fault_of

if TYPE_CHECKING:
    import torch

_AS_TRAINED = PredictOptions()
_NOTHING = "The first network found nothing in this scan that the second could segment: everything is background."

_ON_CPU = "The memory of the GPU ran out, so the CPU went on, more slowly."


class Predictor:
    """A model, kept warm between scans.

    Parameters
    ----------
    spec : ModelSpec
        What the model is.
    computer : Computer
        Its network, and what computes that.
    name : str
        What to call it.
    roi : Predictor, optional
        The first network of a cascade: it looks at the whole scan, and this one at the box around what it finds (`spec.crop`).
    """

    def __init__(
        self,
        spec: ModelSpec,
        computer: Computer,
        name: str = "model",
        roi: Predictor | None = None,
    ) -> None:
        self.spec = spec
        #: How its classes are written into masks.
        self.label_values = LabelValues(spec)
        self.computer = computer
        self.name = name
        self.pipeline = Pipeline.from_list(spec.pipeline)
        self.roi = roi
        #: What its logits are divided by, so that its probabilities mean what they say.
        self.temperature = spec.temperature
        #: What is done to its masks unless the options say otherwise.
        self.rules: Rules | None = spec.rules
        #: Why rules, or a temperature, that lie beside its file are left aside, for the user.
        self.without_rules = self.without_temperature = ""
        #: What tells its weights from others, where they come from a file.
        self.fingerprint: str | None = None

    @classmethod
    def load(cls, path: str | Path, accelerator: str = "auto", precision: str = "auto", engine: EngineName = "auto") -> Predictor:
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
        made_of = fingerprint(path)  # before the weights: what a run replaces meanwhile is then taken for another model
        model = load_model(path)
        device = choose_accelerator(accelerator)
        choose_precision(device, precision)  # raises where that is not to be had
        name = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
        predictor = cls._of(model, path, device, precision, name, engine)
        predictor.fingerprint = made_of
        try:
            predictor.rules = rules_beside(path) or predictor.rules
        except OtherModel as error:
            predictor.without_rules = f"{error.what} {error.fix}"
        try:
            calibration = calibration_beside(path)
            predictor.temperature = calibration.temperature if calibration is not None else predictor.temperature
        except OtherModel as error:
            predictor.without_temperature = f"{error.what} {error.fix}"
        return predictor

    @classmethod
    def _of(cls, model: Model, path: Path, accelerator: Accelerator, precision: str, name: str, engine: EngineName) -> Predictor:
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
        return cls(model.spec, Computer(network, accelerator, precision, engine, model.spec.targets), name, roi)

    @property
    def network(self) -> torch.nn.Module:
        """The network."""
        return self.computer.network

    @property
    def engine(self) -> str:
        """What computed the last window, for the user: OpenVINO, or torch and why not OpenVINO."""
        return self.computer.told

    @property
    def labels(self) -> dict[int, str]:
        """Mask value -> name, without the background."""
        return dict(self.spec.labels)

    @property
    def stored_labels(self) -> dict[int, str]:
        """Value -> name as in predictions, where values that are too large for channels are numbered anew."""
        return self.label_values.names

    def predict(
        self,
        volume: Volume,
        options: PredictOptions = _AS_TRAINED,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
        partly: Partly | None = None,
    ) -> Prediction:
        """Return the labels of a scan.

        Parameters
        ----------
        volume : Volume
            The scan, in any voxel order and spacing, with as many channels as the model was trained on.
        options : PredictOptions
            How.
        progress, cancelled : callable, optional
            Told (done, total) after, and asked before, each window.
        partly : callable, optional
            Told of each box of the scan whose labels are known while the rest is computed: where it lies, and what `Prediction.labels` will
            hold there, but for the rules of the model. Some ways to predict know everything at once, and then nothing is told.

        Raises
        ------
        ModelError
            The scan has another number of channels than the model, or is a single slice of another plane.
        ReadError
            The scan is constant or holds values that are no numbers.
        GeometryError
            The region does not lie in the scan.
        Cancelled
            `cancelled` returned True.
        """
        start = time.perf_counter()
        told = None if partly is None else lambda box, classes: partly(box, self.label_values.of(classes))
        notes = [RENUMBERED] if self.label_values.is_renumbered else []
        if self.without_temperature and (options.probabilities or options.uncertainty):
            notes.append(self.without_temperature)
        if self.roi is None:
            answer = self._answer_of(volume, options, progress, cancelled, told)
        else:
            box = self.find(volume, cancelled)
            part = crop(volume, box) if box is not None else None
            if box is None or part is None or fault_of(part) is not None:
                return self.prediction_of(self._nothing(volume, options), volume, start, [*notes, _NOTHING], options, cancelled)
            answer = self._answer_of(part, replace(options, region=None), progress, cancelled, _within(box, told))
            answer = answer.in_box(box, volume.grid.shape)
            if options.region is not None:
                crop_grid(volume.grid, options.region)  # raises where it is no part of the scan
                answer = answer.cut(options.region).in_box(options.region, volume.grid.shape)
        return self.prediction_of(answer, volume, start, notes, options, cancelled)

    def prediction_of(
        self,
        answer: Answer,
        volume: Volume,
        start: float,
        notes: Sequence[str],
        options: PredictOptions,
        cancelled: CancelCheck | None = None,
    ) -> Prediction:
        """Return an answer on a scan's grid as a prediction, after the rules that belong to the model.

        Parameters
        ----------
        answer : Answer
            On the grid of `volume`.
        volume : Volume
            The scan.
        start : float
            When it was begun, by `time.perf_counter`.
        notes : sequence of str
            What the user should know.
        options : PredictOptions
            Whether the rules apply.
        cancelled : callable, optional
            Asked before each of them.
        """
        labels = self.label_values.volume(answer.labels, volume)
        if self.computer.stepped_down:
            notes = [*notes, _ON_CPU]
        if options.postprocess and self.without_rules:
            notes = [*notes, self.without_rules]
        if options.postprocess and self.rules is not None:
            labels, told = postprocessed(labels, self.rules, cancelled)
            notes = [*notes, *told]
        return Prediction(
            labels,
            time.perf_counter() - start,
            tuple(dict.fromkeys(notes)),
            map_of(answer.probabilities, volume, self.label_values.channels),
            map_of(answer.uncertainty, volume, ("entropy", "disagreement")),
        )

    def _nothing(self, volume: Volume, options: PredictOptions) -> Answer:
        shape, channels = volume.grid.shape, self.spec.channels
        return Answer(
            np.zeros((1 if self.spec.targets == "exclusive" else channels, *shape), np.uint8),
            np.zeros((channels, *shape), np.float32) if options.probabilities else None,
            np.zeros((1, *shape), np.float32) if options.uncertainty else None,
        )

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
        options: PredictOptions = _AS_TRAINED,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> NDArray[np.integer]:
        """Return the labels of `answer` alone, ``(T, I, J, K)``; validation while training calls this with cached arrays."""
        return self.answer(image, grid, native, options, progress, cancelled).labels

    def answer(
        self,
        image: NDArray[np.float32] | Pieces,
        grid: Grid,
        native: Grid,
        options: PredictOptions = _AS_TRAINED,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
        partly: Partly | None = None,
    ) -> Answer:
        """Return what is where on the native grid, for a scan that is preprocessed already.

        Of a cascade only the second network is asked: the arrays are those of its box.

        Parameters
        ----------
        image : array of shape (C, I, J, K), or Pieces
            The preprocessed scan; in pieces only for a network that sees it in 3D windows.
        grid : Grid
            Where it lies.
        native : Grid
            The grid to answer on: the probabilities are resampled to it and only then made labels, which keeps thin structures that
            resampled labels would lose.
        options, progress, cancelled
            As for `predict`.
        partly : callable, optional
            As for `predict`, of the labels as `Answer` has them.

        Returns
        -------
        Answer
            On `native`. Exclusive labels: class indices. Overlapping ones: 0 and 1 for each label, by rising value.
        """
        region = options.region
        if region is not None:
            part, seen, told = (
                crop_grid(native, region),
                seen_for(region, self.spec, grid, native, options),
                _within(region, partly),
            )
            options = replace(options, region=None)
            cut = image.cropped(seen) if isinstance(image, Pieces) else image[(slice(None), *seen)]
            inside = self.answer(cut, crop_grid(grid, seen), part, options, progress, cancelled, told)
            return inside.in_box(region, native.shape)
        targets, channels = self.spec.targets, self.spec.channels
        wanted = Wanted(options.probabilities, options.uncertainty)
        if isinstance(image, Pieces):
            axes = longest_two(grid.shape)
            found = self.computer.beside(self.blocks_in_pieces(image, options, axes, progress, cancelled))
            return bring_blocks_home(found, grid, native, targets, axes, wanted, channels, partly, cancelled)
        if is_coarse(self.spec) or (self.spec.network.dims == 2 and len(self.spec.planes) > 1):
            probabilities, grid = self.probabilities(image, grid, options, progress, cancelled)
            return bring_home(probabilities, grid, native, targets, wanted, channels, cancelled)
        if self.spec.network.dims == 2:  # slices come in the order of their plane
            axes = AXIS[self.spec.planes[0]], (AXIS[self.spec.planes[0]] + 1) % 3
        else:
            axes = longest_two(image.shape[1:])
        found = self.computer.beside(self._blocks(image, options, progress, cancelled, axes))
        return bring_blocks_home(found, grid, native, targets, axes, wanted, channels, partly, cancelled)

    def probabilities(
        self,
        image: NDArray[np.float32],
        grid: Grid,
        options: PredictOptions = _AS_TRAINED,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> tuple[NDArray[np.float32], Grid]:
        """Return how likely each class or label is, for a scan that is preprocessed already, and where that lies.

        Parameters
        ----------
        image, grid, options, progress, cancelled
            As for `answer`. A network that answers at its deepest level always sees the scan as a whole.

        Returns
        -------
        array of shape (channels, i, j, k)
            float32; one more channel where several answers are averaged and the uncertainty is wanted, as `mirrored` says.
        Grid
            That of the image, or the coarser one of such a network.
        """
        spec, tile = self.spec, windows_of(self.spec, options)
        if spec.network.dims == 2:
            networks = partial(self.network_for, count=image.shape[1], options=options, cancelled=cancelled)
            seen = slice_probabilities(
                networks, image, spec.planes, spec.context, tile, spec.targets, spec.channels, progress, cancelled
            )
            return seen, grid
        tiling, lowest = tile(image.shape[1:]), float(image.min())
        watch = Watch(len(tiling.corners), progress, cancelled)
        network = self.network_for(None, len(tiling.corners), options, cancelled)
        if is_coarse(self.spec):
            padded = tiling.pad(image[np.newaxis], lowest)
            logits = next(network(padded) for _ in watch.over(tiling.corners))
            grid = coarse_grid(grid, tiling, logits.shape[2:])
        else:
            logits = blended(network, image[np.newaxis], tiling, lowest, watch)
        return activated(logits, spec.targets, spec.channels)[0].numpy(), grid

    def _blocks(
        self,
        image: NDArray[np.float32],
        options: PredictOptions,
        progress: Progress | None,
        cancelled: CancelCheck | None,
        axes: tuple[int, int],
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Yield the probabilities ``(channels, i, j, k)`` of blocks along two axes, and where each lies."""
        spec, tile = self.spec, windows_of(self.spec, options)
        if spec.network.dims == 2:
            plane = spec.planes[0]
            watch = Watch(window_count(image, plane, tile), progress, cancelled)
            network = self.network_for(plane, image.shape[1], options, cancelled)
            yield from slice_slabs(network, image, plane, spec.context, tile, spec.targets, spec.channels, watch)
            return
        tiling = tile(image.shape[1:])
        yield from self._seen_in(tiling, image[np.newaxis], float(image.min()), options, axes, progress, cancelled)

    def blocks_in_pieces(
        self,
        image: Pieces,
        options: PredictOptions,
        axes: tuple[int, int],
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Yield the probabilities ``(channels, i, j, k)`` of blocks of a prepared scan, and where each lies.

        Parameters
        ----------
        image : Pieces
            For a network that sees 3D windows.
        axes : two ints
            Along which blocks and rows follow one another.
        options, progress, cancelled
            As for `predict`.
        """
        i, j, k = self.spec.patch_size
        tiling = PaddedWhenRead(image.grid.shape, (i, j, k), options.overlap, options.blending)
        lowest = float(extremes(image)[0])
        windows: NDArray[np.float32] = Windows(image, tiling, lowest)  # type: ignore[assignment]  # only cut into boxes
        if len(tiling.corners) == 1:
            windows = windows[(slice(None), slice(None), *(slice(0, side) for side in tiling.padded))]
        yield from self._seen_in(tiling, windows, lowest, options, axes, progress, cancelled)

    def _seen_in(
        self,
        tiling: Tiling,
        images: NDArray[np.float32],
        lowest: float,
        options: PredictOptions,
        axes: tuple[int, int],
        progress: Progress | None,
        cancelled: CancelCheck | None,
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Yield what a 3D network says in the windows of a tiling, put together in blocks."""
        watch = Watch(len(tiling.corners), progress, cancelled)
        network = self.network_for(None, len(tiling.corners), options, cancelled)
        for box, logits in blocks(network, images, tiling, lowest, watch, axes, ahead=not self.computer.is_cpu):
            yield box, activated(logits, self.spec.targets, self.spec.channels)[0].numpy()

    def _answer_of(
        self,
        volume: Volume,
        options: PredictOptions,
        progress: Progress | None,
        cancelled: CancelCheck | None,
        partly: Partly | None,
    ) -> Answer:
        if prepares_in_pieces(self.spec, self.pipeline, volume.data.shape, options):
            pieces = self._in_pieces(volume, cancelled)
            return self.answer(pieces, pieces.grid, volume.grid, options, progress, cancelled, partly)
        processed = self._preprocessed(volume, cancelled)
        image = np.asarray(processed.data, dtype=np.float32)
        return self.answer(image, processed.grid, volume.grid, options, progress, cancelled, partly)

    def _in_pieces(self, volume: Volume, cancelled: CancelCheck | None) -> Pieces:
        """Return a scan that is preprocessed when it is read."""
        self._check_channels(volume.data.shape[0])
        scan = pieces_of(volume).stoppable(cancelled)
        check_sound(scan, str(volume.source.path) if volume.source is not None else "The image")
        is_resampled = not grid_after(self.pipeline, volume.grid).matches(scan.grid)
        return prepared(self.pipeline, scan, kept if is_resampled else lambda unmoved: unmoved).stoppable(cancelled)

    def _object_in(self, volume: Volume, cancelled: CancelCheck | None) -> Box | None:
        """Return the box of the scan around what this network finds anywhere."""
        processed = self._preprocessed(volume, cancelled)
        image = np.asarray(processed.data, dtype=np.float32)
        probabilities, grid = self.probabilities(image, processed.grid, PredictOptions(mode="whole"), cancelled=cancelled)
        anything = 1 - probabilities[0] if self.spec.targets == "exclusive" else probabilities.max(axis=0)
        box = object_box(np.greater(anything, 0.5))
        return box_on(box, grid, volume.grid) if box is not None else None

    def _preprocessed(self, volume: Volume, cancelled: CancelCheck | None) -> Volume:
        self._check_channels(volume.data.shape[0])
        shape = volume.grid.canonical().shape
        flat = [plane for plane, axis in AXIS.items() if shape[axis] == 1]
        if self.spec.network.dims == 2 and flat and not set(flat) & set(self.spec.planes):
            raise ModelError(
                f"The scan is a single {flat[0]} slice, and the model sees {' and '.join(self.spec.planes)} ones.",
                "Choose a model that was trained on such slices.",
            )
        processed, _ = preprocess(self.pipeline, volume, cancelled=cancelled)
        if cancelled is not None and cancelled():
            raise Cancelled("The prediction was cancelled.")
        return processed

    def _check_channels(self, given: int) -> None:
        wanted = self.spec.network.in_channels // (2 * self.spec.context + 1)
        if channels_after(self.pipeline, given) != wanted:
            raise ModelError(
                f"The scan has {given} channels, the model was trained on {wanted // channels_after(self.pipeline, 1)}.",
                "Choose another scan or model.",
            )

    def network_for(
        self, plane: Plane | None, count: int, options: PredictOptions, cancelled: CancelCheck | None = None
    ) -> Forward:
        """Return what computes the network for about `count` windows, of a plane or of volumes: the engine, and its mirror images."""
        in_plane = [axis for axis in range(3) if plane is None or axis != AXIS[plane]]
        flipped = [place for place, axis in enumerate(in_plane) if PATIENT_AXES[axis] in options.flips]
        return mirrored(
            partial(self._logits, count=count, cancelled=cancelled), flipped, self.spec.targets, measured=options.uncertainty
        )

    def _logits(self, images: NDArray[np.float32], count: int, cancelled: CancelCheck | None) -> torch.Tensor:
        logits = self.computer.forward(images, count, cancelled)
        return logits if self.temperature == 1 else logits / self.temperature


def _within(box: Box, partly: Partly | None) -> Partly | None:
    """Return what tells of a part of a box of a scan, to whoever is told of parts of the scan."""
    if partly is None:
        return None
    i, j, k = (side.start for side in box)
    first = np.array([i, j, k])

    def told(part: Box, labels: NDArray[np.generic]) -> None:
        partly(box_of(first + [side.start for side in part], first + [side.stop for side in part]), labels)

    return told
