"""The file beside a model that says what happens to its masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_seg3d.errors import ConfigError, WriteError
from napari_seg3d.files import write_text
from napari_seg3d.inference.postprocess.rules import Rules
from napari_seg3d.transforms.recipe import refuse_traps

FORMAT = "napari-seg3d postprocessing"
_VERSION = 1
_NAME = "postprocessing.yaml"
_LARGEST_BYTES = 1 << 18
_FIX = "Delete it; `napari-seg3d postprocess --choose RUN` writes it anew."


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    version: int
    names: dict[int, str] = {}  # for people; nothing depends on it
    rules: Rules


def rules_file(model: str | Path) -> Path:
    """Return where the rules of a model file lie."""
    return Path(model).with_name(_NAME)


def rules_beside(model: str | Path) -> Rules | None:
    """Return the rules that lie beside a model file, None where there are none.

    Raises
    ------
    ConfigError
        There is such a file, and it cannot be read or does not hold rules: the message names it.
    """
    path = rules_file(model)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ConfigError(f"{path} is larger than any rules can be ({path.stat().st_size} bytes).", _FIX)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'it is no text'}).", _FIX) from error
    return _understood(text, path)


def save_rules(path: str | Path, rules: Rules, names: Mapping[int, str], *, overwrite: bool = False) -> None:
    """Write rules as YAML, whole or not at all.

    Parameters
    ----------
    path : path-like
        Such as `rules_file` gives it.
    rules : Rules
        What to write.
    names : mapping of int to str
        Of the labels, for whoever reads the file.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    WriteError
        The file is there already, or cannot be written.
    """
    path = Path(path)
    check_free(path, overwrite)
    content = {
        "format": FORMAT,
        "version": _VERSION,
        "names": dict(sorted(names.items())),
        "rules": rules.model_dump(exclude_defaults=True),
    }
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def check_free(path: Path, overwrite: bool) -> None:
    """Raise a WriteError when rules are there already and may not be replaced."""
    if path.exists() and not overwrite:
        raise WriteError(f"{path} exists already.", "Allow overwriting (--overwrite), or keep the rules that are there.")


def _understood(text: str, path: Path) -> Rules:
    try:
        refuse_traps(text, str(path), _FIX)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
        raise ConfigError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]}).", _FIX) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ConfigError(f"{path} holds no rules: it does not begin with 'format: {FORMAT}'.", _FIX)
    if values.get("version") != _VERSION:
        raise ConfigError(
            f"{path} is of version {values.get('version')!r}, which this program does not know.", "Update napari-seg3d."
        )
    try:
        return _Content.model_validate(values).rules
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.", _FIX) from error
