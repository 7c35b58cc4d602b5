"""The page that the doctor writes: whole, harmless, nameless and small."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_seg3d.datasets import Case, Dataset, Finding, Report, check_dataset, open_dataset, save_page
from napari_seg3d.datasets.doctor.facts import CaseFacts
from napari_seg3d.datasets.doctor.page import page
from napari_seg3d.datasets.doctor.pictures import thumbnail
from napari_seg3d.volumes import Grid, Volume

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


def test_the_page_of_a_folder(ball_dataset: Path, tmp_path: Path) -> None:
    report = check_dataset(open_dataset(ball_dataset))
    save_page(report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert len(reader.loads) == 6
    assert all(one.startswith("data:image/png;base64,") for one in reader.loads)
    assert "http:" not in text
    assert "https:" not in text
    assert str(ball_dataset) not in text
    assert all(case.id in text for case in report.dataset.cases)
    millilitres = report.facts["ball_0"].millilitres(3)
    assert f"{millilitres:.3g}" in text
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(reader.loads[0].split(",")[1]))).convert("RGB")).astype(int)
    coloured = np.ptp(picture, axis=2) > 40
    assert 20 < coloured.sum() < 0.3 * coloured.size, "the outline of the mask"


def test_names_cannot_inject_anything() -> None:
    evil = '<script>alert(1)</script>"><img src=http://x onerror=y>'
    case = Case(evil, (Path("/home/someone/secret") / "a.nii.gz",), None, evil)
    dataset = Dataset(Path("/home/someone/secret"), (case,), {1: evil}, title=evil, excluded={evil: evil})
    facts = CaseFacts(Grid((4, 5, 6), np.eye(4)), 1, evil, 0, 1, 0.5, {1: 4})
    finding = Finding("error", f"/home/someone/secret/a.nii.gz: {evil} in /mnt/else/b.nii.gz", evil, evil, kind=evil)
    text = page(Report(dataset, {evil: facts}, (finding,)))
    reader = Reader(text)
    assert reader.tags.isdisjoint({"script", "img"})
    assert reader.loads == []
    assert "someone" not in text
    assert "/mnt" not in text


def test_a_page_of_a_thousand_cases_stays_small(ball_dataset: Path) -> None:
    report = check_dataset(open_dataset(ball_dataset))
    case, fact = report.dataset.cases[0], next(iter(report.facts.values()))
    picture = thumbnail(Volume(np.random.default_rng(0).normal(size=(1, 90, 90, 5)), np.eye(4)), None)
    cases = tuple(replace(case, id=f"case{number}") for number in range(1000))
    many = Report(replace(report.dataset, cases=cases), {one.id: replace(fact, thumbnail=picture) for one in cases}, ())
    assert len(page(many)) < 25_000_000


@pytest.mark.parametrize("axis", [0, 1])
def test_slices_are_shown_the_radiological_way(axis: int) -> None:
    data = np.zeros((40, 30, 5), np.int16)
    data[(slice(30, None), slice(None))[:: 1 if axis == 0 else -1]] = 100  # towards the right, or anterior
    if axis == 1:
        data = np.zeros((40, 30, 5), np.int16)
        data[:, 20:] = 100
    shown = np.array(Image.open(io.BytesIO(thumbnail(Volume(data[np.newaxis], np.eye(4)), None))).convert("L"))
    assert shown.shape[1] > shown.shape[0]
    bright = shown[:, :20] if axis == 0 else shown[:20]
    assert bright.mean() > 200
    assert shown[-20:, -20:].mean() < 50


def test_the_size_of_a_pixel_counts() -> None:
    flat = thumbnail(Volume(np.random.default_rng(0).normal(size=(1, 20, 20, 3)), np.diag([1.0, 4, 1, 1])), None)
    width, height = Image.open(io.BytesIO(flat)).size
    assert height == pytest.approx(4 * width, abs=2)
    assert not re.search(rb"tEXt|iTXt", flat)
