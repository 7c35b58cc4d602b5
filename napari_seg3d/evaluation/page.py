"""The page of an evaluation: tables, plots and pictures of the worst cases in one HTML file, to hand to a colleague."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from napari_seg3d import __version__
from napari_seg3d.datasets import Problem
from napari_seg3d.datasets.doctor.document import document, without_folders
from napari_seg3d.evaluation import charts
from napari_seg3d.evaluation.pictures import FOUND, REFERENCE, TOO_MUCH, Picture, worst_rows
from napari_seg3d.evaluation.report import Evaluation, EvaluationRow
from napari_seg3d.evaluation.summary import Measure, Summary
from napari_seg3d.files import write_text

_MOST_LABELS = 40  # with a plot of their volumes and pictures
_MOST_ROWS = 2000  # in the table of the cases; the CSV has all

_SURFACES = {
    "voxels": "between the centres of border voxels, as in MONAI and Metrics Reloaded",
    "areas": "between elements of a triangle mesh, each with its area, as in DeepMind's surface-distance",
}
_STYLE = (
    charts.STYLE
    + """
td, th { padding: .4rem .45rem; } td.id { min-width: 9.5rem; } td.label { min-width: 5rem; overflow-wrap: anywhere; }
h3 { margin-top: 1.4rem; } .chart h3 { margin-top: 0; } h3 + .charts { margin-top: .4rem; }
td.number, th.number { text-align: right; } td.number { white-space: nowrap; } td small { color: var(--soft); }
.charts { align-items: flex-start; } figure { margin: 0; } figure img { image-rendering: auto; } figcaption { max-width: 300px;
  font-size: .85rem; color: var(--soft); margin-top: .3rem; overflow-wrap: anywhere; } figcaption b { color: var(--ink); }
.key { display: inline-block; width: .9em; height: .9em; border-radius: .2em; vertical-align: -.1em; margin: 0 .3em 0 .9em; }
dl { color: var(--soft); font-size: .9rem; } dt { float: left; clear: left; min-width: 9rem; color: var(--ink); }
dd { margin: 0 0 .3rem 9rem; }
"""
)
_WORDS = (
    ("Dice, IoU, NSD", "1 is best. Undefined (–), and in no mean, when a label is in neither mask; 0 when it is in one only."),
    ("precision", "What was predicted that is right. 0 when nothing was predicted of what is there."),
    ("recall", "What is there that was found. Undefined when nothing is there."),
    (
        "HD95, HD, ASSD",
        "0 is best. Infinite (∞) when a label is in one mask only: such cases are counted and in the median, but in no mean.",
    ),
    ("volume error", "(prediction − reference) / reference. Infinite when the reference has none of what was predicted."),
    ("± and worst", "Standard deviation over the cases, and the case in which the measure is worst."),
)


def save_page(
    evaluation: Evaluation, path: str | Path, pictures: Mapping[tuple[str, int], Picture] | None = None, title: str = ""
) -> None:
    """Write the page of an evaluation: one file that needs no network.

    It holds names of cases and files, but not the folders that they lie in.

    Parameters
    ----------
    evaluation : Evaluation
        What was measured.
    path : path-like
        Where to; a file that is there is replaced.
    pictures : mapping of (str, int) to Picture, optional
        By case and label, from :func:`napari_seg3d.evaluation.draw_worst`.
    title : str
        Such as the name of the model; left out, *Evaluation*.

    Raises
    ------
    WriteError
        The place cannot be written.
    """
    write_text(path, page(evaluation, pictures, title))


def page(evaluation: Evaluation, pictures: Mapping[tuple[str, int], Picture] | None = None, title: str = "") -> str:
    """Return the HTML of an evaluation; parameters as of :func:`save_page`."""
    title = title or "Evaluation"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<div class="soft">Masks compared by napari-seg3d {escape(__version__)}{_how(evaluation)}</div>',
        _tiles(evaluation),
        *_problems(evaluation.problems),
        *_labels(evaluation),
        *_charts(evaluation),
        *_pictures(evaluation, pictures or {}),
        *_cases(evaluation),
        "<h2>What the numbers mean</h2><dl>"
        + "".join(f"<dt>{escape(word)}</dt><dd>{escape(said)}</dd>" for word, said in _WORDS)
        + "</dl>",
        '<p class="soft">Slices are shown as radiologists look at them: the patient\'s right is on the left. Not a medical device.</p>',
    ]
    return document(title, parts, _STYLE)


def _how(evaluation: Evaluation) -> str:
    if evaluation.surface is None:
        return ""
    return f". Distances in mm {_SURFACES[evaluation.surface]}; NSD at a tolerance of {evaluation.tolerance_mm:g} mm."


def _tiles(evaluation: Evaluation) -> str:
    one_sided = sum(1 for row in evaluation.rows if math.isinf(row.hd95))
    errors = sum(problem.severity == "error" for problem in evaluation.problems)
    tiles = [
        (str(len({row.case for row in evaluation.rows})), "cases"),
        (str(len({row.label for row in evaluation.rows})), "labels"),
        (_number(evaluation.mean_dice, ".4f"), "mean Dice of the cases"),
        *([(str(one_sided), "labels in one mask only")] if evaluation.surface is not None else []),
        *([(f'<span class="error">{errors}</span>', "files not compared")] if errors else []),
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{value}</b>{title}</div>" for value, title in tiles)}</div>'


def _problems(problems: Sequence[Problem]) -> Iterable[str]:
    for problem in problems:
        case = f"{problem.case}: " if problem.case and problem.case not in problem.what else ""
        what, fix = (escape(without_folders(text)) for text in (case + problem.what, problem.fix))
        yield f'<div class="finding {problem.severity}"><p>{what}</p><p>{fix}</p></div>'


def _labels(evaluation: Evaluation) -> Iterable[str]:
    columns: list[tuple[str, Measure, str]] = [
        ("Dice", "dice", ".3f"),
        ("precision", "precision", ".3f"),
        ("recall", "recall", ".3f"),
    ]
    if evaluation.surface is not None:
        columns += [("HD95 (mm)", "hd95", ".2f"), ("ASSD (mm)", "assd", ".2f"), ("NSD", "nsd", ".3f")]
    columns.append(("volume error", "volume_error", "+.1%"))
    summaries = {measure: evaluation.summary(measure) for _, measure, _ in columns}
    yield "<h2>Labels</h2><div class=wide><table><thead><tr><th>label</th><th class=number>cases</th>"
    yield "".join(f"<th class=number>{title}</th>" for title, _, _ in columns) + "<th>lowest Dice</th></tr></thead><tbody>"
    for label, name in sorted(evaluation.names().items()):
        dice = summaries["dice"][label]
        cells = "".join(f"<td class=number>{_summary(summaries[measure][label], digits)}</td>" for _, measure, digits in columns)
        worst = f"{_number(dice.worst, '.3f')} <small>{escape(dice.worst_case)}</small>" if dice.finite else "–"
        yield f"<tr><td class=label>{_label(label, name)}</td><td class=number>{dice.finite}</td>{cells}<td class=id>{worst}</td></tr>"
    yield "</tbody></table></div><p class=soft>Mean ± standard deviation, and below it the median. "
    yield "∞: cases in which only one of the masks has the label.</p>"


def _summary(found: Summary, digits: str) -> str:
    spread = "" if math.isnan(found.sd) else f" ± {format(found.sd, digits.lstrip('+'))}"
    infinite = f' <span class="error">+ {found.infinite} × ∞</span>' if found.infinite else ""
    return f"{_number(found.mean, digits)}{spread}<br><small>{_number(found.median, digits)}</small>{infinite}"


def _charts(evaluation: Evaluation) -> Iterable[str]:
    if not evaluation.rows:
        return
    names = {label: _plain(label, name) for label, name in sorted(evaluation.names().items())}
    yield "<h2>Over the cases</h2><div class=charts>"
    plots: list[tuple[str, Measure, str, tuple[float, float] | None]] = [("Dice", "dice", "", (0.0, 1.0))]
    if evaluation.surface is not None:
        plots += [("HD95", "hd95", "mm", None), (f"NSD at {evaluation.tolerance_mm:g} mm", "nsd", "", (0.0, 1.0))]
    for title, measure, unit, ends in plots:
        values: dict[str, dict[str, float]] = {name: {} for name in names.values()}
        for row in evaluation.rows:
            values[names[row.label]][row.case] = getattr(row, measure)
        yield _chart(title, charts.boxes(values, unit, ends))
    yield "</div><h2>Volumes: prediction − reference (Bland–Altman)</h2><div class=charts>"
    for label, name in list(names.items())[:_MOST_LABELS]:
        rows = [row for row in evaluation.rows if row.label == label and row.reference_ml + row.prediction_ml > 0]
        if rows:
            yield _chart(name, charts.bland_altman({row.case: (row.prediction_ml, row.reference_ml) for row in rows}, "ml"))
    yield "</div>"


def _chart(title: str, drawing: str) -> str:
    return f'<div class="chart"><h3>{escape(title)}</h3>{drawing}</div>'


def _pictures(evaluation: Evaluation, pictures: Mapping[tuple[str, int], Picture]) -> Iterable[str]:
    shown = [row for row in worst_rows(evaluation.rows, len(evaluation.rows)) if (row.case, row.label) in pictures]
    if not shown:
        return
    yield "<h2>The worst cases, each in its worst slice</h2><p class=soft>"
    for colour, meaning in ((REFERENCE, "outline: reference"), (FOUND, "found"), (TOO_MUCH, "too much")):
        yield f'<span class="key" style="background: rgb{colour}; border: 1px solid var(--soft)"></span>{meaning}'
    yield "</p>"
    by_label: dict[int, list[EvaluationRow]] = {}
    for row in shown:
        by_label.setdefault(row.label, []).append(row)
    for label, rows in sorted(by_label.items())[:_MOST_LABELS]:
        yield f"<h3>{escape(_plain(label, rows[0].name))}</h3><div class=charts>"
        for row in rows:
            picture = pictures[row.case, row.label]
            data = base64.b64encode(picture.png).decode()
            width, height = picture.size
            place = f"{picture.plane}, slice {picture.index} of {picture.count}" if picture.count > 1 else "the only slice"
            distance = "" if math.isnan(row.hd95) else f", HD95 {_number(row.hd95, '.1f')} mm"
            yield (
                f'<figure><img alt="{escape(row.case)}" loading="lazy" width="{width}" height="{height}" src="data:image/png;base64,{data}">'
                f"<figcaption><b>{escape(row.case)}</b><br>Dice {_number(row.dice, '.3f')}{distance}<br>{place}</figcaption></figure>"
            )
        yield "</div>"


def _cases(evaluation: Evaluation) -> Iterable[str]:
    columns: list[tuple[str, str, str]] = [
        ("Dice", "dice", ".4f"), ("IoU", "iou", ".4f"), ("precision", "precision", ".4f"), ("recall", "recall", ".4f"),
    ]  # fmt: skip
    if evaluation.surface is not None:
        columns += [
            ("HD95 (mm)", "hd95", ".2f"),
            ("HD (mm)", "hausdorff", ".2f"),
            ("ASSD (mm)", "assd", ".2f"),
            ("NSD", "nsd", ".4f"),
        ]
    columns += [
        ("true (ml)", "reference_ml", ".4g"),
        ("found (ml)", "prediction_ml", ".4g"),
        ("error", "volume_error", "+.1%"),
    ]
    yield "<h2>Cases</h2>"
    if len(evaluation.rows) > _MOST_ROWS:
        yield f"<p class=soft>The first {_MOST_ROWS} of {len(evaluation.rows)} rows; the CSV has all.</p>"
    yield "<div class=wide><table><thead><tr><th>case</th><th>label</th>"
    yield "".join(f"<th class=number>{title}</th>" for title, _, _ in columns) + "</tr></thead><tbody>"
    for row in evaluation.rows[:_MOST_ROWS]:
        cells = "".join(f"<td class=number>{_number(getattr(row, name), digits)}</td>" for _, name, digits in columns)
        yield f"<tr><td class=id>{escape(row.case)}</td><td class=label>{_label(row.label, row.name)}</td>{cells}</tr>"
    yield "</tbody></table></div>"


def _plain(label: int, name: str) -> str:
    return name if name == f"label {label}" else f"{label} {name}"


def _label(label: int, name: str) -> str:
    return escape(_plain(label, name))


def _number(value: float, digits: str) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(value, digits).replace("-", "−")
