"""A small file beside a model: what was fitted on its validation cases, as YAML, and to which weights it belongs."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from napari_seg3d.errors import ConfigError, WriteError
from napari_seg3d.files import write_text
from napari_seg3d.transforms.recipe import refuse_traps

_VERSION = 1
Content = TypeVar("Content", bound=BaseModel)


class OtherModel(ConfigError):  # noqa: N818  nothing failed: the model was trained further
    """A file beside a model was made for another one."""


@dataclass(frozen=True)
class Beside(Generic[Content]):
    """A kind of file beside models.

    Parameters
    ----------
    name : str
        Of the file.
    format : str
        With which it says what it is.
    content : type
        A pydantic model of what it holds beside that.
    what : str
        What it holds, for people: ``"rules"``.
    command : str
        That writes it.
    most : int
        Bytes; a larger file is none of these.
    """

    name: str
    format: str
    content: type[Content]
    what: str
    command: str
    most: int = 1 << 18

    def file(self, model: str | Path) -> Path:
        """Return where the file of a model lies."""
        return Path(model).with_name(self.name)

    def read(self, model: str | Path) -> Content | None:
        """Return what lies beside a model file, None where there is nothing.

        Raises
        ------
        ConfigError
            There is such a file, and it cannot be read or holds something else: the message names it.
        OtherModel
            It was made for another model. Files that do not say for which are taken for this one's.
        """
        path = self.file(model)
        try:
            if path.stat().st_size > self.most:
                raise ConfigError(f"{path} is larger than any {self.what} can be ({path.stat().st_size} bytes).", self._fix)
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"{path} cannot be read ({reason}).", self._fix) from error
        made_for, content = self._understood(text, path)
        if made_for is not None and made_for != fingerprint(model):
            raise OtherModel(
                f"{path} was made for another model than {Path(model).name} is now, and is not applied.",
                f"Make it anew: {self.command} --overwrite.",
            )
        return content

    def save(self, path: Path, values: Mapping[str, Any], made_for: str | None, *, overwrite: bool = False) -> None:
        """Write it, whole or not at all.

        Parameters
        ----------
        path : Path
            Such as `file` gives it.
        values : mapping
            What to write: the content as plain values.
        made_for : str or None
            The `fingerprint` of the model.
        overwrite : bool
            Whether a file that is there already may be replaced.

        Raises
        ------
        WriteError
            The file is there already, or cannot be written.
        """
        self.check_free(path, overwrite)
        head = {"format": self.format, "version": _VERSION, **({} if made_for is None else {"model": made_for})}
        write_text(path, yaml.safe_dump({**head, **values}, sort_keys=False, allow_unicode=True, width=120))

    def check_free(self, path: Path, overwrite: bool) -> None:
        """Raise a WriteError when there is such a file already and it may not be replaced."""
        if path.exists() and not overwrite:
            raise WriteError(f"{path} exists already.", f"Allow overwriting (--overwrite), or keep the {self.what} there.")

    @property
    def _fix(self) -> str:
        return f"Delete it; `{self.command}` writes it anew."

    def _understood(self, text: str, path: Path) -> tuple[str | None, Content]:
        try:
            refuse_traps(text, str(path), self._fix)
            values = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
            raise ConfigError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]}).", self._fix) from error
        if not isinstance(values, dict) or values.pop("format", None) != self.format:
            raise ConfigError(f"{path} holds no {self.what}: it does not begin with 'format: {self.format}'.", self._fix)
        version, made_for = values.pop("version", None), values.pop("model", None)
        if version != _VERSION:
            raise ConfigError(f"{path} is of version {version!r}, which this program does not know.", "Update napari-seg3d.")
        try:
            return made_for, self.content.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.", self._fix) from error


def fingerprint(model: str | Path) -> str | None:
    """Return what tells the weights in a model file from all others, wherever the file lies and whatever it is called; None for no model.

    Made of the check sums that the archive holds of its weights, so that none of them is read.
    """
    try:
        with zipfile.ZipFile(model) as archive:
            sums = [(file.CRC, file.file_size) for file in archive.infolist() if file.filename.split("/")[1:2] == ["data"]]
    except (OSError, zipfile.BadZipFile):
        return None
    return hashlib.sha256(repr(sums).encode()).hexdigest()[:16]
