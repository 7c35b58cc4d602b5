"""What state a case can be in."""

from __future__ import annotations

from typing import Literal, TypeGuard, get_args

from napari_seg3d.errors import ConfigError

State = Literal["to do", "predicted", "in work", "approved", "flagged"]
#: From the first to the last.
STATES: tuple[State, ...] = get_args(State)
#: With these a reader has made up their mind.
DONE: tuple[State, ...] = ("approved", "flagged")


def is_state(text: object) -> TypeGuard[State]:
    """Return whether `text` is a state."""
    return text in STATES


def state_of(text: str) -> State:
    """Return the state that `text` names; a ConfigError names them all where it is none."""
    found = text.strip().lower().replace("_", " ").replace("-", " ")
    if is_state(found):
        return found
    raise ConfigError(f"There is no state {text!r}.", f"Choose one of {', '.join(STATES)}.")
