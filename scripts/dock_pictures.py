"""Make docs/images/review.png, learn.png and measure.png: the worklist in the middle of the work, a round of learning, the Measure dock.

    scripts/with_display.sh python -m scripts.dock_pictures

A model learns from six phantoms for some minutes; four others are approved, it learns from them, and its predictions are what there is
to review.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import napari

from napari_seg3d.datasets import StoredSplit, freeze_test, open_dataset, read_mask, save_dataset
from napari_seg3d.review import Worklist, keep_mask
from napari_seg3d.sample_data import dataset_folder
from napari_seg3d.training import Run, TrainConfig, start_run
from napari_seg3d.training.rounds import Rounds
from tests.pumping import pump, pump_until
from tests.waiting import wait_for

FOLDER = Path(__file__).parents[1] / "docs" / "images"
MINUTES, ROUND_MINUTES = 4.0, 2.0
TRAIN = ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-02_ses-2", "sub-03_ses-1", "sub-03_ses-2")
JUDGES = {"sub-04_ses-1": "validation", "sub-04_ses-2": "validation", "sub-05_ses-1": "test", "sub-05_ses-2": "test"}
APPROVED = ("sub-07_ses-1", "sub-08_ses-1", "sub-09_ses-1", "sub-10_ses-1")
_PATIENCE_SECONDS = 900.0


def prepare(folder: Path) -> Path:
    """Return a data set in the middle of its review, with a model that has learnt from some of it."""
    root = shutil.copytree(dataset_folder(), folder / "phantoms")
    truth = root / "labelsTr"
    drawn = {*TRAIN, *JUDGES}
    for path in list(truth.iterdir()):
        if path.name.split(".")[0] not in drawn:
            (folder / "truth").mkdir(exist_ok=True)
            shutil.move(path, folder / "truth" / path.name)
    (root / "dataset.json").unlink()  # it lists masks that nobody has drawn yet
    for source, target in (("imagesTr", "images"), ("labelsTr", "labels")):
        (root / source).rename(root / target)
    shutil.rmtree(root / "imagesTs")
    dataset = open_dataset(root)
    sets = dict.fromkeys(TRAIN, "train") | {case: who for case, who in JUDGES.items() if who == "validation"}
    tests = tuple(case for case, who in JUDGES.items() if who == "test")
    split = freeze_test(StoredSplit("lists", sets=sets, test=tests), dataset.cases)
    save_dataset(replace(dataset, split=split, labels={1: "liver", 2: "kidneys"}), root)
    config = TrainConfig.parse({"data": {"images": str(root)}, "optimization": {"minutes": MINUTES}})
    run = start_run(config, folder / "runs" / "abdomen")
    wait_for(run)
    worklist = Worklist.open(root, who="anna")
    for case in APPROVED:
        keep_mask(worklist, case, read_mask(folder / "truth" / f"{case}.nii.gz"), "correction")
        worklist.set_state(case, "approved")
    worklist.write()
    Rounds(worklist).set_current(0, Run(run.folder))
    return root


def take_pictures(root: Path, target: Path) -> None:
    """Open the docks on the data set, and leave a picture of each."""
    viewer = napari.Viewer(title="napari-seg3d")
    viewer.window.resize(1366, 768)
    review = viewer.window.add_plugin_dock_widget("napari-seg3d", "Review")[1]
    model, learn = review._model, review.learn
    pump(0.5)
    model.open(root, who="anna")
    pump_until(lambda: model.worklist is not None and model.job is None, _PATIENCE_SECONDS)
    learn.expand()
    pump_until(lambda: bool(learn._model.words), _PATIENCE_SECONDS)
    if learn._model.last is None:
        learn.minutes.setValue(ROUND_MINUTES)
        learn.learn_button.click()
        pump_until(lambda: learn._model.last is not None and not learn._model.step, _PATIENCE_SECONDS)
    model.show(model.rows[0].case.id)  # of which the model is least sure
    pump_until(lambda: model.current is not None and not model.is_opening, _PATIENCE_SECONDS)
    review.ensureWidgetVisible(learn)
    picture(viewer, target / "learn.png")
    learn.collapse()
    review.comment.setText("Upper pole of the left kidney?")
    review.comment.editingFinished.emit()
    case = model.current
    review.flag_button.click()
    pump_until(lambda: model.current not in (None, case) and not model.is_opening and model.job is None, _PATIENCE_SECONDS)
    picture(viewer, target / "review.png")
    viewer.layers.clear()
    for folder, name in ((root / "images", "scan"), (rounds(root), "prediction"), (root.parent / "truth", "reference")):
        viewer.open([str(folder / f"{case}.nii.gz")], plugin="napari-seg3d", name=name)
    measure = viewer.window.add_plugin_dock_widget("napari-seg3d", "Measure")[1]
    pump(0.5)
    measure.mask.setCurrentIndex(measure.mask.findText("prediction"))
    measure.reference.setCurrentIndex(measure.reference.findText("reference"))
    measure.button.click()
    pump_until(lambda: measure._model.job is None, _PATIENCE_SECONDS)
    viewer.layers["reference"].visible = False
    measure._go(0)
    pump_until(lambda: measure._model.job is None, _PATIENCE_SECONDS)
    picture(viewer, target / "measure.png")
    viewer.close()


def rounds(root: Path) -> Path:
    """Return where the first round has left its predictions."""
    return root / "seg3d-review" / "rounds" / "001" / "predictions"


def picture(viewer: napari.Viewer, path: Path) -> None:
    """Save the whole window."""
    pump(1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_SEG3D_HOME"] = str(Path(folder) / "home")
        take_pictures(prepare(Path(folder)), FOLDER)


if __name__ == "__main__":
    main()
