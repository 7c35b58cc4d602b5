"""`Previews`: what the model said of some validation cases after each validation, as small files in the run folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_seg3d.datasets import Case
from napari_seg3d.evaluation import UNKNOWN
from napari_seg3d.inference import Predictor
from napari_seg3d.training.runs.folder import Run
from napari_seg3d.training.samples.cache import CachedCase
from napari_seg3d.volumes import Grid, Volume, write_volume


class Previews:
    """Keeps predictions below ``previews/CASE``, beside the truth as it is learnt, and tells about each in a ``preview`` event.

    Parameters
    ----------
    run : Run
        Where they go.
    predictor : Predictor
        Knows what its classes mean.
    shown : sequence of Case
        The cases to be kept.
    cached : mapping of str to CachedCase
        Their arrays, by id.
    stage : str
        Of a cascade; begins the names of its files.
    """

    def __init__(
        self, run: Run, predictor: Predictor, shown: Sequence[Case], cached: Mapping[str, CachedCase], stage: str = ""
    ) -> None:
        self._run, self._predictor, self._stage = run, predictor, stage
        self._cases = {case.id: case for case in shown}
        self._cached = cached
        self._folders = dict(zip(self._cases, safe_names(self._cases), strict=True))

    def add(self, case: str, predicted: NDArray[np.integer], iteration: int, epoch: float, dice: float | None) -> None:
        """Keep a prediction ``(T, I, J, K)`` on the native grid of its case."""
        folder = Path("previews") / self._folders[case]
        prefix = f"{self._stage}-" if self._stage else ""
        mask, prediction = folder / f"{prefix}reference.nii.gz", folder / f"{prefix}{iteration:07d}.nii.gz"
        cached = self._cached[case]
        # Out of however many files, with labels merged; what nobody knows is background there, and has a file of its own.
        is_unknown = (cached.reference == UNKNOWN).any(axis=0, keepdims=True)
        unknown = folder / f"{prefix}unknown.nii.gz" if is_unknown.any() else None
        if not (self._run.folder / mask).exists():
            self._write(np.where(cached.reference == UNKNOWN, 0, cached.reference), cached.native, mask)
            if unknown is not None:
                marks = Volume(is_unknown.astype(np.uint8), cached.native.affine, "labels")
                write_volume(marks, self._run.folder / unknown, overwrite=True)
        self._write(predicted, cached.native, prediction)
        self._run.add_event(
            "preview",
            case=case,
            image=self._cases[case].images[0].as_posix(),
            mask=mask.as_posix(),
            unknown=unknown.as_posix() if unknown is not None else None,
            prediction=prediction.as_posix(),
            iteration=iteration,
            epoch=round(epoch, 2),
            dice=dice,
            stage=self._stage,
        )

    def _write(self, classes: NDArray[np.integer], grid: Grid, path: Path) -> None:
        labels = self._predictor.label_values.volume(classes, Volume(classes, grid.affine, "labels"))
        write_volume(labels, self._run.folder / path, overwrite=True)


def safe_names(ids: Sequence[str] | Mapping[str, object]) -> list[str]:
    """Return a name of word characters, dots and dashes for each id, which any file system takes; no two are the same."""
    names: list[str] = []
    for case in ids:
        plain = re.sub(r"[^\w.-]+", "-", case, flags=re.ASCII).strip(".-") or "case"
        name, number = plain, 1
        # Some file systems take small and capital letters for the same.
        while name.lower() in {taken.lower() for taken in names}:
            number += 1
            name = f"{plain}-{number}"
        names.append(name)
    return names
