"""Transforms that move image and mask alike."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations, product
from typing import Any

from napari_seg3d.transforms.parameter import Parameter, TransformInfo
from napari_seg3d.transforms.tables.common import (
    FILL,
    IMAGE_INTERPOLATION,
    LABEL_INTERPOLATION,
    PADDING_MODE,
    RESAMPLED_LABELS,
    axes,
)

_ORIENTATIONS = tuple("".join(code) for sides in product("RL", "AP", "SI") for code in permutations(sides))
_CENTER = Parameter(
    "center",
    "choice",
    "image",
    choices=("image", "origin"),
    help="What it turns and scales about: the middle of the image, or the origin of the scanner's coordinates.",
)
_SCALES = Parameter(
    "scales",
    "vector",
    0.1,
    0.05,
    5,
    sizes=(1, 2, 3, 6),
    around=1,
    help="Zoom: 0.1 draws a factor from 0.9 to 1.1 for each axis; two numbers are the lowest and highest factor, three a width for each "
    "axis, six the lowest and highest for each axis.",
)
_DEGREES = Parameter(
    "degrees",
    "vector",
    10,
    -180,
    180,
    unit="degrees",
    sizes=(1, 2, 3, 6),
    around=0,
    help="Rotation about each axis: 10 draws an angle from -10 to 10; two, three or six numbers as for scales.",
)
_TRANSLATION = Parameter(
    "translation",
    "vector",
    0,
    -1000,
    1000,
    unit="mm",
    sizes=(1, 2, 3, 6),
    around=0,
    help="Shift along each axis: 5 draws a shift from -5 to 5 mm; two, three or six numbers as for scales.",
)
_ISOTROPIC = Parameter("isotropic", "flag", False, help="Whether all axes are zoomed by the same factor.")
_CONTROL_POINTS = Parameter(
    "num_control_points",
    "vector",
    7,
    4,
    32,
    whole=True,
    help="Points of the grid that is pulled about, along each axis: more make finer waves.",
)
_DISPLACEMENT = Parameter(
    "max_displacement",
    "vector",
    7.5,
    0,
    100,
    unit="mm",
    help="How far a point is pulled at most. Above half the distance between two points the tissue may fold.",
)
_LOCKED = Parameter("locked_borders", "integer", 2, 0, 2, help="How many layers of points at the border stay where they are.")


def _affine_rule(values: Mapping[str, Any]) -> str:
    scales = values["scales"]
    if values["isotropic"] and isinstance(scales, list) and len(scales) > 2:
        return "isotropic takes one number or [low, high] for scales"
    return ""


def _elastic_rule(values: Mapping[str, Any]) -> str:
    points = values["num_control_points"]
    fewest = min(points) if isinstance(points, list) else points
    if values["locked_borders"] == 2 and fewest < 5:
        return "locked_borders = 2 with fewer than 5 control points leaves nothing to move"
    return ""


def _crop_rule(values: Mapping[str, Any]) -> str:
    if values["only_crop"] and values["only_pad"]:
        return "only_crop and only_pad exclude each other"
    shape = values["target_shape"]
    sides = shape if isinstance(shape, list) else [shape]
    if values["units"] == "voxels" and any(side != int(side) for side in sides):
        return f"target_shape = {shape} is not whole, and its unit is voxels"
    return ""


SPATIAL = (
    TransformInfo(
        "ToCanonical", "spatial", False, "Reorders the axes to run right, front and up, whatever the order of the file."
    ),
    TransformInfo(
        "ToOrientation",
        "spatial",
        False,
        "Reorders the axes to run in the directions asked for.",
        (
            Parameter(
                "orientation",
                "choice",
                "RAS",
                choices=_ORIENTATIONS,
                help="Where each axis points: R right, L left, A anterior, P posterior, S superior, I inferior.",
            ),
        ),
    ),
    TransformInfo("Transpose", "spatial", False, "Swaps the first and the last axis."),
    TransformInfo(
        "Resample",
        "spatial",
        False,
        "Changes the voxel size and keeps the field of view.",
        (
            Parameter(
                "target", "vector", 1.0, 0.01, 100, unit="mm", help="Voxel edges: one number for cubes, or one for each axis."
            ),
            IMAGE_INTERPOLATION,
            RESAMPLED_LABELS,
            Parameter(
                "antialias",
                "flag",
                False,
                help="Whether the image is smoothed before its voxels grow, so that fine patterns do not flicker.",
            ),
        ),
    ),
    TransformInfo(
        "Resize",
        "spatial",
        False,
        "Changes the number of voxels and keeps the field of view; tissue is stretched where the proportions differ.",
        (
            Parameter("target_shape", "vector", 64, 1, 2048, unit="voxels", whole=True, help="Voxels along each axis."),
            IMAGE_INTERPOLATION,
            RESAMPLED_LABELS,
        ),
    ),
    TransformInfo(
        "LimitSize",
        "spatial",
        False,
        "Shrinks sides with too many voxels and stretches those with too few, so that a scan fits the memory; the field of view stays.",
        (
            Parameter("smallest", "integer", 1, 1, 2048, unit="voxels", help="A shorter side gets this many voxels."),
            Parameter("largest", "integer", 180, 1, 2048, unit="voxels", help="A longer side gets this many voxels."),
            IMAGE_INTERPOLATION,
            RESAMPLED_LABELS,
        ),
        is_own=True,
        rule=lambda values: "smallest is above largest" if values["smallest"] > values["largest"] else "",
    ),
    TransformInfo(
        "CropOrPad",
        "spatial",
        False,
        "Cuts off or adds voxels at the borders until the volume has the size asked for.",
        (
            Parameter("target_shape", "vector", 64, 0.1, 4096, help="Size along each axis, in the unit below."),
            PADDING_MODE,
            Parameter("only_crop", "flag", False, help="Whether smaller volumes stay as they are."),
            Parameter("only_pad", "flag", False, help="Whether larger volumes stay as they are."),
            Parameter(
                "location",
                "choice",
                "center",
                choices=("center", "random"),
                help="Which part of a larger volume is kept: its middle, or a random one (then it is an augmentation).",
            ),
            Parameter("units", "choice", "voxels", choices=("voxels", "mm", "cm"), help="What the size is given in."),
        ),
        rule=_crop_rule,
    ),
    TransformInfo(
        "Crop",
        "spatial",
        False,
        "Cuts voxels off at the borders.",
        (
            Parameter(
                "cropping",
                "vector",
                0,
                0,
                4096,
                unit="voxels",
                sizes=(1, 3, 6),
                whole=True,
                help="How many: one number for all sides, one for each axis, or first and last side of each axis.",
            ),
        ),
    ),
    TransformInfo(
        "Pad",
        "spatial",
        False,
        "Adds voxels at the borders.",
        (
            Parameter(
                "padding",
                "vector",
                0,
                0,
                1024,
                unit="voxels",
                sizes=(1, 3, 6),
                whole=True,
                help="How many: one number for all sides, one for each axis, or first and last side of each axis.",
            ),
            PADDING_MODE,
        ),
    ),
    TransformInfo(
        "EnsureShapeMultiple",
        "spatial",
        False,
        "Crops or pads until every side can be divided as often as the network halves it.",
        (
            Parameter(
                "target_multiple", "vector", 8, 1, 512, unit="voxels", whole=True, help="What each side becomes a multiple of."
            ),
            Parameter("method", "choice", "pad", choices=("pad", "crop"), help="Whether voxels are added or cut off."),
        ),
    ),
    TransformInfo(
        "Flip",
        "spatial",
        False,
        "Mirrors the volume: left becomes right in the patient too.",
        (axes([0], "Axes that are mirrored:"),),
    ),
    TransformInfo(
        "Affine",
        "spatial",
        False,
        "Zooms, turns and shifts the content by fixed amounts.",
        (
            Parameter("scales", "vector", 1, 0.05, 20, help="Zoom factor of each axis."),
            Parameter("degrees", "vector", 0, -180, 180, unit="degrees", help="Rotation about each axis."),
            Parameter("translation", "vector", 0, -1000, 1000, unit="mm", help="Shift along each axis."),
            _CENTER,
            FILL,
            IMAGE_INTERPOLATION,
            LABEL_INTERPOLATION,
        ),
    ),
    TransformInfo(
        "RandomFlip",
        "spatial",
        True,
        "Mirrors the volume at random. Not along left-right where labels name a side.",
        (
            axes([0], "Axes that may be mirrored:"),
            Parameter("flip_probability", "number", 0.5, 0, 1, help="How often each of the axes is mirrored."),
        ),
    ),
    TransformInfo(
        "RandomAffine",
        "spatial",
        True,
        "Zooms, turns and shifts the content at random, as another patient or position would.",
        (_SCALES, _DEGREES, _TRANSLATION, _ISOTROPIC, _CENTER, FILL, IMAGE_INTERPOLATION, LABEL_INTERPOLATION),
        rule=_affine_rule,
    ),
    TransformInfo(
        "RandomElasticDeformation",
        "spatial",
        True,
        "Bends the tissue at random and smoothly, as organs differ between patients.",
        (_CONTROL_POINTS, _DISPLACEMENT, _LOCKED, IMAGE_INTERPOLATION, LABEL_INTERPOLATION),
        rule=_elastic_rule,
    ),
    TransformInfo(
        "RandomAffineElasticDeformation",
        "spatial",
        True,
        "RandomAffine and RandomElasticDeformation in one go: quicker than both, and blurred once instead of twice.",
        (
            Parameter("affine_first", "flag", True, help="Whether the content is turned before it is bent."),
            _SCALES,
            _DEGREES,
            _TRANSLATION,
            _ISOTROPIC,
            _CENTER,
            FILL,
            _CONTROL_POINTS,
            _DISPLACEMENT,
            _LOCKED,
            IMAGE_INTERPOLATION,
            LABEL_INTERPOLATION,
        ),
        rule=lambda values: _affine_rule(values) or _elastic_rule(values),
    ),
    TransformInfo(
        "OneOf",
        "spatial",
        True,
        "Applies one of several steps, drawn at random.",
        (
            Parameter(
                "transforms",
                "steps",
                [{"name": "RandomAffine", "parameters": {}, "probability": 1.0}],
                help="The steps to draw from.",
            ),
            Parameter(
                "weights",
                "numbers",
                None,
                0,
                1000,
                optional=True,
                help="How often each step is drawn compared with the others, one number for each; nothing: all alike.",
            ),
        ),
    ),
)
