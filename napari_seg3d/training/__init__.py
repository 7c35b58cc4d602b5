"""From a config to a model: preparation, the loop, the run folder, and the process of its own that trains."""

from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.runs import ENDED, EventReader, Run, Status, find_runs, live_runs, start_run

__all__ = ["ENDED", "EventReader", "Run", "Status", "TrainConfig", "find_runs", "live_runs", "start_run"]
