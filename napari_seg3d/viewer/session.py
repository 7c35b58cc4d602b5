"""`Session`: what the docks of one viewer share, and what goes on when they are closed."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_seg3d.viewer.autosave import Autosave
from napari_seg3d.viewer.correct_hand import CorrectHand
from napari_seg3d.viewer.correct_model import CorrectModel
from napari_seg3d.viewer.correct_start import CorrectStart
from napari_seg3d.viewer.correct_steps import CorrectSteps
from napari_seg3d.viewer.data_model import DataModel
from napari_seg3d.viewer.epochs import Epochs
from napari_seg3d.viewer.folder_prediction import FolderPrediction
from napari_seg3d.viewer.label_table_model import LabelTableModel
from napari_seg3d.viewer.learn_model import LearnModel
from napari_seg3d.viewer.measure_model import MeasureModel
from napari_seg3d.viewer.ortho import OrthoViews
from napari_seg3d.viewer.plan_model import PlanModel
from napari_seg3d.viewer.prediction_model import PredictionModel
from napari_seg3d.viewer.preview_model import PreviewModel
from napari_seg3d.viewer.review_model import ReviewModel
from napari_seg3d.viewer.run_watch import RunWatch
from napari_seg3d.viewer.runs_model import RunsModel
from napari_seg3d.viewer.scan_model import ScanModel
from napari_seg3d.viewer.stage import Stage
from napari_seg3d.viewer.transforms_model import TransformsModel
from napari_seg3d.viewer.window_model import WindowModel

if TYPE_CHECKING:
    from napari import Viewer


class Session(QObject):
    """The state of one viewer; docks show it and tell it what the user wants.

    Attributes
    ----------
    data : DataModel
        The data set that is open.
    watch : RunWatch
        The training run that is followed.
    prediction : PredictionModel
        The loaded model and the prediction that is made.
    folder_prediction : FolderPrediction
        The masks of a folder of scans.
    plan : PlanModel
        What auto chooses, and why.
    preview : PreviewModel
        The validation case of that run.
    runs : RunsModel
        The runs on this machine, and those that are compared.
    epochs : Epochs
        Which epoch of a run is looked at.
    stage : Stage
        The layers that all of these show.
    labels : LabelTableModel
        The labels of the mask that is looked at.
    measure : MeasureModel
        How well a mask agrees with another one.
    scans : ScanModel
        The scans that are opened, and the series there are to choose from.
    window : WindowModel
        The window (level and width) of the image that is looked at.
    ortho : OrthoViews
        The coronal, sagittal and 3D views.
    transforms : TransformsModel
        The steps before the network, and their preview.
    review : ReviewModel
        The worklist that is gone through.
    learn : LearnModel
        The rounds of learning from what was approved in it.
    correct : CorrectModel
        The mask that is corrected, and the tool in the hand.
    correct_hand : CorrectHand
        Mouse and keys of the views, for that tool.
    correct_steps : CorrectSteps
        The way from one place worth a look to the next.
    correct_start : CorrectStart
        Predictions and versions that are put into that mask.
    autosave : Autosave
        What keeps the edits of all masks on the disk.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.stage = Stage(viewer)
        self.data = DataModel(self.stage)
        self.watch = RunWatch()
        self.prediction = PredictionModel(viewer, self.stage)
        self.folder_prediction = FolderPrediction()
        self.plan = PlanModel(self.data, self.watch)
        self.preview = PreviewModel(self.stage, self.watch)
        self.runs = RunsModel(self.watch)
        self.epochs = Epochs(self.stage, self.preview)
        self.labels = LabelTableModel(viewer)
        self.measure = MeasureModel(viewer)
        self.scans = ScanModel(viewer)
        self.window = WindowModel(viewer)
        self.ortho = OrthoViews(viewer)
        self.transforms = TransformsModel(viewer, self.data)
        self.review = ReviewModel(viewer, self.stage, self.data, self.prediction)
        self.learn = LearnModel(self.review)
        self.correct = CorrectModel(viewer, self.stage, self.labels)
        self.correct_hand = CorrectHand(viewer, self.ortho, self.correct)
        self.correct_steps = CorrectSteps(viewer, self.correct, self.review)
        self.correct_start = CorrectStart(viewer, self.correct, self.prediction, self.review)
        self.autosave = Autosave(viewer)
        # They want the same place.
        self.ortho.changed.connect(self.transforms.stop)
        self._docks = 0

    def add_dock(self, dock: QObject) -> None:
        """Note that a dock shows this session; when the window takes the last one with it, nothing is left to look for."""
        self._docks += 1
        dock.destroyed.connect(self._dock_is_gone)

    def _dock_is_gone(self) -> None:
        self._docks -= 1
        if self._docks == 0:
            self.watch.stop_looking()
            self.runs.set_watched(False)
            self.transforms.forget()
            self.prediction.cancel()
            self.learn.close()
            self.review.close()
            for job in (
                self.data.job,
                self.folder_prediction.job,
                self.labels.job,
                self.scans.job,
                self.measure.job,
                self.runs.job,
                self.correct.job,
            ):
                if job is not None:
                    job.cancel()


_sessions: weakref.WeakKeyDictionary[Any, Session] = weakref.WeakKeyDictionary()


def session_of(viewer: Viewer) -> Session:
    """Return the session of a viewer, made at the first call."""
    # Plugins get a proxy of the viewer, a new one each time; the viewer inside is one.
    key = getattr(viewer, "__wrapped__", viewer)
    if key not in _sessions:
        # The session must not keep the viewer alive that it belongs to.
        _sessions[key] = Session(weakref.proxy(key))
    return _sessions[key]
