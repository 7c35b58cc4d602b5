"""Read the mask in use of a case and measure it, with its reference and its map of uncertainty where there are some."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from napari_seg3d.datasets import Dataset, Problem, place_mask, read_case_mask, read_mask
from napari_seg3d.errors import Cancelled, Seg3dError
from napari_seg3d.review.entry import Entry
from napari_seg3d.review.measures import Measures, measure
from napari_seg3d.review.predictions import uncertainty_beside
from napari_seg3d.review.worklist import Worklist
from napari_seg3d.volumes import Volume, read_volume


def read_mask_in_use(entry: Entry, dataset: Dataset, image: Volume | None = None) -> Volume | None:
    """Return the mask in use of a case, on the grid of its scan where that is given; None where there is none.

    Raises
    ------
    ReadError, LabelError
        A file cannot be read, or holds no labels.
    GeometryError
        The mask does not lie on the scan.
    """
    if entry.mask is None:
        return None
    if entry.mask.file is None:
        return read_case_mask(entry.case, image, dataset.merged, overlapping=True)
    mask = read_mask(entry.mask.file, overlapping=True)
    return place_mask(mask, image) if image is not None else mask


def read_reference(entry: Entry, dataset: Dataset, image: Volume | None = None) -> Volume | None:
    """Return the mask of the data set, where another one is in use; raises as `read_mask_in_use` does."""
    return read_case_mask(entry.case, image, dataset.merged, overlapping=True) if entry.has_reference else None


def measure_entry(entry: Entry, dataset: Dataset) -> Measures | None:
    """Return what can be measured of the mask in use of a case; None where there is none.

    The uncertainty is that of a prediction: what a person corrected since is not less sure for it.

    Raises
    ------
    ReadError, LabelError, GeometryError
        As `read_mask_in_use` does.
    """
    mask = read_mask_in_use(entry, dataset)
    if mask is None:
        return None
    reference = read_reference(entry, dataset)
    if reference is not None:
        mask = place_mask(mask, reference)
    uncertainty = _uncertainty(entry, mask)
    return measure(mask, reference, uncertainty, sorted(dataset.labels))


def measure_missing(
    worklist: Worklist,
    entries: Iterable[Entry] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Problem]:
    """Measure the cases that are not measured, and note it; what cannot be read is returned as problems.

    Parameters
    ----------
    worklist : Worklist
        Which; nothing is written before `Worklist.write`.
    entries : iterable of Entry, optional
        Which of them; left out, all.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each case.

    Raises
    ------
    Cancelled
        `cancelled` returned True; what was measured is noted.
    """
    todo = [
        entry for entry in (worklist.entries if entries is None else entries) if entry.mask is not None and entry.measures is None
    ]
    problems = []
    for done, entry in enumerate(todo, start=1):
        if cancelled is not None and cancelled():
            raise Cancelled("The measuring was cancelled.")
        try:
            measures = measure_entry(entry, worklist.dataset)
            if measures is not None and entry.mask is not None:
                worklist.set_measures(entry.case.id, entry.mask, measures)
        except Seg3dError as error:
            problems.append(Problem("error", error.what, error.fix, entry.case.id))
        if progress is not None:
            progress(done, len(todo))
    return problems


def _uncertainty(entry: Entry, mask: Volume) -> Volume | None:
    if entry.mask is None or entry.mask.origin != "prediction" or entry.mask.file is None:
        return None
    file = uncertainty_beside(entry.mask.file)
    if file is None:
        return None
    entropy = read_volume(file, "image")
    return entropy if entropy.grid.matches(mask.grid) else None
