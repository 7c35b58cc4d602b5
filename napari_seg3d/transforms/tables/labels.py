"""Transforms that change the mask and leave the image alone."""

from __future__ import annotations

from napari_seg3d.transforms.parameter import Parameter, TransformInfo

_VALUE = (0, 2**31 - 1)

LABELS = (
    TransformInfo(
        "RemapLabels",
        "label",
        False,
        "Gives labels other numbers; two with the same new number become one.",
        (Parameter("remapping", "mapping", {}, *_VALUE, help="Old number: new number, such as 7: 1."),),
    ),
    TransformInfo(
        "RemoveLabels",
        "label",
        False,
        "Turns labels into background.",
        (
            Parameter("labels", "integers", [], *_VALUE, help="Labels to remove."),
            Parameter("background_label", "integer", 0, *_VALUE, help="What they become."),
        ),
    ),
    TransformInfo(
        "SequentialLabels",
        "label",
        False,
        "Numbers the labels 1, 2, 3, … in each mask for itself; only for masks that all hold the same labels.",
    ),
    TransformInfo("KeepLargestComponent", "label", False, "Keeps the largest piece of each label."),
    TransformInfo("Contour", "label", False, "Keeps only the border of each label."),
)
