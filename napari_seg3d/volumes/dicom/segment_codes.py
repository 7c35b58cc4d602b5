"""Standard codes for what a segment shows, found by its name: other programs sort and colour segments by them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

#: SNOMED CT keyword in pydicom's dictionary -> names besides the keyword's own words. A wrong code is worse than a general one,
#: so a name must consist of these words: "portal vein and splenic vein" is neither a spleen nor the portal vein.
_ANATOMY: dict[str, tuple[str, ...]] = {
    "AdrenalGland": ("adrenal",), "Aorta": (), "Bladder": ("urinary bladder",), "Bone": (), "Brain": ("whole brain",),
    "BrainStem": ("brainstem",), "Breast": (), "Bronchus": (), "Cerebellum": (), "Clavicle": ("clavicula",), "Colon": (),
    "Duodenum": (), "Esophagus": ("oesophagus",), "Eye": (), "Femur": ("femoral bone",), "Fibula": (), "Gallbladder": ("gall bladder",),
    "Heart": (), "Hippocampus": (), "Humerus": (), "InferiorVenaCava": ("ivc",), "Kidney": ("renal",), "LeftVentricle": ("lv",),
    "Liver": ("hepatic",), "Lung": (), "LymphNode": (), "Mandible": (), "Muscle": (), "Ovary": (), "Pancreas": (), "Patella": (),
    "PortalVein": (), "Prostate": ("prostate gland",), "Radius": (), "Rectum": (), "Rib": (), "Sacrum": (), "Scapula": (),
    "Skin": (), "Skull": (), "SmallIntestine": ("small bowel",), "SpinalCord": ("cord",), "Spleen": (), "Sternum": (),
    "Stomach": (), "SuperiorVenaCava": ("svc",), "Thalamus": (), "Thyroid": ("thyroid gland",), "Tibia": (), "Tooth": ("teeth",),
    "Trachea": (), "Ulna": (), "Uterus": (), "Vertebra": ("vertebrae", "vertebral body"),
}  # fmt: skip
#: The last word of a name: "liver tumour" is a tumour.
_FINDINGS: dict[str, tuple[str, ...]] = {
    "Cyst": (), "Edema": ("oedema",), "Hematoma": ("haematoma",), "Hemorrhage": ("haemorrhage", "bleeding"), "Lesion": (),
    "Mass": (), "Necrosis": (), "Neoplasm": ("tumour", "tumor", "cancer", "metastasis", "metastases", "gtv"), "Nodule": (),
    "Thrombus": (),
}  # fmt: skip
_SIDES = {"left": "Left", "right": "Right", "l": "Left", "r": "Right"}


class Coded(NamedTuple):
    """What a segment shows: the category of its property, the property, and the side of the body or None."""

    category: Code
    property: Code
    side: Code | None


def codes_of(name: str) -> Coded:
    """Return the codes for a label called `name`; the general code for tissue where its words are not known."""
    from pydicom.sr.codedict import codes

    # "vertebrae_L3": what has a digit is a number or a level, no side.
    words = [word for word in re.findall(r"[a-z0-9]+", _spaced(name)) if word.isalpha()]
    sides = {_SIDES[word] for word in words if word in _SIDES}
    side = getattr(codes.SCT, sides.pop()) if len(sides) == 1 else None
    words = [word for word in words if word not in _SIDES]
    for keyword, others in _FINDINGS.items():
        if words and _singular(words[-1]) in map(_singular, (keyword.lower(), *others)):
            return Coded(codes.cid7150.MorphologicallyAbnormalStructure, getattr(codes.SCT, keyword), side)
    for keyword, others in _ANATOMY.items():
        if _singular(" ".join(words)) in map(_singular, (_spaced(keyword), *others)):
            return Coded(codes.cid7150.AnatomicalStructure, getattr(codes.SCT, keyword), side)
    return Coded(codes.cid7150.Tissue, codes.SCT.Tissue, side)


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith(("us", "ss", "is")) else word
