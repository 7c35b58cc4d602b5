"""The doctor's page: what a check found, as one HTML file to hand to a colleague."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from napari_seg3d import __version__
from napari_seg3d.datasets.dataset import Case
from napari_seg3d.datasets.doctor.charts import bars, histogram
from napari_seg3d.datasets.doctor.document import document, without_folders
from napari_seg3d.datasets.doctor.facts import CaseFacts
from napari_seg3d.datasets.doctor.findings import Group, grouped
from napari_seg3d.datasets.doctor.report import Report
from napari_seg3d.datasets.doctor.statistics import Spread, statistics
from napari_seg3d.files import write_text

_MOST_LABELS = 24  # shown in a chart, and with a volume for each case
_SEVERITIES = {"error": "Errors", "warning": "Warnings", "info": "Good to know"}


def save_page(report: Report, path: str | Path) -> None:
    """Write the page of a report: one file that needs no network, with thumbnails in it.

    It holds file names, but neither their folders nor anything that a header says about the patient.

    Parameters
    ----------
    report : Report
        From :func:`napari_seg3d.datasets.check_dataset`.
    path : path-like
        Where to; a file that is there is replaced.

    Raises
    ------
    WriteError
        The place cannot be written.
    """
    write_text(path, page(report))


def page(report: Report) -> str:
    """Return the HTML of a report."""
    groups = grouped(report.findings)
    hide = _Folders(report)
    name = escape(report.dataset.name)
    parts = [
        f"<h1>{name}</h1>",
        f'<div class="soft">Data set check by napari-seg3d {escape(__version__)}</div>',
        _tiles(report),
        *_findings(groups, hide),
        *_charts(report),
        *_cases(report),
        '<p class="soft">Slices are shown as radiologists look at them: the patient\'s right is on the left. Not a medical device.</p>',
    ]
    return document(f"{report.dataset.name}: data set check", parts)


class _Folders:
    """Takes the folders of this machine out of sentences."""

    def __init__(self, report: Report) -> None:
        dataset = report.dataset
        roots = {str(one) for root in (dataset.root, dataset.mask_root) if root is not None for one in (root, root.absolute())}
        parents = {str(path.parent) for case in dataset.cases for path in (*case.images, case.mask) if path is not None}
        self._known = sorted((text for text in roots | parents if len(text) > 1), key=len, reverse=True)

    def out_of(self, text: str) -> str:
        """Return a sentence with the names of files alone."""
        for folder in self._known:
            text = text.replace(f"{folder}/", "").replace(f"{folder}\\", "").replace(folder, "the data set")
        return without_folders(text)


def _tiles(report: Report) -> str:
    dataset = report.dataset
    counts = {severity: sum(finding.severity == severity for finding in report.findings) for severity in ("error", "warning")}
    tiles = [
        (str(len(dataset.cases)), "cases"),
        (str(len(report.sound)), "ready to train on"),
        (str(len({case.subject for case in dataset.cases})), "subjects"),
        (str(len(dataset.labels)), "labels"),
        (f'<span class="error">{counts["error"]}</span>' if counts["error"] else "0", "errors"),
        (f'<span class="warning">{counts["warning"]}</span>' if counts["warning"] else "0", "warnings"),
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{value}</b>{title}</div>" for value, title in tiles)}</div>'


def _findings(groups: Sequence[Group], hide: _Folders) -> Iterable[str]:
    if not groups:
        yield "<h2>Findings</h2><p>Nothing was found.</p>"
    for severity, title in _SEVERITIES.items():
        of_this = [group for group in groups if group.first.severity == severity]
        if of_this:
            yield f"<h2>{title}</h2>"
        for group in of_this:
            what, fix = escape(hide.out_of(group.what)), escape(hide.out_of(group.first.fix))
            remedy = group.first.remedy
            can = f' <span class="info">[check --fix {remedy.kind}]</span>' if remedy is not None else ""
            further = ""
            if len(group.findings) > 1:
                each = "".join(f"<li>{escape(hide.out_of(finding.what))}</li>" for finding in group.findings)
                further = f"<details><summary>All {len(group.findings)}</summary><ul>{each}</ul></details>"
            yield f'<div class="finding {severity}"><p>{what}</p><p>{fix}{can}</p>{further}</div>'


def _charts(report: Report) -> Iterable[str]:
    facts = report.facts
    if not facts:
        return
    found = statistics(facts)
    grids = [fact.grid.canonical() for fact in facts.values()]
    yield "<h2>Grids, intensities and labels</h2><div class=charts>"
    for axis, name in enumerate(("right", "anterior", "superior")):
        title = f"Spacing to {name}: {_spread(found.spacing[axis])} mm"
        yield _chart(title, histogram([grid.spacing[axis] for grid in grids], "mm"))
    for axis, name in enumerate(("right", "anterior", "superior")):
        title = f"Voxels to {name}: {_spread(found.shape[axis])}"
        yield _chart(title, histogram([float(grid.shape[axis]) for grid in grids], "voxels"))
    brightest = [fact.high for fact in facts.values() if math.isfinite(fact.high)]
    yield _chart(f"99th percentile of the intensities: {_spread(found.high)}", histogram(brightest, "", logarithmic=True))
    shown = sorted(report.dataset.labels.items())[:_MOST_LABELS]
    if shown:
        counts = {name: sum(1 for fact in facts.values() if fact.label_counts.get(value)) for value, name in shown}
        more = f" (the first {_MOST_LABELS} of {len(report.dataset.labels)})" if len(report.dataset.labels) > _MOST_LABELS else ""
        yield _chart(f"Cases with each label{more}", bars(counts))
    yield "</div>"


def _chart(title: str, drawing: str) -> str:
    return f'<div class="chart"><h3>{escape(title)}</h3>{drawing}</div>'


def _spread(spread: Spread) -> str:
    if not math.isfinite(spread.median):
        return "unknown"
    if spread.low == spread.high:
        return f"{spread.low:.4g} in all"
    return f"median {spread.median:.4g}, {spread.low:.4g} to {spread.high:.4g}"


def _cases(report: Report) -> Iterable[str]:
    worst: dict[str | None, str] = {}
    for finding in reversed([one for group in grouped(report.findings) for one in group.findings]):
        worst[finding.case] = finding.severity
    labels = dict(sorted(report.dataset.labels.items())[:_MOST_LABELS])
    yield "<h2>Cases</h2><div class=wide><table><thead><tr>"
    yield "".join(
        f"<th>{title}</th>" for title in ("", "case", "subject", "set", "voxels", "spacing in mm", "intensities", "labels in ml")
    )
    yield "</tr></thead><tbody>"
    for case in report.dataset.cases:
        yield _row(report, case, report.facts.get(case.id), worst.get(case.id, ""), labels)
    yield "</tbody></table></div>"


def _row(report: Report, case: Case, facts: CaseFacts | None, severity: str, labels: Mapping[int, str]) -> str:
    why = report.dataset.excluded.get(case.id)
    split = report.dataset.split
    place = split.place_of(case.id) if split is not None else None
    picture = sizes = spacing = values = volumes = ""
    if facts is not None:
        grid = facts.grid
        if facts.thumbnail:
            data = base64.b64encode(facts.thumbnail).decode()
            picture = f'<img alt="" loading="lazy" src="data:image/png;base64,{data}">'
        sizes = f"{' × '.join(map(str, grid.shape))}<br><span class=soft>{grid.orientation}</span>"
        spacing = " × ".join(f"{step:.3g}" for step in grid.spacing)
        if math.isfinite(facts.minimum):
            values = f"{facts.minimum:.5g} to {facts.maximum:.5g}<br><span class=soft>{escape(facts.dtype)}</span>"
        volumes = "<br>".join(
            f"{escape(name)}: {facts.millilitres(value):.3g}" for value, name in labels.items() if facts.label_counts.get(value)
        )
        further = sum(1 for value, count in facts.label_counts.items() if value > 0 and count and value not in labels)
        volumes += f"<br>and {further} more" if further else ""
    note = f'<br><span class="soft">left out: {escape(why)}</span>' if why is not None else ""
    where = f"fold {place}" if isinstance(place, int) else place or ""
    cells = (
        picture,
        f'<span class="{severity}">{escape(case.id)}</span>{note}',
        escape(case.subject),
        where,
        sizes,
        spacing,
        values,
        volumes,
    )
    inner = "".join(f"<td{' class=id' if number in (1, 2) else ''}>{cell}</td>" for number, cell in enumerate(cells))
    return f"<tr{' class=out' if why is not None else ''}>{inner}</tr>"
