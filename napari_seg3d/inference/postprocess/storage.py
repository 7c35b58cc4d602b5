"""The file beside a model that says what happens to its masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from napari_seg3d.inference.beside import Beside
from napari_seg3d.inference.postprocess.rules import Rules


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    names: dict[int, str] = {}  # for people; nothing depends on it
    rules: Rules


_RULES = Beside("postprocessing.yaml", "napari-seg3d postprocessing", _Content, "rules", "napari-seg3d postprocess --choose RUN")


def rules_file(model: str | Path) -> Path:
    """Return where the rules of a model file lie."""
    return _RULES.file(model)


def rules_beside(model: str | Path) -> Rules | None:
    """Return the rules that lie beside a model file, None where there are none.

    Raises
    ------
    ConfigError
        There is such a file, and it cannot be read or does not hold rules: the message names it.
    OtherModel
        They were chosen for another model.
    """
    found = _RULES.read(model)
    return found.rules if found is not None else None


def save_rules(
    path: str | Path, rules: Rules, names: Mapping[int, str], *, made_for: str | None = None, overwrite: bool = False
) -> None:
    """Write rules as YAML, whole or not at all.

    Parameters
    ----------
    path : path-like
        Such as `rules_file` gives it.
    rules : Rules
        What to write.
    names : mapping of int to str
        Of the labels, for whoever reads the file.
    made_for : str, optional
        The fingerprint of the model that they were chosen for; left out, they are applied whatever that becomes.
    overwrite : bool
        Whether a file that is there already may be replaced.

    Raises
    ------
    WriteError
        The file is there already, or cannot be written.
    """
    values = {"names": dict(sorted(names.items())), "rules": rules.model_dump(exclude_defaults=True)}
    _RULES.save(Path(path), values, made_for, overwrite=overwrite)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise a WriteError when rules are there already and may not be replaced."""
    _RULES.check_free(path, overwrite)
