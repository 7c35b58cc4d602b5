"""Thumbnails laid over each other: what is usual among them, and what is special to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.fft import irfftn, rfftn
from numpy.typing import NDArray

from napari_seg3d.datasets.doctor.signature import EDGE

Array = NDArray[np.float32]

_ROUNDS = 3
_COVERED = 0.3  # share of the images that must reach a place for it to count
_OVERLAP = 0.7  # share of the smaller of two that must lie on the other
_CLEARLY_BETTER = 0.05  # correlation; an image is only turned round where that helps beyond doubt


@dataclass(frozen=True)
class Aligned:
    """Thumbnails on one lattice.

    Parameters
    ----------
    images, masks : array (n, i, j, k)
        Values, and 1 where there is one.
    fits, mirrored_fits : array (n,)
        How well each fits the mean of all as it is stored, and with left and right exchanged (correlation).
    """

    images: Array
    masks: Array
    fits: NDArray[np.float64]
    mirrored_fits: NDArray[np.float64]

    @property
    def flipped(self) -> NDArray[np.bool_]:
        """Which of them were turned round to lie on the others."""
        return self.mirrored_fits > self.fits + _CLEARLY_BETTER

    def special(self) -> tuple[Array, Array]:
        """Return what is left of each image without the mean of all, and where it is known ``(n, place)``; noise is smoothed."""
        from scipy.ndimage import gaussian_filter

        count = self.masks.sum(0)
        places = count > _COVERED * len(self.images)
        rest = (self.images - self.images.sum(0) / np.maximum(count, 1)) * self.masks
        smooth = [
            (gaussian_filter(image, 1.0) / np.maximum(gaussian_filter(mask, 1.0), 0.1) * mask)[places]
            for image, mask in zip(rest, self.masks, strict=True)
        ]
        values, known = np.array(smooth), self.masks[:, places]
        spread = np.sqrt((values**2).sum(0) / np.maximum(known.sum(0), 1))
        # Places where hardly anything differs would count too much.
        return values / np.maximum(spread, 0.3 * np.median(spread) + 1e-6), known

    def details(self) -> tuple[Array, Array]:
        """Return the fine structures of each image, and where they are known ``(n, place)``: for few, of which none is usual."""
        from scipy.ndimage import gaussian_filter

        coarse = [
            gaussian_filter(image, 2.0) / np.maximum(gaussian_filter(mask, 2.0), 0.1)
            for image, mask in zip(self.images, self.masks, strict=True)
        ]
        fine = [
            gaussian_filter((image - one) * mask, 0.7) * mask
            for image, one, mask in zip(self.images, coarse, self.masks, strict=True)
        ]
        return np.array(fine).reshape(len(fine), -1), self.masks.reshape(len(fine), -1)


def align(thumbnails: Sequence[NDArray[np.float16]]) -> Aligned:
    """Return thumbnails of one pixel size, moved (and where that fits clearly better, mirrored) onto their mean.

    The best place is that of the highest correlation over the voxels that both have (Padfield, Masked object registration in
    the Fourier domain, 2012).
    """
    count = len(thumbnails)
    images = np.zeros((count, EDGE, EDGE, EDGE), np.float32)
    masks = np.zeros_like(images)
    for number, thumbnail in enumerate(thumbnails):
        i, j, k = (slice((EDGE - length) // 2, (EDGE - length) // 2 + length) for length in thumbnail.shape)
        images[number, i, j, k] = thumbnail
        masks[number, i, j, k] = 1
    aligned = _align(images, masks, _mean(images, masks))
    if np.median(aligned.fits - aligned.mirrored_fits) < _CLEARLY_BETTER:
        # Left and right sides lie among each other, and blur the mean: one of them shows the way better.
        typical = int(np.argsort(masks.sum((1, 2, 3)))[count // 2])
        other = _align(images, masks, (images[typical], masks[typical]))
        if np.maximum(other.fits, other.mirrored_fits).mean() > np.maximum(aligned.fits, aligned.mirrored_fits).mean():
            return other
    return aligned


def _align(images: Array, masks: Array, start: tuple[Array, Array]) -> Aligned:
    moved, where = images.copy(), masks.copy()
    fits, mirrored_fits = np.zeros(len(images)), np.zeros(len(images))
    for turn in range(_ROUNDS):
        target = _Spectra.of(*(_mean(moved, where) if turn else start))
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            fits[number], shift = target.best_shift(image, mask)
            mirrored_fits[number], other = target.best_shift(image[::-1], mask[::-1])
            step = 1
            if mirrored_fits[number] > fits[number] + _CLEARLY_BETTER:
                step, shift = -1, other
            moved[number] = np.roll(image[::step], shift, (0, 1, 2))
            where[number] = np.roll(mask[::step], shift, (0, 1, 2))
    return Aligned(moved, where, fits, mirrored_fits)


def _mean(images: Array, masks: Array) -> tuple[Array, Array]:
    count = masks.sum(0)
    enough = (count > _COVERED * len(images)).astype(np.float32)
    return images.sum(0) / np.maximum(count, 1) * enough, enough


@dataclass(frozen=True)
class _Spectra:
    """The Fourier transforms of an image that others are laid onto."""

    mask: NDArray[np.complex128]
    image: NDArray[np.complex128]
    square: NDArray[np.complex128]
    size: float

    @classmethod
    def of(cls, image: Array, mask: Array) -> _Spectra:
        return cls(rfftn(mask), rfftn(image), rfftn(image**2), float(mask.sum()))

    def best_shift(self, image: Array, mask: Array) -> tuple[float, tuple[int, int, int]]:
        """Return the highest correlation, and how far `image` has to be moved for it."""
        other = _Spectra.of(image, mask)
        shared = np.maximum(_product(self.mask, other.mask), 1)
        ours, theirs = _product(self.image, other.mask), _product(self.mask, other.image)
        both = _product(self.image, other.image) - ours * theirs / shared
        width = np.maximum(_product(self.square, other.mask) - ours**2 / shared, 1e-3)
        width *= np.maximum(_product(self.mask, other.square) - theirs**2 / shared, 1e-3)
        correlation = np.where(shared > _OVERLAP * min(self.size, other.size), both / np.sqrt(width), -1)
        i, j, k = np.unravel_index(correlation.argmax(), correlation.shape)
        return float(correlation[i, j, k]), (int(i), int(j), int(k))


def _product(one: NDArray[np.complex128], other: NDArray[np.complex128]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = irfftn(one * np.conj(other), s=(EDGE,) * 3, axes=(0, 1, 2))
    return product
