"""Parameters that many transforms share."""

from __future__ import annotations

from napari_seg3d.transforms.parameter import Parameter

_INTERPOLATIONS = ("linear", "nearest", "bspline", "gaussian", "hamming", "cosine", "welch", "lanczos", "blackman")
IMAGE_INTERPOLATION = Parameter(
    "image_interpolation",
    "choice",
    "linear",
    choices=_INTERPOLATIONS,
    help="How values between voxels are found: linear is quick and safe, bspline and lanczos keep edges sharper and may overshoot.",
)
LABEL_INTERPOLATION = Parameter(
    "label_interpolation",
    "choice",
    "nearest",
    choices=("nearest", "label_gaussian"),
    help="How labels between voxels are found: nearest keeps each as it is, label_gaussian makes smoother borders and is slower.",
)
#: The label that fills most of a new voxel.
MAJORITY = "majority"
RESAMPLED_LABELS = Parameter(
    "label_interpolation",
    "choice",
    "nearest",
    choices=("nearest", MAJORITY, "label_gaussian"),
    help="Which label a new voxel gets: that of the nearest old one (quick, but a mask may move by half an old voxel), the one that fills "
    "most of it (majority: moves nothing), or a smoothed one (label_gaussian).",
)
FILL = Parameter(
    "default_pad_value",
    "choice",
    "minimum",
    choices=("minimum", "mean", "otsu"),
    or_number=True,
    help="What the image is filled with where it has no values: its minimum, the mean of its border, the mean of the dark part of its "
    "border (otsu), or this number. The mask is filled with background.",
)
PADDING_MODE = Parameter(
    "padding_mode",
    "choice",
    "minimum",
    choices=("minimum", "mean", "median", "edge", "reflect", "symmetric", "wrap"),
    or_number=True,
    help="What the image is padded with: its minimum, mean or median, its own border (edge, reflect, symmetric, wrap: the mask "
    "follows), or this number. Else the mask is padded with background.",
)


def axes(default: list[int], help_text: str) -> Parameter:
    """Return a parameter that chooses axes of the array."""
    return Parameter(
        "axes", "integers", default, 0, 2, help=f"{help_text} 0, 1, 2; after ToCanonical left-right, back-front, down-up."
    )


MASKING = Parameter(
    "masking_method",
    "choice",
    None,
    choices=("mean",),
    optional=True,
    help="Which voxels count: all (nothing), or only those brighter than the mean, which leaves the air around the body out.",
)
