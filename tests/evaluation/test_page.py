"""The page of an evaluation, its plots, and the pictures of the worst cases."""

from __future__ import annotations

import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_seg3d.datasets import Problem
from napari_seg3d.errors import Cancelled, DatasetError
from napari_seg3d.evaluation import Counts, Evaluation, EvaluationRow, draw_slice, draw_worst, evaluate_files, save_page
from napari_seg3d.evaluation.charts import bland_altman, boxes
from napari_seg3d.evaluation.page import page
from napari_seg3d.evaluation.pictures import FOUND, TOO_MUCH
from napari_seg3d.volumes import Volume, read_volume, write_volume

_VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects what a browser would load or run, and checks that tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pixels_of(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture
def predicted(ball_dataset: Path, tmp_path: Path) -> Path:
    """Masks of the balls that are right, moved and missing by turns."""
    folder = tmp_path / "predicted"
    for number, path in enumerate(sorted((ball_dataset / "labels").iterdir())):
        mask = read_volume(path, "labels")
        moved = np.roll(mask.data, 2 * number, axis=1)
        write_volume(mask.with_data(np.where(moved == 7, 3, moved) if number == 5 else moved), folder / path.name)
    return folder


def test_a_page_with_pictures(predicted: Path, ball_dataset: Path, tmp_path: Path) -> None:
    evaluation = evaluate_files(predicted, ball_dataset / "labels", labels={3: "ball", 7: "core"})
    told: list[tuple[int, int]] = []
    pictures, problems = draw_worst(evaluation, ball_dataset / "images", progress=lambda done, total: told.append((done, total)))
    assert problems == ()
    assert told[-1][0] == told[-1][1] == len({case for case, _ in pictures})
    for label in (3, 7):
        worst = sorted((row.dice, -row.hd95) for row in evaluation.rows if row.label == label)[2]
        drawn = [row for row in evaluation.rows if (row.case, row.label) in pictures and row.label == label]
        assert len(drawn) == 3
        assert all((row.dice, -row.hd95) <= worst for row in drawn)
    save_page(evaluation, tmp_path / "page.html", pictures, title="Balls")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert len(reader.loads) == 6
    assert all(one.startswith("data:image/png;base64,") for one in reader.loads)
    assert "http:" not in text
    assert "https:" not in text
    assert str(tmp_path) not in text
    assert "<h1>Balls</h1>" in text
    assert f"{evaluation.mean_dice:.4f}" in text
    assert all(row.case in text for row in evaluation.rows)
    assert "1 × ∞" in text, "the core that was not found"
    assert text.count("Bland–Altman") == 1


def test_masks_are_drawn_alone_where_there_is_no_scan(predicted: Path, ball_dataset: Path, tmp_path: Path) -> None:
    evaluation = evaluate_files(predicted, ball_dataset / "labels")
    alone, problems = draw_worst(evaluation, per_label=1)
    assert (len(alone), problems) == (2, ())
    # Two scans, one of them of another patient.
    scans = sorted((ball_dataset / "images").iterdir())
    for scan, name in ((scans[0], "ball_0.nii.gz"), (scans[1], "ball_5.nii.gz")):
        write_volume(read_volume(scan), tmp_path / "scans" / name)
    pictures, problems = draw_worst(evaluation, tmp_path / "scans", per_label=9)
    assert len(pictures) == sum(row.dice < 1 for row in evaluation.rows)
    said = {problem.case: problem.what for problem in problems}
    assert "no scan of this case" in said["ball_3"]
    assert "another grid" in said["ball_5"]
    assert "ball_0" not in said
    with pytest.raises(DatasetError, match="does not exist"):
        draw_worst(evaluation, tmp_path / "nowhere")
    with pytest.raises(Cancelled):
        draw_worst(evaluation, cancelled=lambda: True)


def test_names_cannot_inject_anything() -> None:
    evil = '<script>alert(1)</script>"><img src=http://x onerror=y>'
    rows = tuple(EvaluationRow.of(f"{evil}{n}", 1, evil, Counts(n, 2, 3), 1.0) for n in range(3))
    problem = Problem("error", f"/home/someone/secret/a.nii.gz: {evil}", evil, evil)
    text = page(Evaluation(rows, (problem,), 1.0, "areas"), title=evil)
    reader = Reader(text)
    assert reader.tags.isdisjoint({"script", "img"})
    assert reader.loads == []
    assert "someone" not in text


@pytest.mark.parametrize("rows", [(), (EvaluationRow("a", 1, "label 1", math.nan, 0, 0),)])
def test_a_page_of_nothing(rows: tuple[EvaluationRow, ...]) -> None:
    Reader(page(Evaluation(rows)))
    Reader(page(Evaluation(rows, surface="voxels", tolerance_mm=2.5)))


def test_a_page_of_many_rows_says_that_it_stops() -> None:
    rows = tuple(EvaluationRow.of(f"case{n}", 1, "liver", Counts(n, 2, 3), 1.0) for n in range(5000))
    text = page(Evaluation(rows))
    assert "of 5000 rows" in text
    assert len(text) < 3_000_000


numbers = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, math.inf, math.nan, 1e-300, 5e-324]))


@given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), numbers, max_size=4), max_size=3))
def test_plots_hold_whatever_is_measured(values: dict[str, dict[str, float]]) -> None:
    drawing = boxes({name: {case: abs(value) for case, value in cases.items()} for name, cases in values.items()}, "mm")
    Reader(drawing)
    assert "nan" not in re.sub(r"<title>.*?</title>|<text class=\"name\".*?</text>", "", drawing)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), min_size=1, max_size=5))
def test_bland_altman_holds_whatever_is_measured(pairs: list[tuple[float, float]]) -> None:
    drawing = bland_altman({str(number): pair for number, pair in enumerate(pairs)}, "ml")
    Reader(drawing)
    assert "nan" not in drawing
    places = [float(place) for place in re.findall(r'c[xy]="([^"]*)"', drawing)]
    assert all(0 <= place <= 400 for place in places)


def test_bias_and_limits_of_agreement() -> None:
    drawing = bland_altman({"a": (11, 10), "b": (23, 20), "c": (31, 30)}, "ml")
    assert "bias +1.67" in drawing
    spread = 1.96 * np.std([1, 3, 1], ddof=1)
    assert f"+1.96 SD {5 / 3 + spread:+.3g}" in drawing
    assert "SD" not in bland_altman({"a": (11, 10)}, "ml"), "of one case there is no spread"


@pytest.mark.parametrize("flipped", [False, True])
def test_what_is_drawn(flipped: bool) -> None:
    reference, prediction = np.zeros((2, 40, 40, 6), np.uint8)
    reference[10:20, 10:30, 2:5] = prediction[15:30, 10:30, 3] = 1
    scan = Volume(np.full((1, 40, 40, 6), 7, np.int16), np.eye(4))
    volumes = [Volume(data[np.newaxis], np.eye(4), "labels") for data in (prediction, reference)]
    if flipped:  # the same place in the patient, stored from right to left
        affine = np.diag([-1.0, 1, 1, 1])
        affine[0, 3] = 39
        volumes = [Volume(volume.data[:, ::-1], affine, "labels") for volume in volumes]
    picture = draw_slice(volumes[0], volumes[1], 1, scan)
    assert (picture.plane, picture.index, picture.count) == ("axial", 3, 6)
    pixels = pixels_of(picture.png)
    assert pixels.shape[:2] == picture.size[::-1]
    blue, orange = (np.argwhere(np.abs(pixels - 0.45 * np.array(colour)).sum(axis=2) < 30) for colour in (FOUND, TOO_MUCH))
    # 5 x 20 voxels are found, 10 x 20 too much; the patient's right, where too much was predicted, is on the left.
    assert len(orange) / len(blue) == pytest.approx(2, rel=0.15)
    assert orange[:, 1].mean() < blue[:, 1].mean()
    white = np.argwhere(pixels.min(axis=2) > 240)
    assert white[:, 1].min() > orange[:, 1].max() - 2


def test_a_radiograph_and_a_label_that_is_nowhere() -> None:
    data = np.zeros((1, 60, 50, 1), np.uint8)
    data[0, 20:30, 20:30] = 1
    mask = Volume(data, np.diag([0.2, 0.2, 1, 1]), "labels", is_oriented=False)
    assert draw_slice(mask.with_data(np.roll(data, 3, axis=1)), mask, 1).count == 1
    assert draw_slice(mask, mask, 5).png
