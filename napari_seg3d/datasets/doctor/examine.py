"""Look into the files of one case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.doctor import masks as on_image
from napari_seg3d.datasets.doctor.facts import LABELLED_SHARES, CaseFacts
from napari_seg3d.datasets.doctor.findings import Notebook, Remedy
from napari_seg3d.datasets.doctor.pictures import thumbnail
from napari_seg3d.datasets.doctor.signature import Signature, hash_of_labels, sample_of, sign
from napari_seg3d.datasets.placing import place_mask
from napari_seg3d.datasets.reading import read_case_mask
from napari_seg3d.datasets.subjects import intensity_step
from napari_seg3d.errors import GeometryError, LabelError, Seg3dError
from napari_seg3d.volumes import Grid, Volume, fault_of, read_grid, read_volume, recognise

MOST_LABELS = 256  # more different values are an image that was taken for a mask
#: Images that take so many bytes are told from their header, and not read.
LARGE = 8_000_000_000

_LABELLED = 100_000  # voxels under labels whose intensities are looked at, about
_PACKS_AT_MOST = 1100  # how much gzip can make of a byte: a header that promises more lies


@dataclass
class Look:
    """What one case showed."""

    notebook: Notebook
    facts: CaseFacts | None = None
    signature: Signature | None = None
    mask_hashes: tuple[int, int] = (0, 0)  # of the labels as they lie, and with left and right exchanged; 0 without any
    label_names: dict[int, str] = field(default_factory=dict)  # those that the mask itself gives
    dicom_file: Path | None = None  # whose header may name the patient, who stays in there
    label_counts: dict[int, int] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)


def examine(case: Case, declared: Mapping[int, str], merged: Mapping[int, int]) -> Look:
    """Return what the files of a case show; whatever is wrong with them becomes a finding.

    Parameters
    ----------
    case : Case
        Whose files.
    declared : mapping of int to str
        The labels that there should be; empty where nobody said it.
    merged : mapping of int to int
        Value in a mask -> what it counts as.
    """
    look = Look(Notebook(case.id))
    try:
        if _too_large(look, case):
            return look
        channels = [read_volume(path, "image") for path in case.images]
    except Seg3dError as error:
        path = next((path for path in case.images if str(path) in error.what), case.images[0])
        look.notebook.add("error", "unreadable image", error.what, error.fix, path, _drop(case, error.what))
        return look
    first = channels[0]
    if first.source is not None and first.source.files:
        look.dicom_file = first.source.files[0]
    for path, volume in zip(case.images, channels, strict=True):
        _examine_channel(look, case, path, volume, first)
    mask = _examine_mask(look, case, first, declared, merged) if case.mask is not None else None
    stored = mask.source.header if mask is not None and mask.source is not None else None
    facts = _facts(channels, look.label_counts, _type_in(stored), thumbnail(first, _on_top(mask) if mask is not None else None))
    if mask is not None:
        labelled, painted = _labelled(first, mask), _painted_slices(mask)
        facts = replace(facts, labelled=labelled, overlapping=mask.data.shape[0] > 1, painted=painted)
    look.facts = facts
    # A constant or broken image is like every other one.
    if not any(finding.kind == "broken image" for finding in look.notebook.findings):
        look.signature = sign(first)
    return look


def _examine_channel(look: Look, case: Case, path: Path, volume: Volume, first: Volume) -> None:
    look.notes.update(_notes_on(volume))
    difference = first.grid.difference(volume.grid)
    if difference:
        what = f"{path.name} lies on another grid than {case.images[0].name}: {difference}."
        fix = "Resample the channels of a case to one grid."
        look.notebook.add("error", "channels on several grids", what, fix, path, _drop(case, what))
    fault = fault_of(volume)
    if fault is not None:
        what = f"{path.name} {fault[0]}"
        look.notebook.add("error", "broken image", what, fault[1], path, _drop(case, what))


def _examine_mask(look: Look, case: Case, image: Volume, declared: Mapping[int, str], merged: Mapping[int, int]) -> Volume | None:
    """Look at the mask, note its labels, and return it where it lies on the image."""
    path = case.mask
    if path is None:
        return None
    try:
        mask = read_case_mask(case, None, merged, overlapping=True)
    except LabelError as error:
        remedy = on_image.rounding(case, path)
        fix = on_image.ROUND if remedy else error.fix
        look.notebook.add("error", "no labels", error.what, fix, path, remedy or _drop(case, error.what))
        return None
    except Seg3dError as error:
        look.notebook.add("error", "unreadable mask", error.what, error.fix, path, _drop(case, error.what))
        return None
    placed: Volume | None = None
    try:
        placed = place_mask(mask, image)
    except GeometryError as error:
        found = on_image.how_it_lies(mask, image)
        remedy = Remedy("resample_mask", (case.id,)) if found.can_be_resampled else _drop(case, error.what)
        look.notebook.add("error", "mask on another grid", f"{error.what}{found.words}", error.fix, path, remedy)
    look.label_names = {value: label.name for value, label in mask.labels.items() if label.name}
    counts = _count_labels((placed or mask).data)
    look.label_counts = counts
    values = [value for value in counts if value != 0]
    _judge_labels(look, case, path, values, declared)
    if mask.data.shape[0] > 1:
        what = f"{f'The masks of {case.id}' if case.parts else path.name}: {on_image.overlaps(mask)}."
        fix = "Nothing to do: such labels are learnt each by itself (Labels: overlapping). Correct the masks if none should overlap."
        look.notebook.add("info", "overlapping labels", what, fix, path)
    if placed is not None and 0 < len(values) <= MOST_LABELS:
        seen = _on_top(placed)
        look.mask_hashes = hash_of_labels(_on_top(placed.canonical()))
        for kind, what, fix in on_image.suspicions(seen, image, path.name):
            look.notebook.add("warning", kind, what, fix, path)
    return placed


def _judge_labels(look: Look, case: Case, path: Path, values: Sequence[int], declared: Mapping[int, str]) -> None:
    negative = [value for value in values if value < 0]
    unknown = [value for value in values if value > 0 and value not in declared] if declared else []
    if len(values) > MOST_LABELS:
        what = f"{path.name} holds {len(values)} different values: it looks like an image."
        look.notebook.add("error", "image as a mask", what, "Choose the mask, not the image.", path, _drop(case, what))
    elif negative:
        what = f"{path.name} holds the negative label {listed(negative)}."
        look.notebook.add("error", "negative label", what, "Give every label a number above 0.", path, _drop(case, what))
    elif unknown:
        look.notebook.add(
            "error",
            "label without a name",
            f"{path.name} holds the label {listed(unknown)}; dataset.json names only {listed(list(declared))}.",
            "Add the label to dataset.json, or correct the mask.",
            path,
            Remedy("merge_labels", (case.id,), value=unknown[0]) if len(unknown) == 1 else _drop(case, "labels without a name"),
        )
    elif not values:
        what = f"{path.name} is empty: it labels no voxel."
        fix = "Draw the mask, or leave it if there is nothing to find in this scan."
        look.notebook.add("warning", "empty mask", what, fix, path, _drop(case, "empty mask"))


def listed(values: Sequence[int]) -> str:
    """Return the first few numbers in words."""
    shown = ", ".join(str(value) for value in values[:8])
    return f"{shown}, …" if len(values) > 8 else shown


def _drop(case: Case, why: str) -> Remedy:
    return Remedy("drop_case", (case.id,), why=why)


def _too_large(look: Look, case: Case) -> bool:
    """Say from the headers alone that a case is too large to be looked into."""
    for path in case.images:
        found = recognise(path)
        if found is None or found.read_grid is None or path.is_dir():
            continue
        grid = read_grid(path)
        size = _bytes_in_memory(path, grid)
        if size < LARGE or (path.name.endswith(".gz") and path.stat().st_size * _PACKS_AT_MOST < size):
            continue
        look.facts = CaseFacts(grid, len(case.images), "", np.nan, np.nan, np.nan, {})
        what = f"{path.name} takes {size / 1e9:.1f} GB of memory ({grid}): the check did not look into it."
        fix = "Crop it to what is of interest, or resample it; else training needs several times as much memory."
        look.notebook.add("warning", "very large image", what, fix, path, _drop(case, "too large"))
        return True
    return False


def _bytes_in_memory(path: Path, grid: Grid) -> int:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    voxels = int(np.prod(grid.shape, dtype=np.int64))
    try:
        image = nib.load(path)
        return int(np.prod(image.shape, dtype=np.int64)) * int(image.get_data_dtype().itemsize)
    except (ImageFileError, ValueError, OSError):
        return max(2 * voxels, path.stat().st_size)


def _notes_on(volume: Volume) -> tuple[str, ...]:
    count = volume.data.shape[0]
    if volume.fourth == "time" and count > 1:
        return (*volume.notes, f"It is a time series: its {count} time points are taken for {count} channels.")
    return volume.notes


def _on_top(mask: Volume) -> NDArray[np.integer]:
    """Return one label for each voxel ``(I, J, K)``: of several the highest."""
    return mask.data[0] if len(mask.data) == 1 else mask.data.max(axis=0)  # type: ignore[no-any-return]


def _count_labels(data: NDArray[np.generic]) -> dict[int, int]:
    if len(data) > 1:
        labels = {channel + 1: int(np.count_nonzero(marked)) for channel, marked in enumerate(data)}
        background = data[0].size - int(np.count_nonzero(data.any(axis=0)))
        return {0: background} | {value: count for value, count in labels.items() if count}
    counts: Counter[int] = Counter()
    axis = int(np.argmax(np.abs(data[0].strides)))
    for part in np.moveaxis(data[0], axis, 0):  # slice by slice, because sorting a whole CT takes its memory several times
        if data.dtype == np.uint8:
            found = np.bincount(part.ravel(order="K"), minlength=256)
            values = np.flatnonzero(found)
            numbers = found[values]
        else:
            values, numbers = np.unique(part, return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return dict(sorted(counts.items()))


def _facts(channels: Sequence[Volume], label_counts: dict[int, int], mask_dtype: str, picture: bytes) -> CaseFacts:
    total, voxels, low, high = 0.0, 0, np.inf, -np.inf
    for volume in channels:
        axis = 1 + int(np.argmax(np.abs(volume.data.strides[1:])))
        for part in np.moveaxis(volume.data, axis, 0):
            finite = part[np.isfinite(part)] if part.dtype.kind == "f" else part
            if finite.size:
                total += float(finite.sum(dtype=np.float64))
                voxels += finite.size
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    data = channels[0].data
    sample = sample_of(data[0]).astype(np.float64)
    levels = np.percentile(sample, (1, 50, 99)) if sample.size else np.full(3, np.nan)
    return CaseFacts(
        grid=channels[0].grid,
        channels=sum(volume.data.shape[0] for volume in channels),
        dtype=str(data.dtype),
        minimum=low if voxels else np.nan,
        maximum=high if voxels else np.nan,
        mean=total / voxels if voxels else np.nan,
        label_counts=label_counts,
        step=intensity_step(data),
        low=float(levels[0]),
        middle=float(levels[1]),
        high=float(levels[2]),
        modality=channels[0].modality,
        mask_dtype=mask_dtype,
        thumbnail=picture,
    )


def _labelled(image: Volume, mask: Volume) -> tuple[float, ...]:
    """Return quantiles of the intensities under the labels."""
    values = image.data[0][mask.data.any(axis=0)]
    values = values[:: max(1, values.size // _LABELLED)]
    return tuple(np.quantile(values, LABELLED_SHARES).tolist()) if values.size else ()


def _painted_slices(mask: Volume) -> tuple[int, int, int]:
    """Return in how many sagittal, coronal and axial slices something of a mask lies."""
    marked = mask.grid.to_canonical(_on_top(mask) != 0)
    flat = np.asarray(np.any(marked, axis=2))
    axial = np.any(marked, axis=(0, 1))
    return int(flat.any(axis=1).sum()), int(flat.any(axis=0).sum()), int(np.sum(axial))


def _type_in(header: object) -> str:
    """Return the number type that a header of nibabel gives."""
    dtype = getattr(header, "get_data_dtype", None)
    return str(dtype()) if dtype is not None else ""
