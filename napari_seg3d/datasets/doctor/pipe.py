"""What goes through the pipe between a process and its workers; both ends are this program."""

from __future__ import annotations

import pickle
from typing import IO


def send(pipe: IO[bytes] | None, message: object) -> None:
    """Write a message; an EOFError where there is no pipe."""
    if pipe is None:
        raise EOFError
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()
