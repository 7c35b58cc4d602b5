"""The validation case of a run that is followed: its scan, the truth as it is learnt, and the newest prediction."""

import numpy as np
import pytest
from napari.layers import Labels

from napari_seg3d.training import Run
from napari_seg3d.viewer.session import session_of
from napari_seg3d.volumes import read_volume
from tests.pumping import pump_until


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


def test_a_followed_run_shows_its_case_with_truth_and_prediction(viewer, finished_run: Run):
    session = session_of(viewer)
    session.watch.follow(finished_run)
    pump_until(lambda: len(viewer.layers) == 3, what="the preview")
    session.watch.stop_looking()
    event = [event for event in finished_run.events() if event["kind"] == "preview"][-1]
    truth = read_volume(finished_run.folder / event["mask"], "labels").canonical().data[0]
    mask = viewer.layers[f"{event['case']} mask"]
    assert isinstance(mask, Labels)
    assert np.array_equal(np.asarray(mask.data), np.transpose(truth, (2, 1, 0)))
    assert {layer.name for layer in viewer.layers} == {event["case"], mask.name, f"{event['case']} epoch {event['epoch']:g}"}
