"""A case of a worklist as it is read for the viewer, and the cases that are read ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from napari_seg3d.datasets import Dataset, read_case_image
from napari_seg3d.errors import Seg3dError
from napari_seg3d.review import Entry, make_thumbnail, read_mask_in_use, thumbnail_file
from napari_seg3d.viewer.jobs import Job, start_job
from napari_seg3d.viewer.memory import give_back_memory
from napari_seg3d.viewer.stage import Picture
from napari_seg3d.volumes import Label, Volume


@dataclass(frozen=True)
class CasePictures:
    """All that it takes to show a case.

    Parameters
    ----------
    image : Picture
        The scan.
    mask : Picture or None
        The mask in use, or an empty one where there is none yet; None where it cannot be read.
    error : Seg3dError or None
        Why not.
    """

    image: Picture
    mask: Picture | None
    error: Seg3dError | None = None


def read_pictures(entry: Entry, dataset: Dataset) -> CasePictures:
    """Read a case for the viewer, and draw its thumbnail on the way; to be called in a job.

    Raises
    ------
    Seg3dError
        The scan cannot be read.
    """
    image = read_case_image(entry.case)
    picture = Picture.of(image, entry.case.id)
    name = f"{entry.case.id} mask"
    try:
        mask = read_mask_in_use(entry, dataset, image)
        if mask is None:
            empty = np.zeros((1, *image.grid.shape), np.uint8)
            mask = Volume(empty, image.grid.affine, "labels", is_oriented=image.is_oriented)
        labels: dict[int, Label] = {value: Label(text) for value, text in dataset.labels.items()}
        shown = Picture.of(mask, name, {**labels, **mask.labels} or None)
        if not thumbnail_file(entry).exists():
            make_thumbnail(entry, image, mask)
    except Seg3dError as error:
        return CasePictures(picture, None, type(error)(error.what, f"Only the image is shown. {error.fix}"))
    return CasePictures(picture, shown)


class ReadAhead:
    """Reads cases in threads: the one that is wanted, and the next one before anybody asks for it.

    Parameters
    ----------
    read : callable
        Returns the pictures of an entry; called in a thread.
    """

    def __init__(self, read: Callable[[Entry], CasePictures]) -> None:
        self._read = read
        self._ready: tuple[object, CasePictures] | None = None  # one, so that memory stays flat
        self._reading: dict[object, Job] = {}
        self._wanted: tuple[object, Callable[[CasePictures], None], Callable[[Seg3dError], None]] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a case waits to be shown."""
        return self._ready is not None

    def want(self, entry: Entry, then: Callable[[CasePictures], None], failed: Callable[[Seg3dError], None]) -> None:
        """Call `then` with the pictures of an entry: at once where it was read ahead, else when it is read."""
        key = _key(entry)
        if self._ready is not None and self._ready[0] == key:
            pictures, self._ready, self._wanted = self._ready[1], None, None
            then(pictures)
            return
        self._wanted = (key, then, failed)
        self._start(entry)

    def prepare(self, entry: Entry | None) -> None:
        """Read an entry ahead, instead of the last one."""
        if entry is None or (self._ready is not None and self._ready[0] == _key(entry)):
            return
        self._ready = None
        self._start(entry)

    def forget(self) -> None:
        """Drop what was read ahead, and what is being read."""
        for job in self._reading.values():
            job.cancel()
        self._reading.clear()
        self._ready = self._wanted = None

    def _start(self, entry: Entry) -> None:
        key = _key(entry)
        for other in [other for other in self._reading if other != key]:
            self._reading.pop(other).cancel()  # nobody waits for it any more
        if key in self._reading:
            return
        self._reading[key] = start_job(
            lambda _job: self._read_now(entry),
            returned=lambda pictures: self._returned(key, pictures),
            failed=lambda error: self._failed(key, error),
        )

    def _read_now(self, entry: Entry) -> CasePictures:
        give_back_memory()  # what the cases before have left
        return self._read(entry)

    def _returned(self, key: object, pictures: CasePictures) -> None:
        if self._reading.pop(key, None) is None:
            return
        if self._wanted is not None and self._wanted[0] == key:
            _, then, _ = self._wanted
            self._wanted = None
            then(pictures)
        else:
            self._ready = (key, pictures)

    def _failed(self, key: object, error: Seg3dError) -> None:
        if self._reading.pop(key, None) is not None and self._wanted is not None and self._wanted[0] == key:
            _, _, failed = self._wanted
            self._wanted = None
            failed(error)


def _key(entry: Entry) -> object:
    """Return what tells the pictures of an entry from others: the case, and the file of its mask."""
    return entry.case.id, replace(entry.mask, written="") if entry.mask is not None else None
