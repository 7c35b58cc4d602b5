"""`Ensemble`: several models of the same labels (folds, checkpoints) that answer as one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.errors import ModelError
from napari_seg3d.inference.home import Partly, Wanted, decided, entropy_of_channel
from napari_seg3d.inference.model import ModelSpec
from napari_seg3d.inference.options import PredictOptions
from napari_seg3d.inference.prediction import Prediction
from napari_seg3d.inference.predictor import Predictor
from napari_seg3d.inference.windows import CancelCheck, Progress
from napari_seg3d.volumes import Volume

_AS_TRAINED = PredictOptions()


class Ensemble:
    """Models whose probabilities are averaged on the scan's own grid; each prepares the scan in its own way.

    The probabilities of two models exist at once: 8 bytes for each voxel and channel.

    Parameters
    ----------
    members : sequence of Predictor
        At least one.

    Raises
    ------
    ModelError
        They do not find the same labels.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        self.members = tuple(members)
        self._first = self.members[0]
        for member in self.members[1:]:
            if (member.labels, member.spec.targets) != (self._first.labels, self._first.spec.targets):
                raise ModelError(
                    f"The model {member.name} finds {_told(member)}, and {self._first.name} finds {_told(self._first)}.",
                    "Only models of the same labels can answer together.",
                )

    @property
    def name(self) -> str:
        """Those of the members."""
        return " + ".join(member.name for member in self.members)

    @property
    def spec(self) -> ModelSpec:
        """That of the first member; the labels are those of all."""
        return self._first.spec

    @property
    def labels(self) -> dict[int, str]:
        """Mask value -> name, without the background."""
        return self._first.labels

    @property
    def stored_labels(self) -> dict[int, str]:
        """Value -> name as in predictions."""
        return self._first.stored_labels

    @property
    def engine(self) -> str:
        """What computed the last window."""
        return self._first.engine

    def predict(
        self,
        volume: Volume,
        options: PredictOptions = _AS_TRAINED,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
        partly: Partly | None = None,
    ) -> Prediction:
        """Return the labels of a scan; parameters and errors are those of `Predictor.predict`, and `partly` is never told anything.

        The uncertainty has two channels: the entropy of the mean, and how much the members disagree.
        """
        start = time.perf_counter()
        asked = replace(options, probabilities=True, uncertainty=False, postprocess=False)
        total: NDArray[np.float32] | None = None
        own: NDArray[np.float32] | None = None
        notes: list[str] = []
        for number, member in enumerate(self.members):
            prediction = member.predict(volume, asked, self._told(number, progress), cancelled)
            assert prediction.probabilities is not None
            seen: NDArray[np.float32] = np.asarray(prediction.probabilities.data, dtype=np.float32)
            notes += [note for note in prediction.notes if note not in notes]
            if options.uncertainty:
                entropy = sum(entropy_of_channel(channel, self.spec.targets) for channel in seen)
                own = np.asarray(entropy, np.float32) if own is None else own + entropy
            if total is None:
                total = seen
            else:
                total += seen
        assert total is not None
        total /= len(self.members)
        wanted = Wanted(options.probabilities, options.uncertainty)
        answer = decided(_with(total, own, len(self.members)), len(total), total.shape[1:], self.spec.targets, wanted)
        return self._first.prediction_of(answer, volume, start, notes, options, cancelled)

    def _told(self, number: int, progress: Progress | None) -> Progress | None:
        if progress is None:
            return None
        count = len(self.members)
        return lambda done, total: progress(number * total + done, count * total)


def _with(mean: NDArray[np.float32], own: NDArray[np.float32] | None, count: int) -> Iterator[NDArray[np.float32]]:
    yield from mean
    if own is not None:
        yield np.asarray(own / count, dtype=np.float32)


def _told(member: Predictor) -> str:
    names = ", ".join(f"{value} {name}" for value, name in sorted(member.labels.items()))
    return f"{names}{' (overlapping)' if member.spec.targets == 'overlapping' else ''}"
