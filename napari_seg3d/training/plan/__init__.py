"""What `auto` in a config becomes for this data on this device, and why."""

from napari_seg3d.training.plan.fingerprint import Fingerprint, fingerprint_of
from napari_seg3d.training.plan.make import make_plan, plan_for
from napari_seg3d.training.plan.plan import Plan, Reason
from napari_seg3d.training.plan.preparation import planned_preprocessing
from napari_seg3d.training.plan.trial import Trial, tried_on_device

__all__ = [
    "Fingerprint",
    "Plan",
    "Reason",
    "Trial",
    "fingerprint_of",
    "make_plan",
    "plan_for",
    "planned_preprocessing",
    "tried_on_device",
]
