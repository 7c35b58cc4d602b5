"""What all tests share: the folder of real scans, and a home of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans beside the checkout; without it a test is skipped."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"the folder of real scans is not there ({_SHARED_DATA})")
    return _SHARED_DATA


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's runs, cache and notes."""
    monkeypatch.setenv("NAPARI_SEG3D_HOME", str(tmp_path_factory.mktemp("home")))
