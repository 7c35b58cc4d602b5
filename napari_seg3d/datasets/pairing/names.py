"""What the names of files and folders say: image or mask, and which of them belong together."""

from __future__ import annotations

import re
from typing import Literal

Role = Literal["image", "mask"]

_IMAGE_WORD = re.compile(r"images?|imaging|imgs?|scans?|volumes?|vols?")
# With what was drawn written in front: gmseg, brainmask, tumorlabel.
_MASK_WORD = re.compile(
    r"\w*(mask|seg|segmentation|label)|masks|segs|segmentations|segmented|labels|labelmaps?|gt|groundtruth|truth|annotations?|rois?"
    r"|contours?|manual|preds?|predictions?"
)
# Numbers that count no cases: 512x512x94, 3mm, 3d, the MR sequences t1 and t2, the version of a file.
_NO_ID = re.compile(r"\d+(x\d+)+|\d+(mm|d|t)|t[12](w|s|c|ce|gd|star)?|v\d+", re.IGNORECASE)


def tokens(name: str) -> tuple[str, ...]:
    """Return the parts of a name between separators, in lower case: ``T2_seg-manual`` becomes ``("t2", "seg", "manual")``."""
    return tuple(part for part in re.split(r"[^0-9a-z]+", name.lower()) if part)


def token_role(token: str) -> Role | None:
    """Return what one part of a name says; a number at its end does not matter (``image01``)."""
    word = token.rstrip("0123456789")
    if _IMAGE_WORD.fullmatch(word):
        return "image"
    if _MASK_WORD.fullmatch(word):
        return "mask"
    return None


def name_role(name: str) -> Role | None:
    """Return whether a file is called an image or a mask.

    A name that ends in a word for a mask is one (``image01_seg``); otherwise the first word counts
    (``image_without_label_118`` is an image, ``label_without_image_010`` a mask).
    """
    roles = [token_role(token) for token in tokens(name)]
    if roles and roles[-1] == "mask":
        return "mask"
    return next((role for role in roles if role is not None), None)


def folder_role(name: str) -> tuple[Role | None, bool]:
    """Return whether a folder is called one of images or masks, and whether it is the test part of a decathlon task.

    ``imagesTr``, ``labelsTr`` and ``imagesTs`` are the decathlon's and nnU-Net's names.
    """
    decathlon = re.fullmatch(r"(images|labels)(tr|ts|va)", name.lower())
    if decathlon:
        return ("image" if decathlon[1] == "images" else "mask"), decathlon[2] == "ts"
    return name_role(name), False


def core(name: str) -> tuple[str, ...]:
    """Return the parts of a name without the words for images and masks; a number written to such a word stays."""
    kept = []
    for token in tokens(name):
        if token_role(token) is None:
            kept.append(token)
        elif token[-1].isdigit():
            kept.append(token[len(token.rstrip("0123456789")) :])
    return tuple(kept)


def numbers(name: str) -> frozenset[int]:
    """Return the whole numbers in a name that may identify a case: ``label_512x512x94_281`` gives 281."""
    found: set[int] = set()
    for token in tokens(name):
        if not _NO_ID.fullmatch(token):
            found.update(int(digits) for digits in re.findall(r"\d+", token))
    return frozenset(found)
