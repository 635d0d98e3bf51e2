"""Which trials are proposed between neighbours, as lines to read."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.engine.analysis.cliffs import Proposal
from sweeps.engine.analysis.score_query import Query, score_label
from sweeps.engine.study.folder import Study
from zsr_core.space import short


def proposal_lines(study: Study, found: Sequence[Proposal], wanted: Sequence[Query], threshold: float) -> list[str]:
    """Return what is proposed and why, a line each."""
    names = ", ".join(score_label(score) for score in wanted)
    if not found:
        return [f"No neighbours of {study.study} differ by more than {threshold:g} points in {names}."]
    lines = []
    for p in found:
        a, b = p.cliff.a, p.cliff.b
        lines.append(
            f"{p.label}: {p.score} is {a.mean:.1f} at ({short(a.x)}, {short(a.y)}), {b.mean:.1f} at ({short(b.x)}, "
            f"{short(b.y)}): {p.cliff.height:.1f} points apart"
        )
    trials = len(found) * len(study.seeds)
    return [*lines, f"{len(found)} configurations, {trials} trials."]
