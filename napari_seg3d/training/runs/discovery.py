"""Which runs there are on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path

from napari_seg3d.files import user_folder, write_error
from napari_seg3d.training.runs.folder import Run


def find_runs(folder: str | Path | None = None) -> list[Run]:
    """Return runs, newest first.

    Parameters
    ----------
    folder : path-like, optional
        Where to look: this folder, those in it, and those in these. Left out, all runs that are known on this machine: those in the
        default folder and those started elsewhere.
    """
    if folder is not None:
        top = Path(folder).expanduser().absolute()
        folders = {path.parent for pattern in ("", "*/", "*/*/") for path in top.glob(f"{pattern}run.yaml")}
    else:
        folders = {path.parent for path in user_folder("runs").glob("*/run.yaml")}
        register = _register()
        if register.exists():
            folders |= {Path(line) for line in register.read_text(encoding="utf-8").splitlines() if line}
    began: dict[Path, float] = {}
    for found in folders:
        with contextlib.suppress(OSError):  # it was deleted, perhaps at this moment
            began[found] = (found / "run.yaml").stat().st_mtime
    return [Run(found) for found in sorted(began, key=lambda found: began[found], reverse=True)]


def live_runs() -> list[Run]:
    """Return the runs that are training, waiting or paused now, newest first."""
    return [run for run in find_runs() if run.is_alive() and not run.status().ended]


def remember(folder: Path) -> None:
    """Take note of a run that lies anywhere, so that it is found again."""
    try:
        with open(_register(), "a", encoding="utf-8") as handle:
            handle.write(f"{folder}\n")
    except OSError as error:
        raise write_error(_register(), error) from error


def _register() -> Path:
    return user_folder("state") / "runs.txt"
