from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from napari_seg3d.errors import Cancelled, Seg3dError, WriteError
from napari_seg3d.files import atomic_path, user_folder, write_error, write_text


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "note.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.name == path.name  # writers choose the format by it
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), Cancelled("stopped"), OSError(errno.ENOSPC, "full")])
def test_a_failure_leaves_what_was_there(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            (temporary.parent / "companion").write_text("new")
            raise error

    with pytest.raises(WriteError if isinstance(error, OSError) else type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_companions_arrive_too(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.mhd") as temporary:
        temporary.write_text("header")
        temporary.with_suffix(".zraw").write_text("data")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.mhd": "header", "a.zraw": "data"}


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "Größe\n3 mm³\n")
    assert (tmp_path / "note.txt").read_bytes() == "Größe\n3 mm³\n".encode()


def test_a_place_below_a_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError) as error:
        write_text(tmp_path / "file" / "note.txt", "x")
    assert str(tmp_path / "file" / "note.txt") in error.value.what
    assert error.value.fix


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EACCES, "may not be written"),
        (errno.EROFS, "may not be written"),
        (errno.EIO, "was not written: Input/output error"),
    ],
)
def test_what_the_system_says(number: int, said: str, tmp_path: Path) -> None:
    error = write_error(tmp_path / "a.nii", OSError(number, os.strerror(number)))
    assert said in error.what
    assert "a.nii" in error.what
    assert error.fix


def test_our_folders_are_private_and_below_one_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_SEG3D_HOME", str(tmp_path / "home"))
    for kind in ("runs", "cache", "state"):
        folder = user_folder(kind)
        assert folder == tmp_path / "home" / kind
        assert folder.is_dir()
        if sys.platform != "win32":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_SEG3D_HOME", str(tmp_path / "file"))
    with pytest.raises(WriteError):
        user_folder("runs")


@pytest.mark.skipif(sys.platform == "win32", reason="the home of Windows is no environment variable")
def test_our_folders_without_a_home_of_our_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NAPARI_SEG3D_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert user_folder("runs") == tmp_path / "napari-seg3d" / "runs"
    folders = {user_folder(kind) for kind in ("runs", "cache", "state")}
    assert len(folders) == 3
    assert all(folder.is_relative_to(tmp_path) for folder in folders)


def test_errors_say_what_and_what_to_do() -> None:
    error = WriteError("a.nii was not written.", "Choose another folder.")
    assert str(error) == "a.nii was not written.\nChoose another folder."
    assert str(WriteError("a.nii was not written.")) == "a.nii was not written."
    # A worker swallows RuntimeErrors, so none of ours may be one.
    kinds: list[type[Exception]] = [Seg3dError, *Seg3dError.__subclasses__()]
    assert len(kinds) > 5
    assert not any(issubclass(kind, RuntimeError) for kind in kinds)
