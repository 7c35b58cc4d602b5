"""`Report`: what a check found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from napari_seg3d.datasets.dataset import Case, Dataset
from napari_seg3d.datasets.doctor.facts import CaseFacts
from napari_seg3d.datasets.doctor.findings import Finding


@dataclass(frozen=True)
class Report:
    """What a check found.

    Parameters
    ----------
    dataset : Dataset
        The same cases, with all labels named and with subjects as far as the images show them.
    facts : dict of str to CaseFacts
        By case id; cases whose image cannot be read have none.
    findings : tuple of Finding
        Those found while pairing, those found in the files, and those that only all files together show.
    """

    dataset: Dataset
    facts: dict[str, CaseFacts]
    findings: tuple[Finding, ...]

    @cached_property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are more than good to know."""
        return tuple(finding for finding in self.findings if finding.severity != "info")

    @cached_property
    def overlapping(self) -> bool:
        """Whether labels overlap in the mask of any case that may train."""
        return any(self.facts[case.id].overlapping for case in self.sound)

    @cached_property
    def sound(self) -> tuple[Case, ...]:
        """The cases that may train: those with a mask and no error, and not excluded."""
        faulty = {finding.case for finding in self.findings if finding.severity == "error"}
        return tuple(case for case in self.dataset.pairs if case.id not in faulty)
