"""`Fingerprint`: what a data set is like, as far as a plan depends on it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_seg3d.datasets import Report
from napari_seg3d.networks.planes import PLANE_OF, Plane
from napari_seg3d.volumes import Grid


@dataclass(frozen=True)
class Fingerprint:
    """What a data set is like.

    Parameters
    ----------
    grids : sequence of Grid
        Native grids of the training cases.
    labels : mapping of int to str
        Value -> name of the labels to learn.
    channels : int
        Channels of every scan.
    modality : str
        By the DICOM term, such as ``"CT"``; empty where nobody says it.
    overlapping : bool
        Whether labels of a case overlap.
    minimum, maximum : float
        Median over the cases of their lowest and highest value; NaN where they were not read.
    labelled : sequence of float
        Intensities under the labels, as many of each case; empty where they were not read.
    share : mapping of int to float
        Label value -> median share of a scan's voxels that it takes, over the scans that show it.
    painted : three ints
        Sagittal, coronal and axial slices in which something lies, over all masks.
    """

    grids: Sequence[Grid]
    labels: Mapping[int, str]
    channels: int = 1
    modality: str = ""
    overlapping: bool = False
    minimum: float = math.nan
    maximum: float = math.nan
    labelled: Sequence[float] = ()
    share: Mapping[int, float] = field(default_factory=dict)
    painted: tuple[int, int, int] = (0, 0, 0)

    @property
    def painted_plane(self) -> Plane:
        """The plane with the fewest slices in which something lies: the one that was painted in, where masks are painted in part."""
        # Axial comes first: of equals, it is what most people paint in.
        axis = min((2, 1, 0), key=lambda axis: self.painted[axis])
        return PLANE_OF[axis]

    @property
    def is_ct(self) -> bool:
        """Whether the intensities are HU: as the files say or, where they do not, because nothing else measures air as -1000."""
        if self.channels > 1 or math.isnan(self.minimum):
            return self.channels == 1 and self.modality == "CT"
        if self.modality:
            return self.modality == "CT" and self.minimum < 0  # else the scanner's raw numbers were exported
        return -10_000 < self.minimum <= -500 and self.maximum >= 100


def fingerprint_of(report: Report, cases: Collection[str] | None = None) -> Fingerprint:
    """Return the fingerprint of a checked data set.

    Parameters
    ----------
    report : Report
        Of the check.
    cases : collection of str, optional
        Ids of the cases that train; left out, all that could.
    """
    names = [case.id for case in report.sound if cases is None or case.id in cases]
    facts = [report.facts[name] for name in names]
    modalities = {one.modality for one in facts if one.modality} or {report.dataset.modality}
    labels = report.dataset.labels
    shares = {
        value: [one.label_counts[value] / math.prod(one.grid.shape) for one in facts if one.label_counts.get(value)]
        for value in labels
    }
    return Fingerprint(
        grids=tuple(one.grid for one in facts),
        labels=labels,
        channels=facts[0].channels if facts else 1,
        modality=modalities.pop() if len(modalities) == 1 else "",
        overlapping=report.overlapping,  # in those that judge, too: they are compared with the same channels
        minimum=float(np.median([one.minimum for one in facts])) if facts else math.nan,
        maximum=float(np.median([one.maximum for one in facts])) if facts else math.nan,
        labelled=tuple(value for one in facts for value in one.labelled),
        share={value: float(np.median(found)) for value, found in shares.items() if found},
        painted=(
            sum(one.painted[0] for one in facts),
            sum(one.painted[1] for one in facts),
            sum(one.painted[2] for one in facts),
        ),
    )
