"""A small data set in the middle of its review, with a model that has learnt from some of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from napari_seg3d.datasets import Split, StoredSplit, freeze_test, open_dataset, read_mask, save_dataset
from napari_seg3d.review import Worklist, keep_mask
from napari_seg3d.training import Run


def learning_set(folder: Path, balls: Path, finished: Run, iterations: int) -> tuple[Path, Run]:
    """Return a data set and a run: two cases have trained, one validates, one is a frozen test set, and of two nobody has drawn a mask.

    Parameters
    ----------
    folder : Path
        Where both go.
    balls : Path
        The six balls.
    finished : Run
        Of other tests; a copy of it looks as if it had learnt from these cases.
    iterations : int
        How long it says that it learnt.
    """
    root = shutil.copytree(balls, folder / "balls")
    shutil.copytree(root / "labels", folder / "truth")
    for number in (4, 5):
        (root / "labels" / f"ball_{number}.nii.gz").unlink()
    dataset = open_dataset(root)
    sets = {"ball_0": "train", "ball_1": "train", "ball_2": "validation"}
    split = freeze_test(StoredSplit("lists", sets=sets, test=("ball_3",)), dataset.cases)
    save_dataset(replace(dataset, split=split), root)
    run = Run(shutil.copytree(finished.folder, folder / "first"))
    config = run.config().with_values({"data.images": str(root), "optimization.max_iterations": iterations})
    config.save(run.folder / "run.yaml")
    Split(("ball_0", "ball_1"), ("ball_2",), ("ball_3",)).save(run.folder / "split.csv", dataset.cases)
    return root, run


def approve(worklist: Worklist, case: str, value: int | None = None) -> None:
    """Let the truth, perhaps with a voxel of another label, stand in for a correction, and approve it."""
    mask = read_mask(worklist.dataset.root.parent / "truth" / f"{case}.nii.gz")
    data = mask.data.copy()
    if value is not None:
        data[0, 0, 0, 0] = value
    keep_mask(worklist, case, mask.with_data(data), "correction")
    worklist.set_state(case, "approved")
