"""``dataset.yaml``: a data set as one file, with paths relative to it, so that its folder can move.

The file may come from elsewhere, so nothing in it is trusted: it holds plain values only, of a bounded size, and ids that are no
paths. A path may lead out of its folder (images on one share, masks on another), but only to something that exists.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from napari_seg3d.datasets.dataset import Case, Dataset, MaskPart
from napari_seg3d.datasets.pairing.ids import is_id
from napari_seg3d.datasets.pairing.orphans import pairing_problems
from napari_seg3d.datasets.splits.stored import StoredSplit
from napari_seg3d.errors import DatasetError
from napari_seg3d.files import write_text

FILE_NAME = "dataset.yaml"
SUFFIXES = (".yaml", ".yml")

_FORMAT = "napari-seg3d dataset"
_VERSION = 1
_MOST_BYTES = 64 << 20  # a hundred thousand cases
_DEEPEST = 12
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, many times faster
_DUMPER: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _plain_id(text: str) -> str:
    if not is_id(text):
        raise ValueError(f"{text[:60]!r} is no id: it becomes the name of files, so it must hold no / \\ : and no line breaks")
    return text


_Id = Annotated[str, AfterValidator(_plain_id)]
_Value = Annotated[int, Field(ge=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _CaseEntry(_Entry):
    id: _Id
    images: Annotated[list[str], Field(min_length=1)]
    mask: str | None = None
    parts: dict[_Value, str] = {}
    subject: str = ""
    reason: str = ""
    sureness: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _one_mask(self) -> _CaseEntry:
        if self.mask is not None and self.parts:
            raise ValueError("it has both a mask and parts: give one of them")
        return self


class _File(_Entry):
    format: Literal["napari-seg3d dataset"]
    version: int
    name: str = ""
    modality: str = ""
    channels: list[str] = []
    labels: dict[_Value, str] = {}
    merged: dict[_Value, Annotated[int, Field(ge=0)]] = {}
    excluded: dict[str, str] = {}
    subjects_known: bool = False
    cases: Annotated[list[_CaseEntry], Field(min_length=1)]
    unused_masks: list[str] = []
    split: dict[str, object] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> _File:
        seen: set[str] = set()
        for case in self.cases:
            if case.id.lower() in seen:
                raise ValueError(f"the case {case.id} is there twice: ids must differ in more than upper and lower case")
            seen.add(case.id.lower())
        unknown = sorted(set(self.excluded) - {case.id for case in self.cases})
        if unknown:
            raise ValueError(f"excluded names {unknown[0]}, and there is no such case")
        return self


def manifest_in(path: Path) -> Path | None:
    """Return the ``dataset.yaml`` that `path` is or holds, or None."""
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return path
    inside = path / FILE_NAME
    return inside if inside.is_file() else None


def save_dataset(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as ``dataset.yaml``, whole or not at all.

    Parameters
    ----------
    dataset : Dataset
        Its files stay where they are; only their paths are written, relative to the folder of `path` and with ``..`` where they
        lie outside of it. A file on another drive keeps its whole path.
    path : path-like
        The file, or a folder that shall hold it.

    Raises
    ------
    DatasetError
        A path or an id cannot be written.
    WriteError
        The place cannot be written.
    """
    file = _as_file(Path(path))
    write = _Places(file.parent).write
    content: dict[str, object] = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": dataset.name,
        "modality": dataset.modality,
        "channels": list(dataset.channels),
        "labels": dict(sorted(dataset.labels.items())),
        "merged": dict(sorted(dataset.merged.items())),
        "excluded": dict(sorted(dataset.excluded.items())),
        "subjects_known": dataset.subjects_known,
        "cases": [_case_entry(case, write) for case in dataset.cases],
        "unused_masks": [write(mask) for mask in dataset.unused_masks],
        "split": None if dataset.split is None else dataset.split.to_dict(),
    }
    always = ("format", "version", "name", "labels", "cases")
    content = {key: value for key, value in content.items() if key in always or value not in ([], {}, "", None, False)}
    try:
        _File.model_validate(content)
    except ValidationError as error:
        raise DatasetError(f"{file} was not written: {_reason(error)}.", "Rename the case.") from error
    try:
        write_text(
            file, yaml.dump(content, Dumper=_DUMPER, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
        )
    except UnicodeEncodeError as error:
        raise DatasetError(f"{file} was not written: the name of a file in it is no text.", "Rename that file.") from error


def load_dataset(path: str | Path) -> Dataset:
    """Read a ``dataset.yaml``.

    Parameters
    ----------
    path : path-like
        The file, or the folder that holds it.

    Returns
    -------
    Dataset
        As it was saved; what found no partner is among its problems again. Only names are read: whether the files are sound, the
        check says.

    Raises
    ------
    DatasetError
        The file is missing, too large, or no such description; a path leads to nothing outside of its folder, or to anywhere on
        this disk without regard to that folder.
    """
    file = _as_file(Path(path).expanduser().absolute())
    content = _parse(file)
    places = _Places(file.parent)
    cases = []
    for number, entry in enumerate(content.cases):
        place = f"cases[{number}] ({entry.id})"
        parts = tuple(MaskPart(value, places.read(text, file, place)) for value, text in sorted(entry.parts.items()))
        mask = places.read(entry.mask, file, place) if entry.mask is not None else None
        cases.append(
            Case(
                id=entry.id,
                images=tuple(places.read(text, file, place) for text in entry.images),
                mask=parts[0].path if parts else mask,
                subject=entry.subject or entry.id,
                reason=entry.reason,
                sureness=entry.sureness,
                parts=parts,
            )
        )
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    unused = tuple(places.read(text, file, f"unused_masks[{number}]") for number, text in enumerate(content.unused_masks))
    return Dataset(
        root=file.parent,
        cases=ordered,
        labels=dict(sorted(content.labels.items())),
        problems=pairing_problems(ordered, unused),
        unused_masks=unused,
        subjects_known=content.subjects_known,
        file=file,
        title=content.name,
        modality=content.modality,
        channels=tuple(content.channels),
        merged=content.merged,
        excluded=content.excluded,
        split=_split(file, content.split),
    )


def _split(file: Path, values: Mapping[str, object] | None) -> StoredSplit | None:
    try:
        return StoredSplit.from_dict(values) if values is not None else None
    except DatasetError as error:
        raise DatasetError(f"{file}: {error.what}", error.fix) from error


def _as_file(path: Path) -> Path:
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return path
    return path / FILE_NAME


class _Places:
    """Paths <-> what is written about them, seen from one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._real = folder.resolve()

    def write(self, path: Path) -> str:
        path = path.absolute()
        if path.is_relative_to(self._folder):
            return path.relative_to(self._folder).as_posix()
        real = path.parent.resolve() / path.name  # ".." goes through the real folders, not through links to them
        if real.drive != self._real.drive:
            return real.as_posix()
        return Path(os.path.relpath(real, self._real)).as_posix()

    def read(self, text: str, file: Path, place: str) -> Path:
        written = Path(text)
        if not text or "\0" in text:
            raise DatasetError(f"{file}: {place} holds an empty path.", "Write the path of the file, relative to this one.")
        if written.is_absolute() or written.drive or written.root:
            if not written.drive or written.drive == self._real.drive:
                raise DatasetError(
                    f"{file}: {place} names {text}, which would be another file on another machine.",
                    "Write the path relative to the folder of this file.",
                )
            found = written
        elif ".." in PurePosixPath(written.as_posix()).parts:
            found = Path(os.path.normpath(self._real / written))
        else:
            return self._folder / written
        if not found.exists():
            raise DatasetError(
                f"{file}: {place} names {text}, which lies outside of the folder and does not exist.",
                "Copy the file into the folder and correct the path, or connect the disk that holds it.",
            )
        return found


def _case_entry(case: Case, write: Callable[[Path], str]) -> dict[str, object]:
    entry: dict[str, object] = {"id": case.id, "images": [write(path) for path in case.images]}
    if case.parts:
        entry["parts"] = {part.value: write(part.path) for part in sorted(case.parts, key=lambda part: part.value)}
    elif case.mask is not None:
        entry["mask"] = write(case.mask)
    entry["subject"] = case.subject
    if case.reason:
        entry["reason"] = case.reason
    if case.sureness < 1:
        entry["sureness"] = case.sureness
    return entry


def _parse(file: Path) -> _File:
    fix = "Correct the file, or import the data set again."
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise DatasetError(f"{file} is too large for a description of a data set.", "Choose a dataset.yaml.")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is no text in UTF-8.", "Save it in UTF-8.") from error
    try:
        _refuse_bombs(file, text)
        content: object = yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise DatasetError(f"{file}{line}: it is no YAML ({getattr(error, 'problem', None) or 'not readable'}).", fix) from error
    except ValueError as error:  # a date that is none
        raise DatasetError(f"{file}: it is no YAML ({error}).", fix) from error
    if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
        raise DatasetError(
            f"{file} describes no data set: it does not begin with 'format: {_FORMAT}'.",
            "Choose a dataset.yaml that an import has written.",
        )
    version = content.get("version")
    if version != _VERSION:
        raise DatasetError(
            f"{file} has version {version!r}; this napari-seg3d reads version {_VERSION}.",
            "Update napari-seg3d, or import again.",
        )
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        place = _line_of(text, _first(error)["loc"])
        raise DatasetError(f"{file}, line {place}: {_reason(error)}.", fix) from error


def _refuse_bombs(file: Path, text: str) -> None:
    """Refuse what is small as text and grows without bound when it is read: references, and brackets in brackets."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST or isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark is not None else 0
            raise DatasetError(
                f"{file}, line {line}: a description of a data set holds no references and no such nesting.",
                "Write the values out.",
            )


def _first(error: ValidationError) -> ErrorDetails:
    # A word that nobody knows is often why a known one is missing.
    found = error.errors()
    return next((one for one in found if one["type"] == "extra_forbidden"), found[0])


def _reason(error: ValidationError) -> str:
    first = _first(error)
    place = ""
    for step in first["loc"]:
        if step != "[key]":
            place += f"[{step}]" if isinstance(step, int) else f"{'.' if place else ''}{step}"
    if first["type"] == "extra_forbidden":
        model = _CaseEntry if first["loc"][0] == "cases" else _File
        return f"{place} is no known entry; known are {', '.join(model.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    shown = f" (there is {first['input']!r:.60})" if first["type"] not in ("value_error", "missing") else ""
    return f"{place}: {message}{shown}" if place else message


def _line_of(text: str, loc: Sequence[int | str]) -> int:
    node = yaml.compose(text, Loader=_LOADER)
    line = 0
    way: tuple[int | str | None, ...] = (None, *loc)
    for part in way:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode) and part is not None:
            node = next((value for key, value in node.value if key.value == str(part)), node)
        line = int(node.start_mark.line) + 1 if node is not None and node.start_mark is not None else line
    return line
