"""``sensitivity.md``: how much each score drops when a weight is changed a little, measured and published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.panels import Source, panels, unseen_axes
from sweeps.engine.analysis.published.grids import OVERALL, published_grids
from sweeps.engine.analysis.score_query import Query, shown_readings
from sweeps.engine.analysis.sensitivity import sensitivity
from sweeps.engine.documents.forms.markdown import document, heading_text
from sweeps.engine.format import leaf, sentence
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.limits import CLIFF
from sweeps.engine.wording.sensitivity import sensitivity_lines
from sweeps.engine.wording.study import hidden_range_text, scale_note, scoring_text, training_text, unseen_text
from zsr_core.codec import ConfigError
from zsr_core.files import write_text


def write_sensitivity(folder: StudyFolder, wanted: Sequence[Query] = (), threshold: float = CLIFF) -> Path:
    """Write ``sensitivity.md`` over the study's surfaces and return its path.

    Raises:
        ConfigError: if the study has no surface, or none of the scores was measured.
    """
    study = folder.study
    if not study.surfaces:
        raise ConfigError(f"sensitivity: {study.study} has no surface, expected one over two weights")
    source = Source(folder=folder, through=chosen(folder))
    lines = [f"# {heading_text(study.question)}", "", f"{training_text(study)}.", f"{scoring_text(folder)}."]
    lines += [sentence(scale_note(study))] if scale_note(study) else []
    for x, y in study.surfaces:
        lines += ["", f"## {leaf(x)} and {leaf(y)}"]
        unseen = unseen_text(unseen_axes(source, x, y))
        lines += ["", unseen] if unseen else []
        for score in wanted or shown_readings(study.objectives):
            (panel,) = panels([source], score, x, y, noisy=True)
            lines += ["", *sensitivity_lines(sensitivity(panel.surface, threshold, panel.noise))]
            words = hidden_range_text(panel.noise) if panel.noise is not None else ""
            lines += ["", f"**{words[0].upper()}{words[1:]}**"] if words else []
        lines += _published_lines(study, x, y, threshold)
    return write_text(folder.path / "sensitivity.md", document(lines))


def _published_lines(study: Study, x: str, y: str, threshold: float) -> list[str]:
    lines: list[str] = []
    for grid in published_grids(study.base.method.title, x, y, study.space, study.published):
        lines += ["", f"### Published: {grid.method}, {grid.place} ({grid.conditions})"]
        lines += [f"{sentence(note)}" for note in grid.notes]
        lines += ["", *sensitivity_lines(sensitivity(grid.surfaces[OVERALL], threshold))]
    return lines
