"""What the figures of a study share: the request, the study's data, and the lines on top of each figure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from sweeps.engine.analysis.panels import Source
from sweeps.engine.analysis.score_query import Query, Reading, parse_score, readings
from sweeps.engine.analysis.scores import CellScore
from sweeps.engine.figures.style import save
from sweeps.engine.format import sentence
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.limits import CLIFF, Best
from sweeps.engine.study.objectives import deciding_score
from sweeps.engine.wording.study import fewer_seeds_text, scale_note, scoring_text, training_text
from zsr_core.space import Domain

Keep = Callable[[Figure, str], object]  # (figure, its name)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to draw; None stands for the study's default."""

    kinds: tuple[str, ...] = ()  # empty: the kinds that a launch draws, which take a few seconds
    x: str | None = None
    y: str | None = None
    z: str | None = None  # a score such as robust@2/255; by default the three objectives, or the deciding score
    best: Best | None = None  # whether z should be high or low, if it is a difference of two scores
    facet: str | None = None
    beside: tuple[StudyFolder, ...] = ()  # further studies to draw in the same figure
    cliff: float = CLIFF
    baseline: str | None = None  # the row that a forest plot compares with; by default the design's
    untouched: bool = False  # whether a forest plot has a line for the untouched model


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The files written, the reason for each kind of ``all`` that was left out, and options that kinds did not read."""

    paths: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The data of a study that its figures share, and the request."""

    folder: StudyFolder
    cells: Sequence[CellScore]
    winner: CellScore | None
    request: Request
    sources: tuple[Source, ...]
    domains: Mapping[str, Domain] = field(default_factory=dict)
    keep: Keep | None = None  # receives each figure; None: written to files under figures/

    @property
    def study(self) -> Study:
        """The plan of the study."""
        return self.folder.study

    @property
    def chosen_label(self) -> str:
        """The chosen cell's name in a legend."""
        return f"chosen: best {deciding_score(self.study.objectives).title}"

    @property
    def setting(self) -> tuple[str, ...]:
        """The lines on top of a figure of the study's scores: question, training, scoring, scale."""
        return self.setting_of()

    def setting_of(self, *shown: Query, facet: str | None = None) -> tuple[str, ...]:
        """Return the lines on top of a figure that shows these scores, split by ``facet``."""
        scoring = scoring_text(self.folder, [part for score in shown for part in readings(score)], facet)
        words = (training_text(self.study), scoring, sentence(scale_note(self.study)))
        return (self.study.question, *words, fewer_seeds_text(self.folder))

    @property
    def score(self) -> Query:
        """The score of figures that show one: the requested one, else the study's deciding score."""
        decides = Reading(name=deciding_score(self.study.objectives).name)
        return parse_score(self.request.z, self.request.best) if self.request.z else decides

    def save(self, figure: Figure, name: str) -> list[Path]:
        stem = re.sub(r"[^\w.=-]+", "_", name).strip("_")
        if self.keep is None:
            return save(figure, self.folder.path / "figures" / stem)
        self.keep(figure, stem)
        return []
