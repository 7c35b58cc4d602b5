"""The ``dataset.json`` of the Medical Segmentation Decathlon and of nnU-Net; it comes from elsewhere, so it is not trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from napari_seg3d.datasets.dataset import Problem
from napari_seg3d.errors import DatasetError

FILE_NAME = "dataset.json"
_FIX = "Correct the file, or move it away: the folders are understood without it."


@dataclass(frozen=True)
class Description:
    """What a ``dataset.json`` says.

    Parameters
    ----------
    labels : dict of int to str
        Value -> name, without the background.
    channels : int or None
        Number of image files per case, where it tells.
    pairs : tuple of (Path, Path)
        Image and mask of each training case, all below the folder of the file.
    problems : tuple of Problem
        What in it was not used.
    """

    labels: dict[int, str]
    channels: int | None
    pairs: tuple[tuple[Path, Path], ...]
    problems: tuple[Problem, ...]


def read_description(path: Path) -> Description:
    """Read a ``dataset.json``.

    Raises
    ------
    DatasetError
        It is no JSON object, or its labels are not what either format allows.
    """
    try:
        content: object = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as JSON ({error}).", _FIX) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds no description of a data set.", _FIX)
    problems: list[Problem] = []
    channels = content.get("channel_names", content.get("modality"))
    return Description(
        _labels(path, content.get("labels", {}), problems),
        len(channels) if isinstance(channels, dict) and channels else None,
        _pairs(path, content.get("training", []), problems),
        tuple(problems),
    )


def _labels(path: Path, entries: object, problems: list[Problem]) -> dict[int, str]:
    if not isinstance(entries, Mapping):
        raise DatasetError(f"{path}: labels is no table of values and names.", _FIX)
    labels: dict[int, str] = {}
    for key, entry in entries.items():
        if isinstance(entry, list):  # nnU-Net's regions: several values make up one name
            problems.append(
                Problem(
                    "warning",
                    f"{path.name}: {key!r} is a region of several labels and was not used.",
                    "Train on the single labels.",
                    path=path,
                )
            )
            continue
        # The decathlon writes {"1": "name"}, nnU-Net {"name": 1}.
        value, name = (key, entry) if isinstance(entry, str) and key.lstrip("-").isdigit() else (entry, key)
        try:
            number = int(str(value))
        except ValueError as error:
            raise DatasetError(f"{path}: the label {key!r}: {entry!r} holds no whole number.", _FIX) from error
        if number in labels:
            raise DatasetError(f"{path}: the label value {number} has two names.", _FIX)
        labels[number] = str(name)
    labels.pop(0, None)
    return dict(sorted(labels.items()))


def _pairs(path: Path, entries: object, problems: list[Problem]) -> tuple[tuple[Path, Path], ...]:
    pairs = []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, Mapping) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
            continue  # nnU-Net v1 and others keep other lists here; the names of the files say the same
        image, label = str(entry["image"]), str(entry["label"])
        outside = [text for text in (image, label) if not _stays_inside(text)]
        if outside:
            problems.append(
                Problem(
                    "error",
                    f"{path.name} names {outside[0]}, which lies outside of the data set; it was not opened.",
                    _FIX,
                    path=path,
                )
            )
            continue
        pairs.append((path.parent / image, path.parent / label))
    return tuple(pairs)


def _stays_inside(text: str) -> bool:
    # Both kinds of separators and drive letters, whatever system this runs on.
    windows = PureWindowsPath(text)
    return not windows.drive and not windows.root and ".." not in windows.parts and "\0" not in text
