"""Open a data set, whatever describes it: ``dataset.yaml``, a CSV, the tables of LUNA, or the names of folders and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from napari_seg3d.datasets.dataset import Case, Dataset, Problem
from napari_seg3d.datasets.layouts import luna, nodules
from napari_seg3d.datasets.layouts.folders import existing_folder, open_folder, volumes_in
from napari_seg3d.datasets.layouts.manifest import FILE_NAME, SUFFIXES, load_dataset, manifest_in, save_dataset
from napari_seg3d.datasets.layouts.tables import SUFFIX as LIST_SUFFIX
from napari_seg3d.datasets.layouts.tables import read_list
from napari_seg3d.datasets.pairing.by_hand import with_pair
from napari_seg3d.datasets.pairing.listing import scan_name
from napari_seg3d.datasets.reading import find_scans
from napari_seg3d.datasets.subjects import FILE_NAME as SUBJECTS_FILE
from napari_seg3d.datasets.subjects import read_subjects
from napari_seg3d.errors import DatasetError, WriteError


def open_dataset(folder: str | Path, masks: str | Path | None = None, subjects: str | Path | None = None) -> Dataset:
    """Find the cases of a data set.

    Understood are ``dataset.yaml``; a CSV with a line for each case; the decathlon's and nnU-Net's ``imagesTr``, ``labelsTr``,
    ``imagesTs`` and ``dataset.json``; LUNA's ``annotations.csv``; ``<mode>/Img`` and ``<mode>/Mask``; ``images`` and ``labels``,
    ``img`` and ``seg`` and their like; images with masks beside them (``scan.nii.gz``, ``scan_seg.nii.gz``), in one folder or one
    per patient; masks with a file for each label (``s01/segmentations/liver``, ``masks/liver/s01``, ``s01_liver``); images
    without masks; and any two folders. A folder with the slices of a DICOM series is one image, called by its name; pictures and
    arrays beside scans are none.

    Parameters
    ----------
    folder : path-like
        The data set, its ``dataset.yaml``, a CSV that lists it, or its images. A folder that holds a ``dataset.yaml`` opens as
        that says.
    masks : path-like, optional
        The masks, when they do not lie in `folder` under a name that says so. What a ``dataset.yaml`` says is then left aside.
    subjects : path-like, optional
        CSV with the columns ``case`` and ``subject``. Left out, what the description says counts or a ``subjects.csv`` in
        `folder`, else the names.

    Returns
    -------
    Dataset
        Whatever could be paired, and what could not as problems. No voxel was read, and of DICOM folders a few headers.

    Raises
    ------
    DatasetError
        A folder is missing or holds no images, or the description or the table of subjects is broken.
    """
    path = Path(folder).expanduser()
    manifest = manifest_in(path) if masks is None else None
    if manifest is None:
        return _understand(path, masks, subjects)
    return _with_subjects(load_dataset(manifest), subjects)


def import_dataset(
    source: str | Path,
    file: str | Path | None = None,
    *,
    masks: str | Path | None = None,
    subjects: str | Path | None = None,
    pairs: Mapping[str | Path, Path] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Find the cases of a data set, make the masks that have to be made, and store it all in a ``dataset.yaml``.

    Parameters
    ----------
    source, masks, subjects : path-like
        As for :func:`open_dataset`; but a ``dataset.yaml`` that lies in a folder is not looked at.
    file : path-like, optional
        The ``dataset.yaml`` to write, or its folder. Left out, it goes into `source`, so that the folder can move with it.
    pairs : mapping, optional
        Case id or image -> mask, chosen by hand.
    overwrite : bool
        Whether a ``dataset.yaml`` that is there already may be replaced; what was decided in it (split, exclusions) is then gone.
    progress, cancelled : callable, optional
        Told (done, total) after, and asked before, each mask that is made. Only LUNA's nodules need that.

    Returns
    -------
    Dataset
        As it is stored, with the problems found.

    Raises
    ------
    DatasetError
        As `open_dataset`; or a pair names what is not there.
    WriteError
        The file is there already or cannot be written.
    Cancelled
        `cancelled` said so.
    """
    path = Path(source).expanduser().absolute()
    target = Path(file).expanduser().absolute() if file is not None else path if path.is_dir() else path.parent
    target = target if target.suffix.lower() in SUFFIXES else target / FILE_NAME
    if target.exists() and not overwrite:
        raise WriteError(f"{target} exists already.", "Open it, choose another place, or allow overwriting.")
    if path.suffix.lower() in SUFFIXES:
        dataset = open_dataset(path, subjects=subjects)
    else:
        dataset = _understand(path, masks, subjects)
        tables = luna.find_tables(path) if masks is None and path.is_dir() else None
        if tables is not None:
            unmade = replace(dataset, problems=tuple(one for one in dataset.problems if one.path != tables.annotations))
            dataset = nodules.with_nodule_masks(unmade, tables, target.parent / nodules.FOLDER, progress, cancelled)
    for image, mask in (pairs or {}).items():
        dataset = with_pair(dataset, image, mask)
    save_dataset(dataset, target)
    return replace(load_dataset(target), problems=dataset.problems)


def cases_in(paths: Sequence[Path]) -> list[Case]:
    """Return the scans to predict among files and folders (a DICOM series is a folder), or those of the one data set that is named.

    Raises
    ------
    DatasetError
        There is no scan, or the data set cannot be understood.
    """
    if len(paths) == 1 and paths[0].exists() and _is_dataset(paths[0]):
        return list(open_dataset(paths[0]).cases)
    return find_scans(list(paths))


def _is_dataset(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml", ".csv")
    return any((path / name).exists() for name in ("dataset.yaml", "dataset.json", "images", "imagesTr"))


def _understand(path: Path, masks: str | Path | None, subjects: str | Path | None) -> Dataset:
    if path.suffix.lower() == LIST_SUFFIX and path.is_file():
        if masks is not None:
            raise DatasetError(f"{path.name} lists its masks itself.", "Leave the folder of the masks out, or choose a folder.")
        return _with_subjects(read_list(path.absolute()), subjects)
    root = existing_folder(path)
    tables = luna.find_tables(root) if masks is None else None
    if tables is not None:
        return _with_subjects(_open_luna(root, tables), subjects if subjects is not None else _table_in(root))
    mask_root = existing_folder(masks) if masks is not None else None
    return open_folder(root, mask_root, Path(subjects) if subjects is not None else None)


def _open_luna(root: Path, tables: luna.Tables) -> Dataset:
    images = {scan_name(one.item.path): one.item.path for one in volumes_in(root) if one.role != "mask"}
    if not images:
        raise DatasetError(f"{root} holds {tables.annotations.name} and no scans.", "Choose the folder that holds both.")
    folder = root / nodules.FOLDER
    cases = []
    for series, image in sorted(images.items()):
        mask = nodules.made_mask(folder, series)
        cases.append(Case(series, (image,), mask, series, "made from the centres of nodules" if mask is not None else ""))
    problems: tuple[Problem, ...] = ()
    if all(case.mask is None for case in cases):
        what = f"{tables.annotations.name} lists nodules by their centres; the masks have not been made yet."
        problems = (Problem("warning", what, "Import the folder: that makes them.", path=tables.annotations),)
    return Dataset(root, tuple(cases), dict(nodules.LABELS), problems, modality="CT")


def _table_in(root: Path) -> Path | None:
    return root / SUBJECTS_FILE if (root / SUBJECTS_FILE).is_file() else None


def _with_subjects(dataset: Dataset, table: str | Path | None) -> Dataset:
    if table is None:
        return dataset
    return replace(dataset, cases=read_subjects(Path(table), dataset.cases), subjects_known=True)
