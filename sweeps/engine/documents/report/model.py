"""The content of a report as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeps.engine.analysis.comparison import Comparison
from sweeps.engine.documents.html import Grid, Picture, Tile
from sweeps.engine.documents.report.facts import Audited, Facts
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.wording.matrix import Described

Draw = Callable[[StudyFolder, int], tuple[tuple[Picture, ...], tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The question's answer in a sentence, its numbers, and its caveats."""

    sentence: str
    tiles: tuple[Tile, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """The content of the page on one study."""

    name: str  # its name on the page
    question: str
    scale: str  # the label of numbers that are the miniature's; empty for others
    setting: tuple[str, ...]
    answer: Answer
    tables: tuple[Described | Grid, ...]
    legend: tuple[str, ...]  # of the ranked table
    effects: tuple[Grid, str] | None  # of a full factorial ablation, with their legend
    papers: tuple[tuple[Grid, tuple[str, ...]], ...]  # published beside measured numbers, with notes
    pictures: tuple[Picture, ...]
    undrawn: tuple[str, ...]
    audits: tuple[Audited, ...]
    cost: Facts
    provenance: Facts
    again: tuple[str, ...]
    settings: Facts
    not_run: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """One page: a study or several, and the comparisons of the first with each of the others."""

    studies: tuple[StudyReport, ...]
    comparisons: tuple[Comparison, ...] = ()
