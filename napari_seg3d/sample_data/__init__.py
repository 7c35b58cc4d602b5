"""Small phantoms that this project makes itself, laid out as a data set: to try things, to show them, and to test them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["dataset_folder"]


def dataset_folder() -> Path:
    """Return the folder of the phantom data set that is part of the installation (``imagesTr``, ``labelsTr``, ``imagesTs``).

    It may be read-only, and it belongs to all users of the machine: write nothing there.
    """
    return Path(__file__).parent / "phantoms"
