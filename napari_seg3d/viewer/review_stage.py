"""`ReviewStage`: the layers of the case that is reviewed, and its mask on the way to the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from napari.layers import Image, Labels, Layer

from napari_seg3d.errors import Seg3dError
from napari_seg3d.review import Worklist, keep_mask, measure_entry
from napari_seg3d.viewer.jobs import start_job
from napari_seg3d.viewer.review_case import CasePictures
from napari_seg3d.viewer.saving import join_labels, layer_to_volume
from napari_seg3d.viewer.stage import Stage
from napari_seg3d.viewer.undo import note_kept, tools_used
from napari_seg3d.volumes import Volume

if TYPE_CHECKING:
    from napari import Viewer

L = TypeVar("L", bound=Layer)


class ReviewStage:
    """Knows which layers are of the case that is reviewed: what else is on the stage may be somebody else's.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are.
    stage : Stage
        Of that viewer.
    """

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self._viewer, self._stage = viewer, stage
        self._images: list[Image] = []
        self._masks: list[Labels] = []
        self._following: Callable[[], None] | None = None  # what comes when the mask is written

    @property
    def images(self) -> list[Image]:
        """The layers of the scan that are still there."""
        return self._there(self._images)

    @property
    def masks(self) -> list[Labels]:
        """The layers of the mask that are still there."""
        return self._there(self._masks)

    @property
    def is_edited(self) -> bool:
        """Whether the mask was changed since it was read or written."""
        return any(map(self._stage.is_edited, self.masks))

    @property
    def is_saving(self) -> bool:
        """Whether the mask is being written."""
        return self._following is not None

    def show(self, pictures: CasePictures) -> list[str]:
        """Show a case; return names of masks that stay in the viewer, because they were edited and not saved."""
        kept = self._stage.show_case(pictures.image, pictures.mask)
        self._images, self._masks = self._stage.case_images, self._stage.case_masks
        return kept

    def clear(self) -> None:
        """Take the case away, but for a mask that was edited and not saved."""
        self._stage.remove_all([*self.images, *(mask for mask in self.masks if not self._stage.is_edited(mask))])
        self.let_go()

    def let_go(self) -> None:
        """Leave the layers where they are; they are nobody's case any more."""
        self._images, self._masks = [], []

    def save(self, worklist: Worklist, case: str, then: Callable[[], None], failed: Callable[[Seg3dError], None]) -> None:
        """Write the mask if it was edited, then go on; whoever asks while it is being written goes on instead of the one before.

        Parameters
        ----------
        worklist : Worklist
            Whose version it becomes.
        case : str
            Whose mask it is.
        then : callable
            Called when nothing is left to write.
        failed : callable
            Called with the reason when it cannot be written; the edits stay in the layers.
        """
        if self._following is not None:
            self._following = then
            return
        if not self.is_edited:
            then()
            return
        masks = self.masks

        def kept() -> None:
            left_over = [layer for layer in masks if layer not in self._stage.case_masks and not self._stage.is_edited(layer)]
            self._stage.remove_all(left_over)
            following, self._following = self._following or then, None
            following()

        def not_kept(error: Seg3dError) -> None:
            self._following = None
            failed(error)

        self._following = then
        self.keep(worklist, case, masks, kept, not_kept)

    def keep(
        self,
        worklist: Worklist,
        case: str,
        masks: Sequence[Labels],
        then: Callable[[], None],
        failed: Callable[[Seg3dError], None],
    ) -> None:
        """Write layers as the corrected mask of a case, with the tools that they were edited with; parameters as for `save`."""
        try:
            work, note = self._prepared(worklist, case, masks)
        except Seg3dError as error:
            failed(error)
            return

        def kept(_none: object) -> None:
            note()
            then()

        start_job(lambda _job: work(), returned=kept, failed=failed)

    def keep_at_once(self, worklist: Worklist, case: str) -> None:
        """Write the mask if it was edited, before this returns: the window is about to go. Raises a Seg3dError where that fails."""
        if self.is_edited:
            work, note = self._prepared(worklist, case, self.masks)
            work()
            note()

    def _prepared(self, worklist: Worklist, case: str, masks: Sequence[Labels]) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return what writes layers as they are now, which any thread may call, and what notes then that they are written."""
        mask = join_labels([layer_to_volume(layer, self._viewer.layers) for layer in masks])
        mask = mask.with_data(mask.data.copy())  # whoever goes on painting does not paint into the file
        checksums, tools = [self._stage.checksum(layer) for layer in masks], [tools_used(layer) for layer in masks]
        names = tuple(dict.fromkeys(name for used in tools for name in used))

        def note() -> None:
            for layer, checksum, used in zip(masks, checksums, tools, strict=True):
                self._stage.mark_saved(layer, checksum)
                note_kept(layer, used)

        return lambda: _keep(worklist, case, mask, names), note

    def _there(self, layers: list[L]) -> list[L]:
        return [layer for layer in layers if layer in self._viewer.layers]


def _keep(worklist: Worklist, case: str, mask: Volume, tools: Sequence[str]) -> None:
    """Write a corrected mask, measure it, and note that somebody is at work on the case."""
    keep_mask(worklist, case, mask, "correction", tools)
    worklist.set_state(case, "in work")  # also where it was approved: that was another mask
    entry = worklist.entry(case)
    try:
        measures = measure_entry(entry, worklist.dataset)
    except Seg3dError:
        return  # a reference that cannot be read: the mask is written all the same
    if measures is not None and entry.mask is not None:
        worklist.set_measures(case, entry.mask, measures)
