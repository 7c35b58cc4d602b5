"""Masks come back after their viewer died, with scan, names, place and every stroke."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_seg3d.editing import paint
from napari_seg3d.editing.journal import recover
from napari_seg3d.editing.owners import let_go
from napari_seg3d.errors import Seg3dError
from napari_seg3d.viewer.autosave import Autosave, autosave_folder, forget_edits, journal_of
from napari_seg3d.viewer.layers import KEY, Native
from napari_seg3d.viewer.opening import find
from napari_seg3d.viewer.recovery import load, pending_recoveries, recover_into
from napari_seg3d.viewer.saving import layer_to_volume
from napari_seg3d.viewer.session import session_of
from napari_seg3d.viewer.undo import Edit, edit_layer, on_edit
from napari_seg3d.viewer.writer import write_labels
from napari_seg3d.volumes import Label, Volume, read_volume, write_volume
from tests.viewer.painting import stroke

_SHAPE = (14, 12, 10)


@pytest.fixture
def viewer(qapp):
    viewer = ViewerModel()
    yield viewer
    viewer.layers.clear()


def _files(folder: Path, affine: np.ndarray | None = None) -> tuple[Path, Path]:
    """Return a scan and a mask with names, on a grid of their own."""
    affine = np.diag([-0.7, 0.8, 2.5, 1.0]) if affine is None else affine
    random = np.random.default_rng(0)
    scan, mask = folder / "case_3.nii.gz", folder / "case_3_seg.nii.gz"
    write_volume(Volume(random.normal(0, 100, (1, *_SHAPE)).astype(np.float32), affine, "image"), scan)
    labels = np.zeros((1, *_SHAPE), np.uint8)
    labels[0, 3:9, 4:8, 2:7] = 1
    write_volume(Volume(labels, affine, "labels", labels={1: Label("liver", "#ff0000")}), mask)
    return scan, mask


def _open(viewer: ViewerModel, folder: Path, affine: np.ndarray | None = None) -> Labels:
    session_of(viewer).scans.show(find(_files(folder, affine)))
    return viewer.layers[-1]


def _die(viewer: ViewerModel) -> None:
    """Leave the journals of a viewer as if its process were dead."""
    for layer in viewer.layers:
        journal = journal_of(layer) if isinstance(layer, Labels) else None
        if journal is not None:
            assert journal.flush(wait=30)
            let_go(journal.path.with_suffix(".lock"))


_OBLIQUE = np.array(
    [[0.9 * np.cos(0.4), -0.8 * np.sin(0.4), 0, 3], [0.9 * np.sin(0.4), 0.8 * np.cos(0.4), 0, -5], [0, 0, 2.5, 8], [0, 0, 0, 1]]
)


@pytest.mark.parametrize("affine", [None, _OBLIQUE], ids=["straight", "oblique"])
def test_a_mask_comes_back_on_its_scan_and_is_saved_on_its_grid(viewer, tmp_path, affine):
    layer = _open(viewer, tmp_path, affine)
    for number in range(12):
        stroke(layer, number)
    edit_layer(layer, paint(layer.data, (slice(0, 2),) * 3, np.ones((2, 2, 2), bool), 3))
    wanted = layer_to_volume(layer, viewer.layers)
    _die(viewer)

    other = ViewerModel()
    (one,) = pending_recoveries()
    assert one.about.scan == "case_3.nii.gz"
    back = recover_into(other, one)
    assert np.array_equal(back.data, layer.data)
    assert back.data.dtype == layer.data.dtype
    assert [type(shown).__name__ for shown in other.layers] == ["Image", "Labels"]
    assert np.allclose(other.layers[0].extent.world, viewer.layers[0].extent.world)
    assert np.allclose(back.extent.world, layer.extent.world)
    found = layer_to_volume(back, other.layers)
    assert found.grid.matches(wanted.grid)
    assert np.array_equal(found.data, wanted.data)
    assert found.labels == wanted.labels
    assert session_of(other).stage.is_edited(back)
    # It has a journal again, and the old one is gone.
    assert recover(autosave_folder()) == []
    assert journal_of(back) is not None
    stroke(back, 1)
    _die(other)
    (again,) = pending_recoveries()
    assert np.array_equal(again.read(), back.data)
    other.layers.clear()


def test_a_mask_from_the_file_menu_is_written_down_before_any_dock_opens(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    _, mask = _files(tmp_path)
    (layer,) = viewer.open(mask, plugin="napari-seg3d")
    stroke(layer, 1)
    assert journal_of(layer) is not None


def test_an_oblique_mask_without_its_file_comes_back_as_it_was_shown(viewer, tmp_path):
    layer = _open(viewer, tmp_path, _OBLIQUE)
    stroke(layer, 2)
    _die(viewer)
    for file in tmp_path.glob("*.nii.gz"):
        file.unlink()
    (one,) = pending_recoveries()
    loaded = load(one)
    assert loaded.scan == []
    assert "case_3" in loaded.note
    other = ViewerModel()
    back = recover_into(other, one, loaded)
    assert np.array_equal(back.data, layer.data)
    assert layer_to_volume(back, other.layers).grid.matches(layer_to_volume(layer, viewer.layers).grid)
    other.layers.clear()


def test_a_mask_without_a_file(viewer):
    session_of(viewer)
    layer = viewer.add_labels(np.zeros((5, 20, 20), np.int32), scale=(3, 1, 1))
    layer.paint((2, 5, 5), 4)
    _die(viewer)
    (one,) = pending_recoveries()
    assert (one.about.scan, one.about.source) == ("", "")
    other = ViewerModel()
    back = recover_into(other, one)
    assert np.array_equal(back.data, layer.data)
    assert np.allclose(back.scale, (3, 1, 1))
    other.layers.clear()


def _save(viewer: ViewerModel, layer: Labels, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session_of(viewer).stage.mark_saved(layer)


def _save_with_napari(viewer: ViewerModel, layer: Labels, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    data, settings, _ = layer.as_layer_data_tuple()
    write_labels(str(folder / "saved.nii.gz"), data, settings)


def _give_up(viewer: ViewerModel, layer: Labels, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_edits(layer)


@pytest.mark.parametrize("end", [_save, _save_with_napari, _give_up])
def test_what_was_saved_or_given_up_is_not_recovered(viewer, tmp_path, monkeypatch, end: Callable[..., None]):
    layer = _open(viewer, tmp_path)
    assert journal_of(layer) is None, "nothing was edited yet"
    stroke(layer, 1)
    assert journal_of(layer) is not None
    end(viewer, layer, tmp_path, monkeypatch)
    assert journal_of(layer) is None
    assert list(autosave_folder().iterdir()) == []
    stroke(layer, 2)
    _die(viewer)
    assert np.array_equal(pending_recoveries()[0].read(), layer.data), "and what is painted next begins there"


def test_what_was_painted_while_it_was_saved_is_not_forgotten(viewer, tmp_path):
    layer = _open(viewer, tmp_path)
    stroke(layer, 1)
    stage = session_of(viewer).stage
    checksum = stage.checksum(layer)
    stroke(layer, 3)
    stage.mark_saved(layer, checksum)
    assert journal_of(layer) is not None


def test_a_mask_that_is_removed_by_mistake_can_be_recovered(viewer, tmp_path):
    layer = _open(viewer, tmp_path)
    stroke(layer, 1)
    viewer.layers.remove(layer)
    (one,) = pending_recoveries()
    assert np.array_equal(one.read(), layer.data)
    back = recover_into(viewer, one)
    assert np.array_equal(back.data, layer.data)
    assert len(viewer.layers) == 2, "the scan is there already"


def test_a_mask_of_another_type_is_written_down_anew(viewer, tmp_path):
    layer = _open(viewer, tmp_path)
    stroke(layer, 1)
    layer.data = layer.data.astype(np.int32)
    edit_layer(layer, paint(layer.data, (slice(0, 2),) * 3, np.ones((2, 2, 2), bool), 70_000))
    _die(viewer)
    (one,) = pending_recoveries()
    assert one.read().dtype == np.int32
    assert np.array_equal(one.read(), layer.data)


def test_only_one_viewer_recovers_a_mask(viewer, tmp_path):
    layer = _open(viewer, tmp_path)
    stroke(layer, 1)
    _die(viewer)
    (one,) = pending_recoveries()
    recover_into(viewer, one)
    with pytest.raises(Seg3dError, match="another window"):
        recover_into(viewer, one)


def test_a_folder_that_cannot_be_written_is_told(viewer, tmp_path, monkeypatch):
    layer = _open(viewer, tmp_path)
    (tmp_path / "home").touch()
    monkeypatch.setenv("NAPARI_SEG3D_HOME", str(tmp_path / "home"))
    stroke(layer, 1)
    assert "home" in str(session_of(viewer).autosave.problem)
    assert layer.data.any()


def test_the_viewer_and_the_autosave_hold_nothing(qapp):
    viewer = ViewerModel()
    autosave = Autosave(viewer)
    layer = viewer.add_labels(np.zeros((3, 9, 9), np.uint8))
    layer.paint((1, 4, 4), 2)
    viewer.layers.clear()
    assert autosave._followed == {}
    assert journal_of(layer) is None


def _states(layer: Labels, strokes: int) -> list[tuple[int, np.ndarray]]:
    """Make strokes, and return all states in which a kill may find the mask, each with the number of strokes that were done.

    Each move of the brush is written down by itself, and so is each part of a stroke that is undone or done again.
    """
    states = [(0, layer.data.copy())]
    done = 0

    def heard(edit: Edit) -> None:
        state = states[-1][1].copy()
        for delta in reversed(edit.deltas) if edit.is_undone else edit.deltas:
            (delta.undo if edit.is_undone else delta.redo)(state)
            states.append((done, state.copy()))
        assert np.array_equal(state, layer.data)

    on_edit(layer, heard)
    for number in range(strokes):
        done = number
        stroke(layer, number)
        states.append((number + 1, layer.data.copy()))
    return states


@pytest.mark.slow
def test_a_real_viewer_is_killed_while_somebody_paints(tmp_path, qapp):
    """Three kills at random moments: at most five seconds are lost, and what is recovered is what was painted."""
    scan, mask = _files(tmp_path)
    random = np.random.default_rng(3)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.viewer.painting", str(scan), str(mask)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "painting", child.communicate()[1]
        assert child.stdout.readline(), "it has painted"
        time.sleep(random.uniform(0.1, 3))
        child.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        told = [line.split() for line in child.communicate()[0].splitlines() if len(line.split()) == 2]
        (one,) = pending_recoveries()
        viewer = ViewerModel()
        back = recover_into(viewer, one)
        # The same strokes in a viewer that nobody kills.
        plain = ViewerModel()
        plain.add_image(np.zeros(back.data.shape), scale=back.scale, translate=back.translate)
        labels = read_volume(mask).data[0].transpose(2, 1, 0)[:, :, ::-1].copy()
        layer = Labels(labels, scale=back.scale, translate=back.translate)
        plain.add_layer(layer)
        states = _states(layer, int(told[-1][0]) + 2 if told else 2)
        matching = [strokes for strokes, state in states if np.array_equal(state, back.data)]
        assert matching, "a state that was there"
        late = [float(moment) for number, moment in told if int(number) >= matching[-1]]
        assert not late or killed - late[0] < 5
        forget_edits(back)
        viewer.layers.clear()
        plain.layers.clear()
    assert list(autosave_folder().iterdir()) == []


def test_native_of_a_recovered_mask(viewer, tmp_path):
    layer = _open(viewer, tmp_path)
    stroke(layer, 1)
    _die(viewer)
    native, old = load(pending_recoveries()[0]).native, layer.metadata[KEY]
    assert isinstance(native, Native)
    assert native.source is not None
    assert native.source.path == old.source.path
    assert native.frame is not None
    assert native.frame.is_like(old.placement.frame)
