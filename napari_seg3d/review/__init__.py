"""The worklist of a data set: which case next, what state it is in, who said what, and where two masks differ."""

from napari_seg3d.review.agreement import Agreement, CaseAgreement, agreement
from napari_seg3d.review.compare import AGREED, MISSED, OTHER, TOO_MUCH, Difference, agreement_map, differences
from napari_seg3d.review.entry import Entry, MaskInUse, Reading
from napari_seg3d.review.events import Event
from napari_seg3d.review.keeping import corrections_of, explain_folder, keep_mask
from napari_seg3d.review.measures import Measures, measure, oddness, uncertainty_of
from napari_seg3d.review.measuring import measure_entry, measure_missing, read_mask_in_use, read_reference
from napari_seg3d.review.orders import LARGEST_FIRST, ORDERS, Order, beside, ordered, value_of
from napari_seg3d.review.predictions import predictions_in, uncertainty_beside
from napari_seg3d.review.states import DONE, STATES, State, state_of
from napari_seg3d.review.store import Damage, ReviewStore, account, review_folder
from napari_seg3d.review.summary import take_table, write_summary
from napari_seg3d.review.thumbnails import make_thumbnail, prune_thumbnails, thumbnail_file
from napari_seg3d.review.worklist import Worklist

__all__ = [
    "AGREED",
    "DONE",
    "LARGEST_FIRST",
    "MISSED",
    "ORDERS",
    "OTHER",
    "STATES",
    "TOO_MUCH",
    "Agreement",
    "CaseAgreement",
    "Damage",
    "Difference",
    "Entry",
    "Event",
    "MaskInUse",
    "Measures",
    "Order",
    "Reading",
    "ReviewStore",
    "State",
    "Worklist",
    "account",
    "agreement",
    "agreement_map",
    "beside",
    "corrections_of",
    "differences",
    "explain_folder",
    "keep_mask",
    "make_thumbnail",
    "measure",
    "measure_entry",
    "measure_missing",
    "oddness",
    "ordered",
    "predictions_in",
    "prune_thumbnails",
    "read_mask_in_use",
    "read_reference",
    "review_folder",
    "state_of",
    "take_table",
    "thumbnail_file",
    "uncertainty_beside",
    "uncertainty_of",
    "value_of",
    "write_summary",
]
