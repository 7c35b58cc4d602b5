"""Transforms that change the image and leave the mask alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from napari_seg3d.transforms.parameter import Parameter, TransformInfo
from napari_seg3d.transforms.tables.common import IMAGE_INTERPOLATION, MASKING, axes

_HUGE = 1e6
_LANDMARKS = 13  # torchio's percentiles: 1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99


def _rescale_rule(values: Mapping[str, Any]) -> str:
    for name in ("out_min_max", "percentiles", "in_min_max"):
        pair = values[name]
        if pair is not None and (not isinstance(pair, list) or pair[0] >= pair[1]):
            return f"{name} = {pair} is not [low, high]"
    return ""


def _clamp_rule(values: Mapping[str, Any]) -> str:
    low, high = values["out_min"], values["out_max"]
    if low is not None and high is not None and low >= high:
        return f"out_min = {low} is not below out_max = {high}"
    return ""


def _landmarks_rule(values: Mapping[str, Any]) -> str:
    landmarks = values["landmarks"]
    if landmarks is None:
        return ""
    if len(landmarks) != _LANDMARKS:
        return f"landmarks has {len(landmarks)} values instead of {_LANDMARKS}"
    if any(low > high for low, high in pairwise(landmarks)):
        return "landmarks do not rise"
    return ""


def _window_rule(values: Mapping[str, Any]) -> str:
    pair = values["out_min_max"]
    return "" if isinstance(pair, list) and pair[0] < pair[1] else f"out_min_max = {pair} is not [low, high]"


def _pair(name: str, default: list[float] | None, help_text: str, **more: Any) -> Parameter:
    return Parameter(name, "range", default, help=help_text, **more)


INTENSITY = (
    TransformInfo(
        "HUWindow",
        "intensity",
        False,
        "Cuts a CT to a window, as on the console, and brings it into a fixed range: the same tissue is the same number in every scan.",
        (
            Parameter("level", "number", 40.0, -4096, 32767, unit="HU", help="The middle of the window."),
            Parameter("width", "number", 400.0, 1, 65536, unit="HU", help="From the darkest to the brightest."),
            _pair(
                "out_min_max", [0.0, 1.0], "What the lower and the upper end of the window become.", minimum=-_HUGE, maximum=_HUGE
            ),
        ),
        is_own=True,
        rule=_window_rule,
    ),
    TransformInfo(
        "ContextSlices",
        "intensity",
        False,
        "Gives each slice its neighbours as channels, so that a network that sees single slices knows what lies above and below.",
        (
            Parameter(
                "neighbours",
                "integer",
                3,
                1,
                16,
                unit="slices",
                help="How many on each side; beyond the ends the last one is repeated.",
            ),
            Parameter("axis", "integer", 2, 0, 2, help="Along which axis slices lie; 2 is down-up after ToCanonical."),
        ),
        is_own=True,
    ),
    TransformInfo(
        "RescaleIntensity",
        "intensity",
        False,
        "Stretches the values linearly into a range.",
        (
            _pair("out_min_max", [0, 1], "The range that the values are brought into.", minimum=-_HUGE, maximum=_HUGE),
            _pair("percentiles", [0, 100], "Values below and above these are cut first.", minimum=0, maximum=100, unit="%"),
            MASKING,
            _pair(
                "in_min_max",
                None,
                "What becomes the ends of the range; nothing: the lowest and highest value of the scan itself.",
                minimum=-_HUGE,
                maximum=_HUGE,
                optional=True,
            ),
        ),
        rule=_rescale_rule,
    ),
    TransformInfo(
        "ZNormalization",
        "intensity",
        False,
        "Brings the values to mean 0 and standard deviation 1, each scan for itself.",
        (MASKING,),
    ),
    TransformInfo(
        "HistogramStandardization",
        "intensity",
        False,
        "Bends the values so that the histograms of all scans agree, as MR needs (Nyúl and Udupa, 1999); learnt from the training cases.",
        (
            Parameter(
                "landmarks",
                "numbers",
                None,
                -_HUGE,
                _HUGE,
                optional=True,
                help=f"The {_LANDMARKS} values that the percentiles of a scan are brought to; nothing: training finds them.",
            ),
            MASKING,
        ),
        rule=_landmarks_rule,
    ),
    TransformInfo(
        "Mask",
        "intensity",
        False,
        "Blanks the image outside of the mask.",
        (
            Parameter("outside_value", "number", 0, -_HUGE, _HUGE, help="What the image becomes there."),
            Parameter("labels", "integers", None, 0, 2**31 - 1, optional=True, help="Labels that count; nothing: all."),
        ),
        needs_mask=True,
    ),
    TransformInfo(
        "Clamp",
        "intensity",
        False,
        "Cuts values below and above limits off.",
        (
            Parameter(
                "out_min", "number", None, -_HUGE, _HUGE, optional=True, help="Lower values become this; nothing: no limit."
            ),
            Parameter(
                "out_max", "number", None, -_HUGE, _HUGE, optional=True, help="Higher values become this; nothing: no limit."
            ),
        ),
        rule=_clamp_rule,
    ),
    TransformInfo(
        "Blur",
        "intensity",
        False,
        "Smooths with a Gaussian of fixed width.",
        (Parameter("std", "vector", 1.0, 0, 100, unit="mm", help="Width (standard deviation) along each axis."),),
    ),
    TransformInfo(
        "Noise",
        "intensity",
        False,
        "Adds the same grain to every scan.",
        (
            Parameter("mean", "number", 0.0, -_HUGE, _HUGE, help="What is added on average."),
            Parameter("std", "number", 0.1, 0, _HUGE, help="How strong the grain is, in units of the image."),
            Parameter("seed", "integer", 0, 0, 2**31 - 1, help="Another number draws another grain."),
        ),
    ),
    TransformInfo(
        "Gamma",
        "intensity",
        False,
        "Changes the contrast by a power: above 1 darkens the middle, below 1 brightens it.",
        (Parameter("gamma", "number", 1.0, 0.05, 20, help="The exponent."),),
    ),
    TransformInfo(
        "Ghosting",
        "intensity",
        False,
        "Adds the ghosts of a periodic movement in MR, fixed.",
        (
            Parameter("num_ghosts", "integer", 4, 0, 64, help="How many ghosts."),
            Parameter("axis", "integer", 0, 0, 2, help="Along which axis."),
            Parameter("intensity", "number", 0.5, 0, 5, help="How strong, compared with the brightest frequency."),
            Parameter(
                "restore",
                "number",
                None,
                0,
                1,
                optional=True,
                help="Share of the centre of k-space that is kept; nothing: one slice.",
            ),
        ),
    ),
    TransformInfo(
        "RandomAnisotropy",
        "intensity",
        True,
        "Makes the image as if it had been taken with thicker slices; the mask keeps its detail.",
        (
            axes([0, 1, 2], "Axes to choose from:"),
            Parameter("downsampling", "range", [1.5, 5], 1, 20, help="How many times thicker, drawn between these."),
        ),
    ),
    TransformInfo(
        "RandomMotion",
        "intensity",
        True,
        "Adds the blur and echoes of a patient who moved during an MR scan.",
        (
            Parameter("degrees", "range", 10, -180, 180, unit="degrees", around=0, help="How far the head turned."),
            Parameter("translation", "range", 10, -200, 200, unit="mm", around=0, help="How far it was shifted."),
            Parameter("num_transforms", "integer", 2, 1, 10, help="How often it moved; more take longer."),
            IMAGE_INTERPOLATION,
        ),
    ),
    TransformInfo(
        "RandomGhosting",
        "intensity",
        True,
        "Adds the ghosts of breathing, pulse or flow in MR.",
        (
            Parameter("num_ghosts", "range", [4, 10], 0, 64, whole=True, help="How many ghosts."),
            axes([0, 1, 2], "Axes to choose from:"),
            Parameter("intensity", "range", [0.5, 1], 0, 5, help="How strong, compared with the brightest frequency."),
            Parameter(
                "restore",
                "number",
                None,
                0,
                1,
                optional=True,
                help="Share of the centre of k-space that is kept; nothing: one slice.",
            ),
        ),
    ),
    TransformInfo(
        "RandomSpike",
        "intensity",
        True,
        "Adds the stripes of a spike in k-space (herringbone).",
        (
            Parameter("num_spikes", "range", [1, 1], 0, 64, whole=True, help="How many spikes."),
            Parameter("intensity", "range", [1, 3], -20, 20, around=0, help="How strong, compared with the brightest frequency."),
        ),
    ),
    TransformInfo(
        "RandomBiasField",
        "intensity",
        True,
        "Makes one side of the image brighter than the other, smoothly, as the coils of MR do.",
        (
            Parameter("coefficients", "range", 0.5, -10, 10, around=0, help="How uneven."),
            Parameter("order", "integer", 3, 0, 5, help="Order of the polynomial: higher makes finer hills."),
        ),
    ),
    TransformInfo(
        "RandomBlur",
        "intensity",
        True,
        "Smooths by a random amount.",
        (
            Parameter(
                "std",
                "vector",
                [0, 2],
                0,
                100,
                unit="mm",
                sizes=(1, 2, 3, 6),
                help="Width (standard deviation): one number is the widest, two the narrowest and widest, six those of each axis.",
            ),
        ),
    ),
    TransformInfo(
        "RandomNoise",
        "intensity",
        True,
        "Adds grain of random strength.",
        (
            Parameter("mean", "range", 0, -_HUGE, _HUGE, around=0, help="What is added on average."),
            Parameter("std", "range", [0, 0.25], 0, _HUGE, help="How strong the grain is, in units of the image at this step."),
        ),
    ),
    TransformInfo(
        "RandomSwap",
        "intensity",
        True,
        "Swaps small blocks of the image, which teaches a network to look at the surroundings.",
        (
            Parameter(
                "patch_size", "vector", 15, 1, 256, unit="voxels", whole=True, help="Size of a block; it must fit into the image."
            ),
            Parameter("num_iterations", "integer", 100, 1, 10_000, help="How many swaps."),
        ),
    ),
    TransformInfo(
        "RandomGamma",
        "intensity",
        True,
        "Changes the contrast at random.",
        (
            Parameter(
                "log_gamma",
                "range",
                [-0.3, 0.3],
                -3,
                3,
                around=0,
                help="Logarithm of the exponent: 0 changes nothing, 0.3 darkens, -0.3 brightens.",
            ),
        ),
    ),
    TransformInfo(
        "RandomLabelsToImage",
        "intensity",
        True,
        "Paints an image from the mask alone, each label in a random grey: a network trained so depends on no scanner (Billot et al., 2020).",
        (
            Parameter(
                "used_labels",
                "integers",
                None,
                0,
                2**31 - 1,
                optional=True,
                help="Labels that are painted; nothing: all. Elsewhere the scan stays.",
            ),
            Parameter("default_mean", "range", [0.1, 0.9], -_HUGE, _HUGE, help="Grey of a label, drawn between these."),
            Parameter("default_std", "range", [0.01, 0.1], 0, _HUGE, help="Grain of a label, drawn between these."),
            Parameter("ignore_background", "flag", False, help="Whether the scan is kept where the mask is empty."),
        ),
        needs_mask=True,
    ),
)
