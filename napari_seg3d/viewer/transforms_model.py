"""`TransformsModel`: what the steps make of the case in view, computed in the background and shown beside it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QMainWindow

from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.comparison import Comparison
from napari_seg3d.viewer.data_model import DataModel
from napari_seg3d.viewer.frames import Frame
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.label_look import history_of, styles_of
from napari_seg3d.viewer.layers import at_time, native_of
from napari_seg3d.viewer.recipe_model import Kind, RecipeModel
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.viewer.transform_preview import Ask, Compared, Kept, Sample, Scene, What, compare, samples
from napari_seg3d.viewer.windows import image_looked_at
from napari_seg3d.volumes import Label

if TYPE_CHECKING:
    from napari import Viewer

#: Voxels along each side of a quick preview.
QUICK_EDGES = (32, 64, 96, 128)
_FORESEEN = range(1, 257)  # labels whose colours are carried over
_PAUSE_MS = 20  # a slider tells of a move more often than a screen can show one
_SAMPLES_WAIT_MS = 250  # small pictures of other seeds must not keep a slider that goes on waiting


@dataclass(frozen=True)
class PreviewSettings:
    """How the preview looks at a recipe.

    Parameters
    ----------
    kind : {"preprocessing", "augmentation"}
        Which of the two lists is looked at.
    network : bool
        Show the patch that the network sees instead.
    edge : int or None
        Only a block of so many voxels a side; None for the whole scan.
    row : int
        The selected step, -1 for none.
    upto : bool
        Run the steps up to the selected one only.
    always : bool
        Apply the selected step whatever its probability.
    difference : bool
        Show what changed instead of the result.
    masks : bool
        Show the mask over both views.
    seed : int
        Of everything random.
    pinned : bool
        Keep the seed when a step changes.
    samples : int
        How many small pictures of other seeds to make.
    """

    kind: Kind = "augmentation"
    network: bool = False
    edge: int | None = 64
    row: int = -1
    upto: bool = False
    always: bool = True
    difference: bool = False
    masks: bool = True
    seed: int = 0
    pinned: bool = True
    samples: int = 4

    @property
    def what(self) -> What:
        """What is compared."""
        return "network" if self.network else self.kind


class TransformsModel(QObject):
    """The recipe that is edited, and its preview.

    Attributes
    ----------
    recipe : RecipeModel
        The steps.
    settings : PreviewSettings
        How the preview looks at them; changed by `look`.
    comparison : Comparison
        The two views.
    compared : Compared or None
        What is shown.
    error : Seg3dError or None
        Why the last preview was not made; what was shown before it stays.
    job : Job or None
        The preview that is being made.
    samples : list of Sample
        The small pictures of other seeds that are there already.
    """

    #: The preview began, ended or failed, or its settings are others.
    changed = Signal()
    #: A small picture of another seed is there.
    sampleMade = Signal(object)
    _sampled = Signal(object, object)

    def __init__(self, viewer: Viewer, data: DataModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.recipe = RecipeModel(data)
        self.comparison = Comparison(viewer)
        self.settings = PreviewSettings()
        self.compared: Compared | None = None
        self.error: Seg3dError | None = None
        self.job: Job | None = None
        self._scene: tuple[tuple[Any, ...], Scene] | None = None
        self._kept = Kept()
        # Two pipelines at a time would draw from one random state, and share the cores.
        self._one_at_a_time = threading.Lock()
        self._filled_for: object = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._begin)
        self.samples: list[Sample] = []
        self._sample_job: Job | None = None
        self._waiting: tuple[Scene, Ask] | None = None
        self._timer_of_samples = QTimer(self)
        self._timer_of_samples.setSingleShot(True)
        self._timer_of_samples.setInterval(_SAMPLES_WAIT_MS)
        self._timer_of_samples.timeout.connect(self._make_samples)
        self._sampled.connect(self._take_sample)
        self.recipe.changed.connect(self._take_recipe)
        self.recipe.configChanged.connect(self._take_config)
        self.comparison.closed.connect(self.stop)
        self.comparison.moved.connect(self._take_move)
        layers = viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.selection.events.active):
            event.connect(self._look_again)

    @property
    def is_on(self) -> bool:
        """Whether the preview is shown."""
        return self.comparison.is_shown

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being made: what is shown is what was asked for, or the error says why not."""
        return self.job is None and not self._timer.isActive()

    def start(self, window: QMainWindow) -> None:
        """Show the preview in the place of the canvas of a window."""
        self._filled_for = None
        self.comparison.show(window)
        self.ask()

    def stop(self) -> None:
        """End the preview; nothing of it stays in memory."""
        self.comparison.hide()
        self.forget()
        self.changed.emit()

    def forget(self) -> None:
        """Stop all work and let go of what was shown, without a word to a window that may be gone."""
        self._timer.stop()
        self._cancel()
        self.comparison.forget()
        self.error, self.compared = None, None
        self._scene, self._kept = None, Kept()

    def look(self, **settings: Any) -> None:
        """Change how the preview looks at the steps, by the names of `PreviewSettings`."""
        wanted = replace(self.settings, **settings)
        if wanted == self.settings:
            return
        needs_work = replace(wanted, masks=self.settings.masks, pinned=self.settings.pinned) != self.settings
        self.settings = wanted
        self.comparison.show_masks(wanted.masks)
        self.changed.emit()
        if needs_work:
            self.ask()

    def roll(self) -> None:
        """Take another seed."""
        self.look(seed=int(np.random.default_rng().integers(10_000)))

    def ask(self) -> None:
        """Make the preview anew, in a moment: the newest wish replaces those before it."""
        if self.is_on:
            # At once, where nothing goes on; else a moment later, with all that was wished for meanwhile.
            pause = 0 if self.job is None else _PAUSE_MS
            self._cancel()
            if not self._timer.isActive():
                self._timer.start(pause)

    # -- work ----------------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self.is_on:
            return
        self.error = None
        try:
            scene = self._scene_in_view()
        except Seg3dError as error:
            # What was shown is not in view any more.
            self.comparison.clear()
            self.compared, self._scene, self._kept, self._filled_for = None, None, Kept(), None
            self._fail(None, error)
            return
        try:
            ask = self._asked()
        except Seg3dError as error:
            self._fail(None, error)
            return
        kept, lock = self._kept, self._one_at_a_time

        def work(job: Job) -> Compared:
            with lock:
                return compare(scene, ask, kept, job.is_cancelled)

        job = self.job = start_job(
            work,
            returned=lambda compared: self._take(job, compared, scene, ask),
            failed=lambda error: self._fail(job, error),
        )
        self.changed.emit()

    def _take(self, job: Job, compared: Compared, scene: Scene, ask: Ask) -> None:
        if job is not self.job or not self.is_on:
            return
        self.job, self.compared = None, compared
        self.comparison.set(compared.before, compared.after, compared.titles)
        # Another case, or a patch instead of a scan, lies elsewhere; another step does not, and nor does the eye.
        place = (scene.image, ask.what == "network", ask.edge)
        if place != self._filled_for:
            self._filled_for = place
            self.comparison.fill()
        self.changed.emit()
        if ask.samples:
            self._waiting = (scene, ask)
            self._timer_of_samples.start()

    def _make_samples(self) -> None:
        if self._waiting is None or not self.is_on or self.job is not None:
            return
        (scene, ask), kept, lock = self._waiting, self._kept, self._one_at_a_time
        self._waiting = None

        def work(job: Job) -> None:
            with lock:
                for sample in samples(scene, ask, kept, job.is_cancelled):
                    self._sampled.emit(job, sample)

        self._sample_job = start_job(work)

    def _take_sample(self, job: Job, sample: Sample) -> None:
        if job is self._sample_job and self.is_on:
            self.samples.append(sample)
            self.sampleMade.emit(sample)

    def _cancel(self) -> None:
        self._timer_of_samples.stop()
        for job in (self.job, self._sample_job):
            if job is not None:
                job.cancel()
        self.job, self._sample_job, self._waiting, self.samples = None, None, None, []

    def _fail(self, job: Job | None, error: Seg3dError) -> None:
        if job is self.job and self.is_on:
            self.job, self.error = None, error
            self.changed.emit()

    # -- what is looked at ---------------------------------------------------------------------------------------------------------

    def _asked(self) -> Ask:
        now = self.settings
        steps = self.recipe.steps(now.kind)
        row = now.row if 0 <= now.row < len(steps) and not now.network else None
        return Ask(
            recipe=self.recipe.value(),
            what=now.what,
            seed=now.seed,
            edge=None if now.network else now.edge,
            point=self.comparison.point,
            upto=row if now.upto else None,
            always=row if now.always else None,
            samples=now.samples if now.what != "preprocessing" else 0,
            order=self.comparison.order,
            config=self.recipe.config,
            settings=self.recipe.settings(),
            fingerprint=self.recipe.fingerprint,
            values=self.recipe.label_values,
            difference=now.difference,
        )

    def _scene_in_view(self) -> Scene:
        """Return the image that is looked at and its mask, the same object as long as they are the same."""
        image = image_looked_at(self._viewer)
        if image is None:
            raise Seg3dError("No scan is in view.", "Open one, or choose a case in the Data dock, and select its layer.")
        if image.multiscale or not isinstance(image.data, np.ndarray):
            raise Seg3dError(f"{image.name} stays on the disk and is too large to preview.", "Choose a scan that is in memory.")
        mask = self._mask_on(image)
        time = round(self._viewer.dims.point[0]) if image.ndim > 3 else 0
        key = (image, image.data, mask, mask.data if mask is not None else None, history_of(mask), time)
        if self._scene is None or not _is_same(key, self._scene[0]):
            self._scene = (key, _scene_of(image, mask, time, list(self._viewer.layers)))
        return self._scene[1]

    def _mask_on(self, image: Image) -> Labels | None:
        """Return the topmost visible mask that lies on an image."""
        for layer in reversed(self._viewer.layers):
            if (
                isinstance(layer, Labels)
                and layer.visible
                and not layer.multiscale
                and layer.data.shape[-3:] == image.data.shape[-3:]
                and np.allclose(layer.scale[-3:], image.scale[-3:])
                and np.allclose(layer.translate[-3:], image.translate[-3:])
            ):
                return layer
        return None

    def _take_recipe(self) -> None:
        if not self.settings.pinned and self.is_on:
            self.settings = replace(self.settings, seed=int(np.random.default_rng().integers(10_000)))
            self.changed.emit()
        self.ask()

    def _take_config(self) -> None:
        if self.settings.network:  # how large the patch is, and how much of it lies on labels
            self.ask()

    def _take_move(self) -> None:
        """Bring the block to where the user looks now, unless that is within it."""
        now = self.settings
        if self.compared is None or now.network or not self.compared.is_block:
            return
        data, settings, _ = self.compared.after[0]
        low = np.array(settings["translate"]) - np.array(settings["scale"]) / 2
        high = low + np.array(settings["scale"]) * np.array(data.shape)
        place, margin = np.array(self.comparison.point), (high - low) / 8
        if ((place < low + margin) | (place > high - margin)).any():
            self.ask()

    def _look_again(self, event: object = None) -> None:
        """Follow the selected image; our own views are other viewers, and do not come here."""
        if self.is_on:
            self.ask()


def _scene_of(image: Image, mask: Labels | None, time: int, layers: list[Layer]) -> Scene:
    native = native_of(image)
    volume = at_time(layer_to_volume(image, layers), time)
    placed, labels = None, {}
    if mask is not None:
        placed = layer_to_volume(mask, layers)
        if placed.grid.matches(volume.grid) and len(placed.data) == 1:
            placed, labels = replace(placed, affine=volume.affine), _look_of(mask)
        else:
            placed = None
    return Scene(image.name, volume, placed, labels, native.placement.frame if native is not None else Frame.of(volume.grid))


def _look_of(mask: Labels) -> dict[int, Label]:
    """Return names, and colours where they are not those that every mask has."""
    styles = {value: style for value, style in styles_of(mask, _FORESEEN).items() if value}
    is_own = any(style.colour != label_colour(value) for value, style in styles.items())
    return {value: Label(style.name, style.colour if is_own else "") for value, style in styles.items() if is_own or style.name}


def _is_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(a is b or (isinstance(a, int | tuple) and a == b) for a, b in zip(one, other, strict=True))
