"""`BoundedFile`: a file that is not asked for more than it holds.

Python takes memory for as many bytes as a caller wants, before it looks how many there are: a lying length in a header would take
gigabytes.
"""

from __future__ import annotations

import io
from pathlib import Path


class BoundedFile(io.BufferedReader):
    """A file that is open for reading."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._most = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, or all that are left; fewer where there are no more."""
        return super().read(size if size is None or size < 0 else min(size, self._most))
