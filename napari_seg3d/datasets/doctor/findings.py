"""What the doctor finds, and what it can do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from napari_seg3d.datasets.dataset import Problem, Severity

RemedyKind = Literal["resample_mask", "round_labels", "drop_case", "merge_labels", "same_subject"]
REMEDIES: tuple[RemedyKind, ...] = get_args(RemedyKind)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

_LISTED_ONE_BY_ONE = 3


@dataclass(frozen=True)
class Remedy:
    """What a button or a flag can do about a finding.

    Parameters
    ----------
    kind : {"resample_mask", "round_labels", "drop_case", "merge_labels", "same_subject"}
        Write a copy of the mask on the grid of its image; write a copy with whole numbers; leave the case out; count a label as
        another one; note that cases are of one subject.
    cases : tuple of str
        Whom it concerns.
    value, into : int
        For ``merge_labels``: this label counts as that one; 0 is the background.
    why : str
        What to note with a case that is left out.
    """

    kind: RemedyKind
    cases: tuple[str, ...] = ()
    value: int = 0
    into: int = 0
    why: str = ""

    @property
    def title(self) -> str:
        """What a button says."""
        return {
            "resample_mask": "Resample the mask to the image",
            "round_labels": "Round to whole numbers",
            "drop_case": "Leave the case out",
            "merge_labels": f"Count label {self.value} as {self.into or 'background'}",
            "same_subject": "Keep them on one side of the split",
        }[self.kind]


@dataclass(frozen=True)
class Finding(Problem):
    """A problem, or something good to know, with the remedy that the doctor has for it.

    Parameters
    ----------
    severity, what, fix, case, path
        As of a `Problem`.
    kind : str
        What sort of finding it is, such as ``"empty mask"``; many of one kind are told together.
    remedy : Remedy, optional
        What can be applied.
    """

    kind: str = field(default="pairing", kw_only=True)
    remedy: Remedy | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, problem: Problem) -> Finding:
        """Return a problem that was found while pairing as a finding."""
        if isinstance(problem, Finding):
            return problem
        return cls(problem.severity, problem.what, problem.fix, problem.case, problem.path)


@dataclass(frozen=True)
class Group:
    """Findings of one kind, told together.

    Parameters
    ----------
    findings : tuple of Finding
        At least one.
    what : str
        What to say about all of them.
    """

    findings: tuple[Finding, ...]
    what: str

    @property
    def first(self) -> Finding:
        """The finding that stands for the others."""
        return self.findings[0]


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the worst first, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def grouped(findings: Sequence[Finding]) -> list[Group]:
    """Return findings with those of one kind, severity and fix together, the worst first; few of a kind stay apart."""
    alike: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in by_severity(findings):
        alike[finding.severity, finding.kind, finding.fix].append(finding)
    groups = []
    for found in alike.values():
        if len(found) <= _LISTED_ONE_BY_ONE or found[0].kind == "pairing":
            groups += [Group((finding,), finding.what) for finding in found]
        else:
            names = list(dict.fromkeys(finding.case for finding in found if finding.case))
            others = f" ({', '.join(names[1:4])}, …)" if len(names) > 4 else f" ({', '.join(names[1:])})" if names[1:] else ""
            groups.append(Group(tuple(found), f"{found[0].what} And {len(found) - 1} more like it{others}."))
    return groups


@dataclass
class Notebook:
    """Findings on one case, while it is looked at."""

    case: str
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, severity: Severity, kind: str, what: str, fix: str, path: Path | None = None, remedy: Remedy | None = None
    ) -> None:
        """Write down what was found."""
        self.findings.append(Finding(severity, what, fix, self.case, path, kind=kind, remedy=remedy))
