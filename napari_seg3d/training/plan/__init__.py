"""What `auto` in a config becomes for this data on this device, and why."""

from napari_seg3d.training.plan.fingerprint import Fingerprint, fingerprint_of
from napari_seg3d.training.plan.make import make_plan, plan_for
from napari_seg3d.training.plan.plan import Plan, Reason
from napari_seg3d.training.plan.preparation import planned_preprocessing

__all__ = ["Fingerprint", "Plan", "Reason", "fingerprint_of", "make_plan", "plan_for", "planned_preprocessing"]
