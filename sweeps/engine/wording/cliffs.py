"""Proposed trials between neighbours with different scores, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.engine.analysis.cliffs import Proposal
from sweeps.engine.analysis.score_query import Query, score_label
from sweeps.engine.study.folder import Study
from sweeps.engine.wording.edges import edge_text
from zsr_core.space import short


def proposal_lines(study: Study, proposals: Sequence[Proposal], wanted: Sequence[Query], threshold: float) -> list[str]:
    """Return one line per proposal with its reason, then their number."""
    names = ", ".join(score_label(score) for score in wanted)
    if not proposals:
        return [f"No neighbours of {study.study} differ by more than {threshold:g} points in {names}."]
    lines = []
    for proposal in proposals:
        if proposal.cliff is None:
            lines.append(f"{proposal.label}: beyond the edge. {edge_text(proposal.edge) if proposal.edge else ''}")
            continue
        a, b = proposal.cliff.a, proposal.cliff.b
        lines.append(
            f"{proposal.label}: {proposal.score} is {a.mean:.1f} at ({short(a.x)}, {short(a.y)}), "
            f"{b.mean:.1f} at ({short(b.x)}, {short(b.y)}): {proposal.cliff.height:.1f} points apart"
        )
    trials = len(proposals) * len(study.seeds)
    return [*lines, f"{len(proposals)} configurations, {trials} trials."]
