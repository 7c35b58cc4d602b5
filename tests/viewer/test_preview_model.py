"""The kept validation cases of a run: scan, truth as it is learnt, the prediction of any epoch, and what is wrong in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.layers import Labels

from napari_seg3d.training import Run, TrainConfig
from napari_seg3d.viewer.label_colours import label_colour
from napari_seg3d.viewer.preview_model import MISSED, TOO_MUCH, errors_between
from napari_seg3d.viewer.session import Session, session_of
from napari_seg3d.volumes import Volume, read_volume, write_volume
from tests.pumping import pump_until

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def session(viewer) -> Session:
    session = session_of(viewer)
    yield session
    session.watch.stop_looking()


@pytest.fixture
def run(tmp_path) -> Run:
    """A run folder with two kept cases, each predicted at three validations; the later, the less is missed."""
    config = TrainConfig.parse({"data": {"images": str(tmp_path)}})
    run = Run(tmp_path / "run")
    config.save(run.folder / "run.yaml")
    run.add_event("plan", labels={"3": "ball", "7": "core"}, train_cases=4, validation_cases=2)
    for number, case in enumerate(("ball_a", "ball_b")):
        image = np.arange(6 * 7 * 8, dtype=np.int16).reshape(1, 6, 7, 8)
        write_volume(Volume(image, AFFINE), tmp_path / f"{case}.nii.gz")
        truth = np.zeros((1, 6, 7, 8), np.uint8)
        truth[0, 1:5, 1:5, 1 : 5 + number] = 3
        truth[0, 2:4, 2:4, 2:4] = 7
        write_volume(Volume(truth, AFFINE, "labels"), run.folder / "previews" / case / "reference.nii.gz")
    for iteration in (10, 20, 30):
        _predict(run, iteration)
    run.add_event("state", state="finished")
    return run


def _predict(run: Run, iteration: int) -> None:
    for case in ("ball_a", "ball_b"):
        truth = read_volume(run.folder / "previews" / case / "reference.nii.gz", "labels").data
        guess = np.where(np.arange(8) < iteration // 10 + 1, truth, 0).astype(np.uint8)
        guess[0, 0, 0, :2] = 3
        write_volume(Volume(guess, AFFINE, "labels"), run.folder / "previews" / case / f"{iteration:07d}.nii.gz")
        run.add_event(
            "preview",
            case=case,
            image=(run.folder.parent / f"{case}.nii.gz").as_posix(),
            mask=f"previews/{case}/reference.nii.gz",
            prediction=f"previews/{case}/{iteration:07d}.nii.gz",
            iteration=iteration,
            epoch=iteration / 10,
            dice=0.5,
        )


def _voxels(run: Run, case: str, name: str) -> np.ndarray:
    return read_volume(run.folder / "previews" / case / f"{name}.nii.gz", "labels").canonical().data[0].transpose(2, 1, 0)


def _shows(viewer, name: str) -> bool:
    return any(layer.name == name for layer in viewer.layers)


def test_a_followed_run_shows_its_case_with_truth_prediction_and_errors(viewer, session, finished_run: Run):
    session.watch.follow(finished_run)
    pump_until(lambda: len(viewer.layers) == 4, what="the preview")
    event = [event for event in finished_run.events() if event["kind"] == "preview"][-1]
    case = session.preview.case
    event = [event for event in finished_run.events() if event["kind"] == "preview" and event["case"] == case][-1]
    truth = read_volume(finished_run.folder / event["mask"], "labels").canonical().data[0]
    mask = viewer.layers[f"{case} mask"]
    assert isinstance(mask, Labels)
    assert np.array_equal(np.asarray(mask.data), np.transpose(truth, (2, 1, 0)))
    assert {layer.name for layer in viewer.layers} == {
        case,
        mask.name,
        f"{case} epoch {event['epoch']:g}",
        f"{case} errors: missed, too much",
    }


def test_the_errors_are_right_to_the_voxel_and_have_two_colours(viewer, session, run):
    session.watch.follow(run)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"), what="the newest prediction")
    layer = viewer.layers["ball_a errors: missed, too much"]
    truth, guess = _voxels(run, "ball_a", "reference"), _voxels(run, "ball_a", "0000030")
    expected = np.where((truth != 0) & (guess != truth), MISSED, np.where((guess != 0) & (truth == 0), TOO_MUCH, 0))
    assert np.array_equal(np.asarray(layer.data), expected)
    assert (expected == MISSED).any()
    assert (expected == TOO_MUCH).any()
    assert np.array_equal(layer.scale, viewer.layers["ball_a"].scale)
    assert np.array_equal(layer.translate, viewer.layers["ball_a"].translate)
    missed, surplus = (layer.colormap.map(np.array([value]))[0] for value in (MISSED, TOO_MUCH))
    assert not np.allclose(missed, surplus)
    assert list(layer.features["name"]) == ["background", "missed", "too much"]
    assert not layer.editable


def test_another_kept_case_can_be_chosen(viewer, session, run):
    session.watch.follow(run)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"))
    assert session.preview.cases == ["ball_a", "ball_b"]
    session.preview.choose("ball_b")
    pump_until(lambda: _shows(viewer, "ball_b epoch 3"), what="the other case")
    assert not any(layer.name.startswith("ball_a") for layer in viewer.layers)


def test_who_scrubs_stays_there_until_the_newest_is_asked_for(viewer, session, run):
    session.watch.follow(run)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"))
    for iteration in (20, 10, 20, 10):
        session.preview.show(run, "ball_a", iteration)
    pump_until(lambda: _shows(viewer, "ball_a epoch 1"), what="the old prediction")
    assert np.array_equal(np.asarray(viewer.layers["ball_a epoch 1"].data), _voxels(run, "ball_a", "0000010"))
    assert not session.preview.is_following

    _predict(run, 40)
    session.watch.eventsArrived.emit([event for event in run.events() if event["kind"] == "preview"][-2:])
    pump_until(lambda: session.preview._job is None)
    assert _shows(viewer, "ball_a epoch 1")
    session.preview.follow()
    pump_until(lambda: _shows(viewer, "ball_a epoch 4"), what="the newest prediction")
    errors = np.asarray(viewer.layers["ball_a errors: missed, too much"].data)
    assert not (errors == MISSED).any()


def test_what_was_read_ahead_is_shown_as_it_is_on_the_disk(viewer, session, run):
    session.preview.show(run, "ball_a", 10)
    session.preview.read_ahead(run, "ball_a", [20, 15, 30])  # 15 was not kept: nobody asked for it, so nothing is said
    pump_until(lambda: session.preview._job is None, what="the predictions that may be asked for")
    assert _shows(viewer, "ball_a epoch 1")
    for iteration in (20, 30, 10):
        session.preview.show(run, "ball_a", iteration)
        pump_until(lambda: _shows(viewer, f"ball_a epoch {session.preview.shown[2] // 10}"))
        shown = np.asarray(viewer.layers[f"ball_a epoch {iteration // 10}"].data)
        assert np.array_equal(shown, _voxels(run, "ball_a", f"{iteration:07d}"))
    # A run that is resumed predicts some iterations again.
    path = run.folder / "previews" / "ball_a" / "0000020.nii.gz"
    again = read_volume(path, "labels")
    path.unlink()
    write_volume(again.with_data(np.full_like(again.data, 7)), path)
    session.preview.show(run, "ball_a", 20)
    pump_until(lambda: _shows(viewer, "ball_a epoch 2"))
    assert (np.asarray(viewer.layers["ball_a epoch 2"].data) == 7).all()


def test_turned_off_and_on_while_it_reads_ahead(viewer, session, run):
    session.preview.show(run, "ball_a", 10)
    pump_until(lambda: _shows(viewer, "ball_a epoch 1"))
    session.preview.read_ahead(run, "ball_a", [20, 30])
    session.preview.set_on(False)
    session.preview.set_on(True)
    pump_until(lambda: _shows(viewer, "ball_a epoch 1"))


def test_a_prediction_that_was_not_kept_is_said(session, run, qtbot):
    with qtbot.waitSignal(session.preview.failed) as said:
        session.preview.show(run, "ball_a", 15)
    assert "kept no prediction of ball_a" in str(said.args[0])


def test_another_run_can_be_looked_at_without_following_it(viewer, session, run):
    session.preview.show(run, "ball_b", 20)
    pump_until(lambda: _shows(viewer, "ball_b epoch 2"))
    assert session.watch.run is None


def test_a_hidden_or_removed_layer_of_errors_stays_so(viewer, session, run):
    session.watch.follow(run)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"))
    viewer.layers["ball_a mask"].visible = False
    viewer.layers.remove("ball_a errors: missed, too much")
    session.preview.show(run, "ball_a", 10)
    pump_until(lambda: _shows(viewer, "ball_a epoch 1"))
    assert not viewer.layers["ball_a mask"].visible
    assert not _shows(viewer, "ball_a errors: missed, too much")


def test_turned_off_and_on(viewer, session, run):
    session.watch.follow(run)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"))
    session.preview.set_on(False)
    assert not len(viewer.layers)
    session.preview.set_on(True)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"))


def test_overlapping_labels_have_a_layer_each_and_one_of_errors(viewer, session, run):
    folder = run.folder / "previews" / "ball_a"
    # A channel for each value, as a run keeps them; 3 and 7 are labels.
    truth, guess = np.zeros((7, 6, 7, 8), np.uint8), np.zeros((7, 6, 7, 8), np.uint8)
    truth[2, 1:5, 1:5, 1:5], truth[6, 2:4, 2:4, 2:4] = 3, 7  # the core lies in the ball
    guess[2, 1:5, 1:5, 1:6], guess[6, 2:4, 2:4, 2:3] = 3, 7
    for name, data in (("reference", truth), ("0000030", guess)):
        (folder / f"{name}.nii.gz").unlink()
        write_volume(Volume(data, AFFINE, "labels"), folder / f"{name}.nii.gz")
    session.watch.follow(run)
    pump_until(lambda: _shows(viewer, "ball_a errors: missed, too much"))
    names = [layer.name for layer in viewer.layers]
    assert names == [
        "ball_a",
        "ball_a mask [ball]",
        "ball_a mask [core]",
        "ball_a epoch 3 [ball]",
        "ball_a epoch 3 [core]",
        "ball_a errors: missed, too much",
    ]
    core = viewer.layers["ball_a mask [core]"]
    assert np.array_equal(np.asarray(core.data), truth[6, ::-1, ::-1].transpose(2, 1, 0))
    red, green, blue = (int(label_colour(7)[at : at + 2], 16) / 255 for at in (1, 3, 5))
    assert np.allclose(core.colormap.map(np.array([7]))[0], (red, green, blue, 1), atol=0.01)
    errors = np.asarray(viewer.layers["ball_a errors: missed, too much"].data)
    expected = np.zeros((6, 7, 8), np.uint8)
    expected[1:5, 1:5, 5] = TOO_MUCH
    expected[2:4, 2:4, 3] = MISSED
    assert np.array_equal(errors, expected[::-1, ::-1].transpose(2, 1, 0))


def test_overlapping_labels_of_large_values_are_kept_by_their_order(viewer, session, run):
    run.add_event("plan", labels={"300": "ball", "700": "core"}, train_cases=4, validation_cases=2)
    folder = run.folder / "previews" / "ball_a"
    data = np.zeros((2, 6, 7, 8), np.uint8)
    data[0, 1:5, 1:5, 1:5], data[1, 2:4, 2:4, 2:4] = 1, 2
    for name in ("reference", "0000030"):
        (folder / f"{name}.nii.gz").unlink()
        write_volume(Volume(data, AFFINE, "labels"), folder / f"{name}.nii.gz")
    session.preview.show(run, "ball_a", 30)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3 [core]"))
    assert np.array_equal(np.asarray(viewer.layers["ball_a epoch 3 [core]"].data), data[1, ::-1, ::-1].transpose(2, 1, 0))


def test_where_nobody_knows_nothing_is_wrong(viewer, session, run):
    unknown = np.zeros((1, 6, 7, 8), np.uint8)
    unknown[..., 4:] = 1
    write_volume(Volume(unknown, AFFINE, "labels"), run.folder / "previews" / "ball_a" / "unknown.nii.gz")
    event = [event for event in run.events() if event["kind"] == "preview" and event["case"] == "ball_a"][-1]
    del event["kind"], event["time"]
    run.add_event("preview", **(event | {"unknown": "previews/ball_a/unknown.nii.gz"}))
    session.preview.show(run, "ball_a", 30)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"))
    errors = np.asarray(viewer.layers["ball_a errors: missed, too much"].data)
    truth, guess = _voxels(run, "ball_a", "reference"), _voxels(run, "ball_a", "0000030")
    assert np.array_equal(errors[:4] != 0, (truth != guess)[:4])
    assert (truth != guess)[4:].any()
    assert not errors[4:].any()


def test_the_stages_of_a_cascade_have_masks_of_their_own(viewer, session, run):
    session.preview.show(run, "ball_a", 30)
    pump_until(lambda: _shows(viewer, "ball_a epoch 3"))
    folder = run.folder / "previews" / "ball_a"
    truth = read_volume(folder / "reference.nii.gz", "labels")
    for name in ("find-reference", "find-0000040"):
        write_volume(truth.with_data((truth.data != 0).astype(np.uint8)), folder / f"{name}.nii.gz")
    run.add_event("plan", labels={"1": "object"}, train_cases=4, validation_cases=2, stage="find")
    event = [event for event in run.events() if event["kind"] == "preview"][-2]
    del event["kind"], event["time"]
    files = {"mask": "previews/ball_a/find-reference.nii.gz", "prediction": "previews/ball_a/find-0000040.nii.gz"}
    run.add_event("preview", **(event | files | {"case": "ball_a", "iteration": 40, "epoch": 4.0, "stage": "find"}))
    session.preview.show(run, "ball_a", 40)
    pump_until(lambda: _shows(viewer, "ball_a epoch 4"))
    mask = viewer.layers["ball_a mask"]
    assert set(np.unique(mask.data)) == {0, 1}
    assert list(mask.features["name"]) == ["background", "object"]
    assert not np.asarray(viewer.layers["ball_a errors: missed, too much"].data).any()


_labels = arrays(np.uint8, (1, 3, 4, 2), elements=st.sampled_from([0, 3, 7]))


@given(_labels, _labels)
def test_errors_are_where_labels_differ_and_nowhere_else(prediction, reference):
    errors = errors_between(prediction, reference)
    assert np.array_equal(errors != 0, prediction != reference)
    assert not reference[errors == TOO_MUCH].any()
    assert reference[errors == MISSED].all()


@given(_labels, _labels)
def test_exclusive_labels_give_the_same_errors_as_channels(prediction, reference):
    def channels(data: np.ndarray) -> np.ndarray:
        return np.concatenate([np.where(data == 3, 1, 0), np.where(data == 7, 2, 0)]).astype(np.uint8)

    assert np.array_equal(errors_between(channels(prediction), channels(reference)), errors_between(prediction, reference))
