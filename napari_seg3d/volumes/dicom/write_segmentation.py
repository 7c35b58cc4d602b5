"""Labels as DICOM SEG, on the series that they were drawn on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_seg3d import __version__
from napari_seg3d.errors import LabelError, WriteError
from napari_seg3d.volumes.dicom.headers import quiet
from napari_seg3d.volumes.dicom.segment_codes import codes_of
from napari_seg3d.volumes.dicom.segmentation import LABEL_VALUE
from napari_seg3d.volumes.dicom.segmented_series import SegmentedSeries, segmented_series
from napari_seg3d.volumes.labels import as_labels, smallest_integer
from napari_seg3d.volumes.volume import Label, Volume

if TYPE_CHECKING:
    import highdicom as hd

_CHOOSE_ANOTHER = "Choose NIfTI (.nii.gz): it needs no series."
_LONGEST_LABEL = 64  # characters, by the standard


def write(path: Path, volume: Volume) -> None:
    """Write labels as a binary DICOM SEG that refers to the images which they were drawn on.

    Segments are numbered 1, 2, 3, … as the standard asks for; the value of each label goes into the description of its segment,
    from where `read_segmentation` takes it back. Names, and colours where there are any, are kept; known names also get a
    SNOMED CT code. Channels of overlapping labels become segments that overlap. Patient and study are those of the series, as
    the standard asks for; nothing is said about who drew.

    Parameters
    ----------
    path : Path
        The file to make.
    volume : Volume
        Labels on the grid of a DICOM series; its source names the files.

    Raises
    ------
    WriteError
        The labels were not drawn on a DICOM series, do not lie on its grid, or there are none.
    """
    if volume.kind != "labels":
        raise WriteError(f"{path.name}: an image cannot be written as DICOM.", "Choose NIfTI (.nii.gz).")
    source = volume.source
    if source is None or source.format != "dicom" or not source.files:
        raise WriteError(f"{path.name}: the mask was not drawn on a DICOM series, which a DICOM SEG refers to.", _CHOOSE_ANOTHER)
    try:
        data = as_labels(volume.data, path.name)
    except LabelError as error:
        raise WriteError(error.what, error.fix) from error
    with quiet():
        series = segmented_series(source.files, volume.grid)
        segments = _overlapping(data, volume) if data.shape[0] > 1 else _by_value(data, volume)
        if not data.any():
            raise WriteError(f"{path.name}: the mask is empty, and a DICOM SEG needs a segment.", _CHOOSE_ANOTHER)
        try:
            written = _segmentation(series, segments)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
            # Not its words: they may quote the header, and so name the patient.
            raise WriteError(
                f"{path.name}: the headers of the series that the mask was drawn on do not allow a DICOM SEG.", _CHOOSE_ANOTHER
            ) from error
        written.save_as(path)


class _Segments:
    """What highdicom wants: pixels ``(K, J, I)`` of segment numbers or ``(K, J, I, segments)`` of 0 and 1, and what each is."""

    def __init__(self, pixels: NDArray[np.integer], labels: list[tuple[int, Label]]) -> None:
        self.pixels = pixels
        self.labels = labels


def _by_value(data: NDArray[np.integer], volume: Volume) -> _Segments:
    values = np.array(sorted({int(value) for slice_ in np.moveaxis(data[0], 2, 0) for value in np.unique(slice_)} - {0}))
    pixels = np.zeros(data.shape[:0:-1], smallest_integer(0, len(values)))
    for k in range(data.shape[3]):
        slice_ = data[0, :, :, k].T
        pixels[k] = np.where(slice_ == 0, 0, np.searchsorted(values, slice_) + 1)
    return _Segments(pixels, [(int(value), volume.labels.get(int(value), Label())) for value in values])


def _overlapping(data: NDArray[np.integer], volume: Volume) -> _Segments:
    channels = [channel for channel in range(len(data)) if channel + 1 in volume.labels or data[channel].any()]
    pixels = np.transpose(data[channels] != 0, (3, 2, 1, 0)).astype(np.uint8)
    return _Segments(pixels, [(channel + 1, volume.labels.get(channel + 1, Label())) for channel in channels])


def _segmentation(series: SegmentedSeries, segments: _Segments) -> hd.seg.Segmentation:
    import highdicom as hd

    # A reader knows nothing of the grid but what the frames say. highdicom writes all frames (gigabytes for a hundred organs) or
    # only those with content (then a mask would come back smaller than its scan): a mark in an empty first and last slice makes
    # it write these two as well, and is wiped out again. Empty slices between others need no frame: the spacing is known.
    marked = [k for k in {0, len(segments.pixels) - 1} if not segments.pixels[k].any()]
    for k in marked:
        segments.pixels[k].flat[0] = 1
    written = hd.seg.Segmentation(
        source_images=series.images,
        pixel_array=segments.pixels,
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, *label) for number, label in enumerate(segments.labels, 1)],
        plane_positions=[hd.PlanePositionSequence("PATIENT", position) for position in series.positions],
        series_instance_uid=hd.UID(),
        series_number=int(series.images[0].get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="napari-seg3d",
        manufacturer_model_name="napari-seg3d",
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        series_description="Segmentation",
        specific_character_set="ISO_IR 192",  # names of labels may be in any script
    )
    _wipe(written, [series.positions[k] for k in marked])
    return written


def _description(number: int, value: int, label: Label) -> hd.seg.SegmentDescription:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    name = re.sub(r"[\x00-\x1f\\]+", " ", label.name).strip()[:_LONGEST_LABEL] or f"Label {value}"
    coded = codes_of(name)
    colour = None
    if re.fullmatch("#[0-9a-fA-F]{6}", label.colour):
        colour = hd.color.CIELabColor.from_rgb(*bytes.fromhex(label.colour[1:]))
    description = hd.seg.SegmentDescription(
        number,
        name,
        coded.category,
        coded.property,
        # Drawn, predicted or corrected: a person with tools, in any mixture.
        "SEMIAUTOMATIC",
        hd.AlgorithmIdentificationSequence("napari-seg3d", codes.cid7162.ManualProcessing, __version__),
        display_color=colour,
    )
    if coded.side is not None:
        modifier = hd.sr.CodedConcept.from_code(coded.side)
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    description.SegmentDescription = LABEL_VALUE.format(value)
    return description


def _wipe(written: hd.seg.Segmentation, positions: list[list[float]]) -> None:
    """Set to 0 the first pixel of the frames of segment 1 at these positions."""
    pixels = bytearray(written.PixelData)
    for index, frame in enumerate(written.PerFrameFunctionalGroupsSequence):
        groups = frame if "SegmentIdentificationSequence" in frame else written.SharedFunctionalGroupsSequence[0]
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != 1:
            continue
        if [float(x) for x in frame.PlanePositionSequence[0].ImagePositionPatient] in positions:
            bit = index * written.Rows * written.Columns
            pixels[bit // 8] &= ~(1 << bit % 8)
    written.PixelData = bytes(pixels)
