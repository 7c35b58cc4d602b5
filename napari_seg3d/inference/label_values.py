"""`LabelValues`: how the classes of a network are written into masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.volumes import Label, Volume, smallest_integer

_MOST_CHANNELS = 64

#: What the user is told where `LabelValues.is_renumbered`.
RENUMBERED = f"The labels overlap and their values go beyond {_MOST_CHANNELS}: they are numbered anew, from 1, in the order of their values."


class LabelValues:
    """The values that labels have in masks, and their names.

    Parameters
    ----------
    spec : ModelSpec
        Whose labels.

    Attributes
    ----------
    names : dict of int to str
        Value in a mask -> name, without the background, by rising value. Overlapping labels have a channel each in the mask, so that values
        beyond 64 are numbered anew, from 1.
    is_renumbered : bool
        Whether they are.
    channels : tuple of str
        What the channels of probabilities are called.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._of_classes = spec.label_values
        self._has_channels = spec.targets == "overlapping" and len(spec.labels) > 1
        names = dict(sorted(spec.labels.items()))
        self.is_renumbered = self._has_channels and max(names) > _MOST_CHANNELS
        self.names = dict(enumerate(names.values(), start=1)) if self.is_renumbered else names
        self.channels = ("background", *names.values()) if spec.targets == "exclusive" else tuple(names.values())

    def of(self, classes: NDArray[np.integer]) -> NDArray[np.generic]:
        """Return classes ``(T, I, J, K)`` as what masks hold: the values of labels, a channel for each label where they overlap."""
        values = np.array(list(self.names))
        dtype = smallest_integer(0, int(values.max()))
        if not self._has_channels:
            lookup, data = np.array(self._of_classes, dtype=dtype), np.empty(classes.shape, dtype)
            for plane in range(classes.shape[1]):  # NumPy makes 8 bytes of each index
                data[:, plane] = lookup[classes[:, plane]]
            return data
        data = np.zeros((values.max(), *classes.shape[1:]), dtype)
        data[values - 1] = classes * values.astype(dtype)[:, None, None, None]
        return data

    def volume(self, classes: NDArray[np.integer], scan: Volume) -> Volume:
        """Return classes ``(T, I, J, K)``, as `Predictor.classes` gives them, as labels of the scan."""
        return Volume(
            self.of(classes),
            scan.affine,
            "labels",
            scan.source,
            labels={value: Label(name) for value, name in self.names.items()},
            is_oriented=scan.is_oriented,
        )
