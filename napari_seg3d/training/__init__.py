"""From a config to a model: preparation, the loop, the run folder, and the process of its own that trains."""

from napari_seg3d.training.config import TrainConfig
from napari_seg3d.training.runs.discovery import find_runs, live_runs
from napari_seg3d.training.runs.folder import ENDED, EventReader, Run, Status
from napari_seg3d.training.runs.starting import make_run, resume_run, start_run

__all__ = [
    "ENDED",
    "EventReader",
    "Run",
    "Status",
    "TrainConfig",
    "find_runs",
    "live_runs",
    "make_run",
    "resume_run",
    "start_run",
]
