"""What an image looks like in 60 kB: enough to see whether two files show one scan, without holding their voxels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.volumes import Volume

FloatArray = NDArray[np.float32]

#: The longest edge of a thumbnail in pixels; a pixel is a power of two of millimetres, so that thumbnails can be brought together.
EDGE = 32
#: How many local patterns are kept: those with the smallest hashes, so that two images keep the same ones of what they share.
PATTERNS = 1024

_SAMPLE = 1_000_000  # voxels that show the distribution of the intensities
_BLOCK = 64  # voxels along an edge of the block whose spectrum is taken
# A line of five voxels from left to right, and what surrounds its middle in the plane: their order has a hash. Exchanging left
# and right turns the line round.
_REACH = 2
_LINE = [(a, 0, 0) for a in range(-_REACH, _REACH + 1)]
_AROUND = (*_LINE, *((0, b, c) for b, c in product((-1, 0, 1), repeat=2) if (b, c) != (0, 0)))
_MIRRORED = [*range(len(_LINE) - 1, -1, -1), *range(len(_LINE), len(_AROUND))]
_LEVELS = (1, 5, 10, 25, 40, 50, 60, 75, 90, 95, 99)
_BANDS = 4


@dataclass(frozen=True)
class Signature:
    """What is kept of an image.

    Parameters
    ----------
    voxels : int
        A number that all images with the same voxels share, in whatever order these are stored.
    patterns : array of uint64, sorted
        Hashes of local patterns, see `local_patterns`.
    pixel : float
        Edge of a pixel of `thumbnail` in mm.
    thumbnail : array (i, j, k) of float16
        The image in canonical order, in units of its own contrast.
    levels : array of float
        Percentiles of the intensities as they are stored.
    spectrum : array of float
        How much there is of coarse and fine along each axis, as logarithms whose mean is 0.
    """

    voxels: int
    patterns: NDArray[np.uint64]
    pixel: float
    thumbnail: NDArray[np.float16]
    levels: FloatArray
    spectrum: FloatArray


def sign(image: Volume) -> Signature:
    """Return the signature of the first channel of an image."""
    canonical = image.canonical()
    data, spacing = canonical.data[0], canonical.spacing
    sample = sample_of(data).astype(np.float32)
    levels = np.percentile(sample, _LEVELS).astype(np.float32) if sample.size else np.zeros(len(_LEVELS), np.float32)
    pixel = _pixel(data.shape, spacing)
    centre, width = float(levels[5]), float(levels[-1] - levels[0]) or 1.0
    thumbnail = np.clip((shrink(data, spacing, pixel) - centre) / width, -1.5, 1.5)
    return Signature(
        voxels=_sum_of_hashes(data),
        patterns=local_patterns(data),
        pixel=pixel,
        thumbnail=thumbnail.astype(np.float16),
        levels=levels,
        spectrum=_spectrum(data),
    )


def shrink(data: NDArray[np.generic], spacing: tuple[float, ...], pixel: float) -> FloatArray:
    """Return the means of `data` ``(i, j, k)`` over cubes of `pixel` mm, plane by plane, so that it takes little memory."""
    axis = _slowest(data)
    means = [_means(length, step, pixel) for length, step in zip(data.shape, spacing, strict=True)]
    along, (rows, columns) = means[axis], [one for number, one in enumerate(means) if number != axis]
    small = np.zeros((len(along), len(rows), len(columns)), np.float32)
    for index, plane in enumerate(np.moveaxis(data, axis, 0)):
        for target in np.flatnonzero(along[:, index]):
            small[target] += along[target, index] * (rows @ _as_float(plane) @ columns.T)
    return np.moveaxis(small, 0, axis)


def local_patterns(data: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Return the smallest hashes of what surrounds the peaks of `data` ``(i, j, k)``, sorted and each once.

    What is hashed is the order of the intensities around a voxel that is brighter than its neighbours: it survives another
    scale, another number type and cropping, and left and right may be exchanged. Hardly any such order occurs twice in real
    tissue; those with equal values are left out, because saturation repeats itself. Keeping the smallest hashes makes two images
    keep the same ones of what they share (Broder, On the resemblance and containment of documents, 1997).
    """
    smallest = np.empty(0, np.uint64)
    axis = _slowest(data)
    reach = _REACH if axis == 0 else 1
    step = max(1, _SAMPLE // (data.size // data.shape[axis]))
    for start in range(0, data.shape[axis] - 2 * reach, step):
        slab = data[(slice(None),) * axis + (slice(start, start + step + 2 * reach),)]
        if min(slab.shape[0] - 2 * _REACH, slab.shape[1] - 2, slab.shape[2] - 2) > 0:
            smallest = np.unique(np.concatenate([smallest, _orders_around_peaks(_as_float(slab))]))[:PATTERNS]
    return smallest


def _orders_around_peaks(slab: FloatArray) -> NDArray[np.uint64]:
    centre = slab[_REACH:-_REACH, 1:-1, 1:-1]
    peaks = (centre > slab[_REACH - 1 : -_REACH - 1, 1:-1, 1:-1]) & (
        centre > slab[_REACH + 1 : len(slab) - _REACH + 1, 1:-1, 1:-1]
    )
    peaks &= (centre > slab[_REACH:-_REACH, :-2, 1:-1]) & (centre > slab[_REACH:-_REACH, 2:, 1:-1])
    peaks &= (centre > slab[_REACH:-_REACH, 1:-1, :-2]) & (centre > slab[_REACH:-_REACH, 1:-1, 2:])
    i, j, k = np.nonzero(peaks)
    around = np.stack([slab[i + _REACH + a, j + 1 + b, k + 1 + c] for a, b, c in _AROUND])
    ordered = np.sort(around, axis=0)
    around = around[:, (ordered[1:] != ordered[:-1]).all(0)]
    return np.minimum(_hash_of_order(around), _hash_of_order(around[_MIRRORED]))


def _hash_of_order(around: NDArray[np.generic]) -> NDArray[np.uint64]:
    code = np.zeros(around.shape[1], np.uint64)
    for place in np.argsort(around, axis=0):
        code = code * np.uint64(len(_AROUND)) + place.astype(np.uint64)
    return _mix(code)


def hash_of_labels(labels: NDArray[np.integer]) -> tuple[int, int]:
    """Return a number that tells masks ``(i, j, k)`` apart by their voxels, and that of the same mask with left and right exchanged."""
    place = np.flatnonzero(labels)
    marked = labels.ravel()[place].astype(np.uint64)
    i, rest = np.divmod(place, labels[0].size)
    size = int(_mix(np.array(labels.shape, np.uint64)).sum())
    hashes = [
        (int(_mix(_mix(marked) + at.astype(np.uint64)).sum()) + size) % (1 << 64)
        for at in (place, (len(labels) - 1 - i) * labels[0].size + rest)
    ]
    return hashes[0], hashes[1]


def _sum_of_hashes(data: NDArray[np.generic]) -> int:
    total = sum(
        int(_mix(_as_float(plane).view(np.uint32).astype(np.uint64)).sum()) for plane in np.moveaxis(data, _slowest(data), 0)
    )
    return (total + data.size) % (1 << 64)


def _slowest(data: NDArray[np.generic]) -> int:
    return int(np.argmax(np.abs(data.strides)))


def _as_float(values: NDArray[np.generic]) -> FloatArray:
    """Return float32 in the order of memory, with 0 for what is not finite."""
    floats = np.array(values, np.float32, order="K")
    if values.dtype.kind == "f":
        np.nan_to_num(floats, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return floats


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes of numbers (the finaliser of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def sample_of(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return some of the finite values of `data` ``(i, j, k)``, from all over it, without copying it."""
    stride = max(1, round((data.size / _SAMPLE) ** (1 / 3)))
    values = data[::stride, ::stride, ::stride].ravel()
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _pixel(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    longest = max(length * step for length, step in zip(shape, spacing, strict=True))
    return float(2.0 ** np.ceil(np.log2(longest / EDGE)))


def _means(length: int, step: float, pixel: float) -> FloatArray:
    """Return the matrix (pixels, voxels) that takes the mean over pixels; they lie around the middle and reach to the borders."""
    extent = length * step
    count = max(1, int(extent // pixel))
    edges = (extent - count * pixel) / 2 + pixel * np.arange(count + 1) if count * pixel <= extent else np.array([0.0, extent])
    low, high = step * np.arange(length), step * np.arange(1, length + 1)
    shared = np.minimum(high[None], edges[1:, None]) - np.maximum(low[None], edges[:-1, None])
    weights = np.maximum(shared, 0)
    means: FloatArray = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return means


def _spectrum(data: NDArray[np.generic]) -> FloatArray:
    middle = tuple(slice(max(0, (length - _BLOCK) // 2), (length + _BLOCK) // 2) for length in data.shape)
    block = _as_float(data[middle])
    found = []
    for axis in range(3):
        lines = np.moveaxis(block, axis, 0)
        lines = lines - lines.mean(0)
        # With the axis last, so that the transform runs along memory.
        windowed = np.ascontiguousarray(np.moveaxis(lines, 0, -1)) * np.hanning(len(lines) + 2)[1:-1].astype(np.float32)
        waves = np.fft.rfft(windowed, n=2 * _BLOCK)
        power = (waves.real**2 + waves.imag**2).mean((0, 1))[:_BLOCK]
        found.append(np.log(power.reshape(4 * _BANDS, -1).mean(1) + 1e-12))
    bands = np.array(found)
    spectrum: FloatArray = (bands - bands.mean()).astype(np.float32).ravel()
    return spectrum
