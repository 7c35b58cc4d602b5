"""Files of a model from elsewhere, in a folder or a zip archive, read where they lie: nothing is unpacked to the disk."""

from __future__ import annotations

import io
import json
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from napari_seg3d.errors import ModelError

_LARGEST_TEXT = 16 * 2**20
_LARGEST_WEIGHTS = 16 * 2**30
# Weights are nearly random bits: what shrinks so much was made to fill the memory.
_MOST_SHRUNK = 100
_GET_ANOTHER = "Get the model from its makers again."


class Source:
    """The files of a model.

    Parameters
    ----------
    path : Path
        A folder or a zip archive.

    Raises
    ------
    ModelError
        It is an archive with members that lie outside of it, links, or more than any model holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = None if path.is_dir() else _checked(path)

    def find(self, ending: str) -> str | None:
        """Return the shortest name of a file that is, or ends in, ``"/" + ending``; a bundle may lie in a folder of its archive."""
        if self._archive is None:
            return ending if (self.path / ending).is_file() else None
        names = [name for name in self._archive.namelist() if name == ending or name.endswith(f"/{ending}")]
        return min(names, key=len, default=None)

    def text(self, name: str) -> Any:
        """Return what a JSON or YAML file holds: plain values only.

        Raises
        ------
        ModelError
            It is too large, damaged, or no such file.
        """
        content = self._bytes(name, _LARGEST_TEXT)
        try:
            return json.loads(content) if name.endswith(".json") else yaml.safe_load(content)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{name} in {self.path} cannot be read ({reason}).", _GET_ANOTHER) from error

    def tensors(self, name: str) -> Any:
        """Return what a torch file holds: tensors and plain values only.

        Raises
        ------
        ModelError
            It is damaged, or holds anything else, which was not run.
        """
        if self._archive is None:
            return load_tensors(self.path / name, f"{name} in {self.path}")
        return load_tensors(io.BytesIO(self._bytes(name, _LARGEST_WEIGHTS)), f"{name} in {self.path}")

    def _bytes(self, name: str, most: int) -> bytes:
        try:
            size = (self.path / name).stat().st_size if self._archive is None else self._archive.getinfo(name).file_size
            if size > most:
                raise ModelError(f"{name} in {self.path} holds {size / 2**20:.0f} MB, which no model needs.", _GET_ANOTHER)
            return (self.path / name).read_bytes() if self._archive is None else self._archive.read(name)
        except (OSError, KeyError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ModelError(f"{name} in {self.path} cannot be read ({error}).", _GET_ANOTHER) from error


def load_tensors(file: Path | IO[bytes], name: str, allowed: tuple[Any, ...] = ()) -> Any:
    """Return what a file of torch holds, on the CPU, without running anything in it.

    Parameters
    ----------
    file : path or binary file
        What `torch.save` wrote.
    name : str
        What to call it in an error.
    allowed : tuple
        What it may hold besides tensors and plain values, as `torch.serialization.safe_globals` takes it.

    Raises
    ------
    ModelError
        It is damaged, a TorchScript program, or holds anything else.
    """
    import pickle

    import torch

    _check_weights(file, name)
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{name} holds something other than numbers, which was not run.",
            "Ask its makers for the weights alone (the network's state_dict).",
        ) from error
    except Exception as error:  # a damaged archive makes torch fail in any way it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{name} cannot be read ({reason}).", _GET_ANOTHER) from error


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip archive."""
    return path.is_file() and zipfile.is_zipfile(path)


def _checked(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} cannot be read ({error}).", _GET_ANOTHER) from error
    for member in archive.infolist():
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0:1]:
            raise ModelError(f"{path} holds {member.filename!r}, which lies outside of it.", "Do not use this file.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f"{path} holds the link {member.filename!r}.", "Pack the model again without links.")
        if member.file_size > 2**20 and member.file_size > _MOST_SHRUNK * max(member.compress_size, 1):
            raise ModelError(
                f"{member.filename!r} in {path} would unpack to {member.file_size / 2**20:.0f} MB from almost nothing.",
                "Do not use this file.",
            )
    return archive


def _check_weights(file: Path | IO[bytes], name: str) -> None:
    # torch does not look at the check sums that it writes; weights with a flipped bit would predict nonsense without a word.
    try:
        if not zipfile.is_zipfile(file):
            return  # torch's format before 1.6
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(Path(member.filename).parts[1:2] == ("code",) for member in members):
                raise ModelError(
                    f"{name} is a TorchScript program, which would be run as it is.",
                    "Use the bundle with models/model.pt, the weights alone.",
                )
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ModelError(f"{name} is packed as torch never does.", "Do not use this file.")
            bad = archive.testzip()
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ModelError(f"{name} is damaged ({error}).", _GET_ANOTHER) from error
    finally:
        if not isinstance(file, Path):
            file.seek(0)
    if bad is not None:
        raise ModelError(f"{name} is damaged: the check sum of {bad} is wrong.", _GET_ANOTHER)
