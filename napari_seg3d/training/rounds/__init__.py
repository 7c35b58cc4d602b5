"""Learning from corrections: a round trains on with what was approved, judges both models, keeps the better one and predicts the rest."""

from napari_seg3d.training.rounds.gathering import Gathered, gather
from napari_seg3d.training.rounds.judging import ComparedRow, Comparison, judge_round
from napari_seg3d.training.rounds.learning import finish_round, predict_waiting, start_round, use_round, waiting
from napari_seg3d.training.rounds.records import RoundRecord, Rounds
from napari_seg3d.training.rounds.round import Round, in_words, make_round, planned_share

__all__ = [
    "ComparedRow",
    "Comparison",
    "Gathered",
    "Round",
    "RoundRecord",
    "Rounds",
    "finish_round",
    "gather",
    "in_words",
    "judge_round",
    "make_round",
    "planned_share",
    "predict_waiting",
    "start_round",
    "use_round",
    "waiting",
]
