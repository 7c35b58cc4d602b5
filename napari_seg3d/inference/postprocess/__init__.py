"""After the network: rules for each label (gaps, pieces, holes), their choice by validation cases, and the file that keeps them."""

from napari_seg3d.inference.postprocess.apply import postprocessed
from napari_seg3d.inference.postprocess.choose import Choice, Effect, choose_rules
from napari_seg3d.inference.postprocess.rules import Holes, Rule, Rules
from napari_seg3d.inference.postprocess.storage import rules_beside, rules_file, save_rules

__all__ = [
    "Choice",
    "Effect",
    "Holes",
    "Rule",
    "Rules",
    "choose_rules",
    "postprocessed",
    "rules_beside",
    "rules_file",
    "save_rules",
]
