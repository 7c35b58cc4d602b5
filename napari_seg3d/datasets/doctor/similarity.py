"""Which images show one scan or one person, told from the images alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets.doctor.alignment import Aligned, align
from napari_seg3d.datasets.doctor.signature import Signature

Square = NDArray[np.float64]
Kind = Literal["same voxels", "overlap", "copy", "alike"]

#: Local patterns that two images must share to be parts of one scan. Of 19,701 pairs of different crops of heads none share three.
_SHARED = 8
_MOST_OWNERS = 8  # a pattern that more images have is no fingerprint
#: How well what is special to two images must agree for one to be a copy of the other, with noise or resampled. Measured on
#: heads: up to 0.77 between different crops (0.74 among few), 0.9 and more between a scan and its copy.
_COPY, _COPY_OF_FEW = 0.9, 0.95
_FEWEST_PIXELS = 2000  # of a thumbnail among few
_FEWEST = 12  # images, before what is usual among them can be told
_MOST = 4000  # thumbnails that are compared with each other; beyond, the tables of pairs take gigabytes
_LEAD = float(np.log(20))  # the second best must be as surprising as 20 times more chances
_FALSE = 0.05  # share of false pairs that is accepted
_ENOUGH = 5  # pairs that a fingerprint confirms, before they tell how well the others are told


@dataclass(frozen=True)
class Match:
    """Two images that belong together.

    Parameters
    ----------
    one, other : str
        Their cases.
    kind : {"same voxels", "overlap", "copy", "alike"}
        The same voxels; parts of one scan; a scan and a changed copy of it; or different parts of a person (such as two sides).
    mirrored : bool
        Whether left and right are exchanged between them.
    """

    one: str
    other: str
    kind: Kind
    mirrored: bool = False


@dataclass(frozen=True)
class Similarity:
    """What a comparison of all images with each other shows.

    Parameters
    ----------
    matches : tuple of Match
        The surest kinds first; each pair once.
    mirrored : tuple of str
        Cases that look as if left and right were exchanged, among others that all look alike.
    """

    matches: tuple[Match, ...]
    mirrored: tuple[str, ...]


def compare(signatures: Mapping[str, Signature], steps: Mapping[str, float | None]) -> Similarity:
    """Return which images belong together.

    Copies and crops of a scan are told by local patterns and by thumbnails. Two sides of one person share neither. What they share
    is how their anatomy departs from that of all the others, the scale of the intensities, and the grain of the image. Each of
    these three puts the true partner among the first few of hundreds; together they put it first. A pair is believed when each
    is the other's best by far, and when no more than one in twenty of such pairs is expected by chance (Benjamini and
    Hochberg, 1995) or, where fingerprints confirm pairs in this very data set, was found to be wrong among those.

    Parameters
    ----------
    signatures : mapping of str to Signature
        By case.
    steps : mapping of str to float or None
        Case -> :func:`napari_seg3d.datasets.subjects.intensity_step`: where two have one, it decides.
    """
    cases = sorted(signatures)
    found = [*_same_voxels(cases, signatures), *_overlaps(cases, signatures)]
    mirrored: list[str] = []
    by_pixel: dict[float, list[str]] = defaultdict(list)
    for case in cases:
        by_pixel[signatures[case].pixel].append(case)
    for group in by_pixel.values():  # thumbnails of other pixels cannot be laid over each other
        if 1 < len(group) <= _MOST:
            aligned = align([signatures[case].thumbnail for case in group])
            found += _close(group, aligned, signatures, steps)
            mirrored += [group[number] for number in _mirrored(aligned)]
    pairs: dict[tuple[str, str], Match] = {}
    for match in found:
        pairs.setdefault((match.one, match.other), match)
    return Similarity(tuple(pairs.values()), tuple(mirrored))


def _same_voxels(cases: Sequence[str], signatures: Mapping[str, Signature]) -> Iterator[Match]:
    groups: dict[int, list[str]] = defaultdict(list)
    for case in cases:
        groups[signatures[case].voxels].append(case)
    for first, *others in groups.values():
        for other in others:
            mirrored = _is_mirrored(signatures[first].thumbnail, signatures[other].thumbnail)
            if mirrored is not None:
                yield Match(first, other, "same voxels", mirrored)


def _is_mirrored(one: NDArray[np.float16], other: NDArray[np.float16]) -> bool | None:
    """Return whether left and right are exchanged between two thumbnails, or None where they are no views of one image."""
    for order in permutations(range(3)):
        turned = other.transpose(order)
        if turned.shape != one.shape:
            continue
        for flips in product((1, -1), repeat=3):
            if np.allclose(one, turned[:: flips[0], :: flips[1], :: flips[2]], atol=0.01):
                return order == (0, 1, 2) and flips == (-1, 1, 1)
    return None


def _overlaps(cases: Sequence[str], signatures: Mapping[str, Signature]) -> Iterator[Match]:
    owners: dict[int, list[int]] = defaultdict(list)
    for number, case in enumerate(cases):
        for pattern in signatures[case].patterns.tolist():
            owners[pattern].append(number)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for among in owners.values():
        if len(among) <= _MOST_OWNERS:
            for place, one in enumerate(among):
                for other in among[place + 1 :]:
                    shared[one, other] += 1
    for (one, other), count in sorted(shared.items()):
        if count >= _SHARED:
            yield Match(cases[one], cases[other], "overlap")


def _close(
    cases: Sequence[str], aligned: Aligned, signatures: Mapping[str, Signature], steps: Mapping[str, float | None]
) -> list[Match]:
    special, known = aligned.special() if len(cases) >= _FEWEST else aligned.details()
    agreement = _agreement(special, known)
    enough: float | Square = _COPY
    if len(cases) < _FEWEST:
        # What looks alike may be what all such images show: only fine structures tell, and simple images have none.
        pixels = known.sum(1)
        enough = np.where(np.minimum(pixels[:, None], pixels) >= _FEWEST_PIXELS, _COPY_OF_FEW, 2.0)
    flipped = aligned.flipped
    copies = [
        Match(cases[one], cases[other], "copy", bool(flipped[one] != flipped[other]))
        for one, other in zip(*np.nonzero(np.triu(agreement > enough, 1)), strict=True)
    ]
    if len(cases) < _FEWEST:
        return copies
    clues = (
        -agreement,
        -_agreement_without_common(special),
        _distance(_scale([signatures[case].levels for case in cases])),
        _distance(np.array([signatures[case].spectrum for case in cases])),
    )
    surprise = np.sum([_log_rank(clue) for clue in clues], axis=0)
    independent = np.sum([_log_rank(np.sum([_log_rank(clue) for clue in clues[:2]], axis=0)), *map(_log_rank, clues[2:])], axis=0)
    step = np.array([steps.get(case) or np.nan for case in cases])
    alike = _believed(surprise, independent, step)
    return [*copies, *(Match(cases[one], cases[other], "alike") for one, other in alike)]


def _believed(surprise: Square, independent: Square, step: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs of which one at least has no step, and which are each other's best by far."""
    has_step = np.isfinite(step)
    same = np.abs(step[:, None] - step) <= 1e-6 * step
    among_steps = has_step[:, None] & has_step
    confirmed = int(np.triu(same, 1).sum())
    if confirmed >= _ENOUGH:
        # The fingerprints say how often this way of telling is wrong here.
        tried = _mutual(np.where(among_steps, surprise, 0))
        wrong = sum(not same[pair] for pair in tried)
        if tried and wrong <= _FALSE * len(tried):
            return _mutual(np.where(~has_step[:, None] & ~has_step, surprise, 0))
    return _few_false(independent, _mutual(np.where(among_steps, 0, independent)))


def _mutual(surprise: Square) -> list[tuple[int, int]]:
    """Return the pairs that are each other's best by :data:`_LEAD`; 0 is no candidate."""
    best = surprise.argmin(1)
    leads = np.diff(np.partition(surprise, 1, axis=1)[:, :2], axis=1)[:, 0]
    return [
        (one, int(other))
        for one, other in enumerate(best)
        if one < other and best[other] == one and min(leads[one], leads[other]) >= _LEAD
    ]


def _few_false(surprise: Square, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    ordered = sorted(pairs, key=lambda pair: surprise[pair])
    chances = len(surprise) * (len(surprise) - 1) / 2
    # The product of three shares that are each as likely as any other.
    expected = [chances * float(np.exp(s) * (1 - s + s * s / 2)) for s in (surprise[pair] for pair in ordered)]
    kept = max((rank for rank, number in enumerate(expected, start=1) if number <= _FALSE * rank), default=0)
    return ordered[:kept]


def _agreement(special: NDArray[np.float32], known: NDArray[np.float32]) -> Square:
    power = (special**2) @ known.T
    agreement = (special @ special.T) / np.sqrt(power * power.T + 1e-9)
    return agreement.astype(np.float64)


def _agreement_without_common(special: NDArray[np.float32]) -> Square:
    """Return the correlations after those ways in which many images differ alike were made to count less."""
    width, ways = np.linalg.eigh((special @ special.T).astype(np.float64))
    kept = width > max(width.max(), 1e-9) * 1e-6
    kept[: len(kept) // 2] = False  # the smaller half is noise
    weighted = ways[:, kept] * width[kept] ** 0.25
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True) + 1e-12
    agreement: Square = weighted @ weighted.T
    return agreement


def _scale(levels: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return percentiles as logarithms where none is below 0: an arbitrary scale multiplies."""
    found = np.array(levels, np.float64)
    return np.log1p(found) if found.min() >= 0 else found


def _distance(points: NDArray[np.floating]) -> Square:
    spread = (points - np.median(points, axis=0)) / (points.std(0) + 1e-9)
    # Row by row: the differences of all pairs take gigabytes for thousands of cases.
    return np.array([np.abs(spread - row).mean(1) for row in spread], np.float64)


def _log_rank(clue: Square) -> Square:
    """Return the logarithm of the share of all pairs that lie as close as each, 0 for a case and itself."""
    ordered = np.sort(clue[np.triu_indices(len(clue), 1)])
    ranks = np.log((np.searchsorted(ordered, clue) + 0.5) / len(ordered))
    np.fill_diagonal(ranks, 0)
    return ranks


def _mirrored(aligned: Aligned) -> list[int]:
    """Return which of many like images are the wrong way round: nearly all fit as they are stored, these only mirrored."""
    better = aligned.fits - aligned.mirrored_fits
    usual = float(np.median(better))
    wrong = np.flatnonzero(better < -0.5 * usual)
    if len(better) < _FEWEST or usual < 0.1 or len(wrong) > 0.1 * len(better):
        return []
    return [int(number) for number in wrong]
