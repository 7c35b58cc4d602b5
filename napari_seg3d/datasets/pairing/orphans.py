"""What is left over where images and masks were put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_seg3d.datasets.dataset import Case, Problem

#: Why a case that lies with the test images has no mask, and needs none.
TEST_IMAGE = "one of the test images"


def pairing_problems(cases: Sequence[Case], unused_masks: Sequence[Path]) -> tuple[Problem, ...]:
    """Return a problem for every image that should have a mask and has none, and for every mask without an image."""
    has_masks = bool(unused_masks) or any(case.mask is not None for case in cases)
    alone = [lone_image(case.images[0], case.id) for case in cases if has_masks and case.mask is None and not case.reason]
    return (*alone, *(lone_mask(mask) for mask in unused_masks))


def lone_image(path: Path, case: str | None = None) -> Problem:
    """Return what to say about an image without a mask."""
    return Problem(
        "warning",
        f"{path.name} has no mask: it can be predicted, but not trained on.",
        "If there is a mask, give it the name of the image, or choose it by hand.",
        case,
        path,
    )


def lone_mask(path: Path) -> Problem:
    """Return what to say about a mask without an image."""
    return Problem(
        "error",
        f"{path.name} is a mask without an image.",
        "Give it the name of its image, choose the image by hand, or move it to another folder.",
        path=path,
    )
