"""Which library decodes compressed pixels, and the kinds of JPEG that pydicom has none for but GDCM.

GDCM ends the whole process when a picture is damaged in the wrong place: with it go the viewer and every mask that was not saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BufferedReader

import numpy as np
from numpy.typing import NDArray

_BASELINE, _EXTENDED, _LOSSLESS, _LOSSLESS_FIRST_ORDER = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")


def plugin_for(transfer_syntax: str) -> str:
    """Return the plugin that pydicom shall decode with; empty where any will do."""
    if transfer_syntax in _JPEG_LS:
        return "pyjpegls"
    return "pillow" if transfer_syntax in (_BASELINE, _EXTENDED, *_JPEG_2000) else ""


def is_ours(transfer_syntax: str, bits_stored: int) -> bool:
    """Return whether pictures are decoded here: lossless JPEG, and JPEG with 12 bits a sample."""
    return transfer_syntax in (_LOSSLESS, _LOSSLESS_FIRST_ORDER) or (transfer_syntax == _EXTENDED and bits_stored > 8)


def decode(
    stream: BufferedReader, indices: Iterable[int], shape: tuple[int, ...], n_frames: int, bits_stored: int, is_ybr: bool
) -> Iterator[NDArray[np.generic]]:
    """Yield pictures of the given shape as unsigned numbers.

    Parameters
    ----------
    stream : file
        At the table of offsets, in front of the pictures.
    indices : iterable of int
        Which of them.
    shape : tuple of int
        Rows, columns, and samples where there are several.
    n_frames : int
        How many there are.
    bits_stored : int
        As the header says.
    is_ybr : bool
        Whether the samples are luminance and two differences of colour.
    """
    import imagecodecs
    from pydicom.encaps import get_frame
    from pydicom.pixels.processing import convert_color_space

    start = stream.tell()
    for index in indices:
        stream.seek(start)
        picture = get_frame(stream, index, number_of_frames=n_frames)
        # Memory of the size that the DICOM header names: another one in the picture is an error.
        decoded = np.empty(shape, np.uint8 if bits_stored <= 8 else np.uint16)
        as_it_is = "RGB" if len(shape) > 2 else None
        imagecodecs.jpeg8_decode(picture, colorspace=as_it_is, outcolorspace=as_it_is, out=decoded)
        yield convert_color_space(decoded, "YBR_FULL", "RGB") if is_ybr else decoded
