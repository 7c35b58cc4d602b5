"""The ``dataset.json`` of the Medical Segmentation Decathlon and of nnU-Net; it comes from elsewhere, so it is not trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from napari_seg3d.datasets.dataset import Problem
from napari_seg3d.errors import DatasetError

FILE_NAME = "dataset.json"
_MODALITIES = {"ct": "CT", "cta": "CT"} | dict.fromkeys(("mr", "mri", "t1", "t1w", "t2", "t2w", "flair", "adc", "dwi"), "MR")
_FIX = "Correct the file, or move it away: the folders are understood without it."


@dataclass(frozen=True)
class Description:
    """What a ``dataset.json`` says.

    Parameters
    ----------
    labels : dict of int to str
        Value -> name, without the background.
    channels : tuple of str
        What each image file of a case shows, where it tells.
    pairs : tuple of (Path, Path)
        (First) image and mask of each training case, all below the folder of the file.
    problems : tuple of Problem
        What in it was not used.
    name : str
        Of the data set, where it tells.
    cases : int or None
        How many training cases there should be, where it tells.
    """

    labels: dict[int, str]
    channels: tuple[str, ...]
    pairs: tuple[tuple[Path, Path], ...]
    problems: tuple[Problem, ...]
    name: str = ""
    cases: int | None = None

    @property
    def modality(self) -> str:
        """``"CT"`` or ``"MR"`` where the channels say so, else what they say, else nothing."""
        words = {_MODALITIES.get(re.split(r"[^a-z0-9]+", channel.lower())[0], channel) for channel in self.channels}
        return words.pop() if len(words) == 1 else ""


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
    name, count = content.get("name"), content.get("numTraining")
    return Description(
        _labels(path, content.get("labels", {}), problems),
        _channels(content.get("channel_names", content.get("modality"))),
        _pairs(path, _listed(content), problems),
        tuple(problems),
        name if isinstance(name, str) else "",
        count if isinstance(count, int) else None,
    )


def _channels(entries: object) -> tuple[str, ...]:
    if not isinstance(entries, Mapping) or set(entries) != {str(number) for number in range(len(entries))}:
        return ()
    return tuple(str(entries[str(number)]) for number in range(len(entries)))


def _listed(content: Mapping[str, object]) -> list[object]:
    """Return image and label of each case: ``training`` of the decathlon and nnU-Net 1, or ``dataset`` of nnU-Net 2."""
    training, table = content.get("training"), content.get("dataset")
    listed = list(training) if isinstance(training, list) else []
    for entry in table.values() if isinstance(table, Mapping) else ():
        images = entry.get("images") if isinstance(entry, Mapping) else None
        if isinstance(images, list) and images:
            listed.append({"image": images[0], "label": entry.get("label")})
    return listed


def _labels(path: Path, entries: object, problems: list[Problem]) -> dict[int, str]:
    if not isinstance(entries, Mapping):
        raise DatasetError(f"{path}: labels is no table of values and names.", _FIX)
    labels: dict[int, str] = {}
    regions: dict[str, list[int]] = {}
    for key, entry in entries.items():
        if isinstance(entry, list):  # nnU-Net's regions: several values make up one name
            regions[str(key)] = [_number(path, key, value) for value in entry]
            continue
        # The decathlon writes {"1": "name"}, nnU-Net {"name": 1}.
        value, name = (key, entry) if isinstance(entry, str) and key.lstrip("-").isdigit() else (entry, key)
        number = _number(path, key, value)
        if number in labels:
            raise DatasetError(f"{path}: the label value {number} has two names.", _FIX)
        labels[number] = str(name)
    for region, values in sorted(regions.items(), key=lambda entry: len(entry[1])):
        problems.append(
            Problem(
                "warning",
                f"{path.name}: {region!r} is a region of the labels {', '.join(map(str, values))}. Regions that overlap cannot be "
                "learnt yet; its labels are learnt one by one.",
                "Join the results, or merge the labels if no other region needs them apart.",
                path=path,
            )
        )
        for number in values:
            labels.setdefault(number, f"{region} ({number})")
    labels.pop(0, None)
    return dict(sorted(labels.items()))


def _number(path: Path, key: object, value: object) -> int:
    try:
        return int(str(value))
    except ValueError as error:
        raise DatasetError(f"{path}: the label {key!r}: {value!r} holds no whole number.", _FIX) from error


def _pairs(path: Path, entries: Iterable[object], problems: list[Problem]) -> tuple[tuple[Path, Path], ...]:
    pairs = []
    for entry in entries:
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
