"""Which image belongs to which mask, whether they are sound, and who trains and who validates."""

from napari_seg3d.datasets.dataset import Case, Dataset, MaskPart, Problem, files_of
from napari_seg3d.datasets.doctor import (
    CaseFacts,
    Finding,
    Group,
    Remedy,
    Report,
    apply_remedies,
    check_dataset,
    grouped,
    save_page,
)
from napari_seg3d.datasets.layouts.folders import find_masks
from napari_seg3d.datasets.layouts.luna import Candidates, Nodule, read_candidates, read_nodules, read_places, world_to_voxel
from napari_seg3d.datasets.layouts.manifest import load_dataset, save_dataset
from napari_seg3d.datasets.layouts.nnunet import export_nnunet
from napari_seg3d.datasets.layouts.nodules import AIR, SeriesSize, nodule_box, nodule_mask, read_sizes
from napari_seg3d.datasets.masks import read_mask
from napari_seg3d.datasets.opening import cases_in, import_dataset, open_dataset
from napari_seg3d.datasets.pairing.by_hand import with_pair, without_pair
from napari_seg3d.datasets.pairing.by_name import Item, Pairing, pair_by_name
from napari_seg3d.datasets.placing import place_mask
from napari_seg3d.datasets.reading import find_scans, mask_name, read_case_image, read_case_mask
from napari_seg3d.datasets.splits.frozen import (
    content_of,
    freeze_test,
    frozen_beside,
    mark_of,
    refuse_same_scans,
    refuse_test_cases,
    unfreeze_test,
)
from napari_seg3d.datasets.splits.lists import read_ids, read_split
from napari_seg3d.datasets.splits.split import (
    Presence,
    Split,
    SplitRow,
    assign,
    complete,
    draw_test,
    make_split,
    presence_of,
    set_test,
    sides,
    split_by_subject,
)
from napari_seg3d.datasets.splits.stored import Method, Place, StoredSplit, Test
from napari_seg3d.datasets.splits.tally import Tally, name_of, tally
from napari_seg3d.datasets.subjects import SubjectGroup, same_subject_groups

__all__ = [
    "AIR",
    "Candidates",
    "Case",
    "CaseFacts",
    "Dataset",
    "Finding",
    "Group",
    "Item",
    "MaskPart",
    "Method",
    "Nodule",
    "Pairing",
    "Place",
    "Presence",
    "Problem",
    "Remedy",
    "Report",
    "SeriesSize",
    "Split",
    "SplitRow",
    "StoredSplit",
    "SubjectGroup",
    "Tally",
    "Test",
    "apply_remedies",
    "assign",
    "cases_in",
    "check_dataset",
    "complete",
    "content_of",
    "draw_test",
    "export_nnunet",
    "files_of",
    "find_masks",
    "find_scans",
    "freeze_test",
    "frozen_beside",
    "grouped",
    "import_dataset",
    "load_dataset",
    "make_split",
    "mark_of",
    "mask_name",
    "name_of",
    "nodule_box",
    "nodule_mask",
    "open_dataset",
    "pair_by_name",
    "place_mask",
    "presence_of",
    "read_candidates",
    "read_case_image",
    "read_case_mask",
    "read_ids",
    "read_mask",
    "read_nodules",
    "read_places",
    "read_sizes",
    "read_split",
    "refuse_same_scans",
    "refuse_test_cases",
    "same_subject_groups",
    "save_dataset",
    "save_page",
    "set_test",
    "sides",
    "split_by_subject",
    "tally",
    "unfreeze_test",
    "with_pair",
    "without_pair",
    "world_to_voxel",
]
