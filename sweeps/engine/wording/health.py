"""The findings of ``zsr health``: what is odd about a study, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.ranking import ranked, rivals_among
from sweeps.engine.analysis.searching.edges import best_on_edge
from sweeps.engine.analysis.searching.health import (
    cell_noise,
    costs,
    repeats,
    seeds_by_cell,
    seeds_of,
    shares,
    unequal,
)
from sweeps.engine.format import counted, listed, sentence
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import deciding_score
from sweeps.engine.wording.chance import warning_text
from sweeps.engine.wording.edges import edge_text
from sweeps.engine.wording.study import hidden_range_text

REPEATED = 0.02  # share of proposals that may nearly repeat another one
COSTLY = 1.2  # times the smallest cost of training, above which a budget is called unequal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One odd thing about a study: what it is, and what to do."""

    about: str
    what: str
    do: str


def findings(folder: StudyFolder) -> tuple[Finding, ...]:
    """Return what is odd about a study, the gravest first; empty if nothing is."""
    checks: tuple[Callable[[StudyFolder], Iterator[Finding]], ...] = (
        _collapse, _failures, _noise, _seeds, _edge, _repeats, _budgets, _audit, _report,
    )  # fmt: skip
    return tuple(found for check in checks for found in check(folder))


def _collapse(folder: StudyFolder) -> Iterator[Finding]:
    warning, found, best = warning_text(folder), shares(folder), chosen(folder)
    if warning:
        yield Finding(about="collapse", what=warning, do="Choose another cell, or search where training is gentler.")
    if set(found.collapsed) - ({best.cell} if warning and best is not None else set()):  # the warning tells of it
        what = f"{len(found.collapsed)} of {counted(found.cells, 'cell')} collapsed: {listed(found.collapsed)}."
        yield Finding(about="collapse", what=what, do="Lower the learning rate or the weights there, or leave it out.")


def _failures(folder: StudyFolder) -> Iterator[Finding]:
    found = shares(folder)
    if found.failed:
        reason, n = max(found.reasons.items(), key=lambda item: item[1])
        what = f"{found.failed} of {counted(found.planned, 'trial')} failed; {n} with: {reason}."
        yield Finding(about="failures", what=what, do="Mend the cause and launch again: only failed trials run again.")
    if found.missing:
        what = f"{found.missing} of {counted(found.planned, 'trial')} have not run."
        yield Finding(about="missing", what=what, do="Launch the same sweep again: it runs only what is missing.")


def _noise(folder: StudyFolder) -> Iterator[Finding]:
    noise = cell_noise(folder)
    if noise is not None and noise.hides_the_range:
        do = "Give more images (eval_suite.n) or seeds, or say that the cells cannot be told apart."
        yield Finding(about="noise", what=sentence(hidden_range_text(noise).rstrip(".")), do=do)


def _seeds(folder: StudyFolder) -> Iterator[Finding]:
    found = seeds_of(folder)
    if found is None:
        return
    name = deciding_score(folder.study.objectives).title
    if found.sd is None:
        what = "One seed: no interval here includes the variation between two trainings of the same cell."
        yield Finding(about="seeds", what=what, do="Give --seeds 3 or more, or --seeds 1-5 to repeat only contenders.")
    elif found.needed is not None and found.needed > found.least:
        what = (
            f"The best two cells are {found.gap:.1f} points apart in {name}, and seeds of a cell differ by "
            f"{found.sd:.1f} (sd): {counted(found.least, 'seed')} cannot tell them apart."
        )
        many = found.needed > 30
        do = "Call them equal: no affordable number of seeds tells them apart." if many else (
            f"About {found.needed} seeds would: --seeds {found.needed}, or call them equal.")  # fmt: skip
        yield Finding(about="seeds", what=what, do=do)


def _edge(folder: StudyFolder) -> Iterator[Finding]:
    edges = best_on_edge(folder)
    rivals = rivals_among(folder, [edge.neighbour for edge in edges])
    for edge in edges:
        grid = folder.study.mode == "matrix" and edge.beyond is not None
        do = "--refine adds one level beyond it." if grid else "Widen this axis of the space."
        yield Finding(about="edge", what=edge_text(edge, rivals), do=do)


def _repeats(folder: StudyFolder) -> Iterator[Finding]:
    n, of = repeats(folder)
    if of and n / of > REPEATED:
        what = f"{n} of {counted(of, 'proposal')} ({n / of:.0%}) are within 1 % of an earlier one on every axis."
        do = "The search has converged or the space is small: stop it, widen the space, or take more seeds."
        yield Finding(about="proposals", what=what, do=do)


def _budgets(folder: StudyFolder) -> Iterator[Finding]:
    kinds, cost, (least, most) = unequal(folder), costs(folder), seeds_by_cell(folder)
    if kinds:
        what = f"Cells were trained with unequal budgets: {'; '.join(f'{n} with {key}' for key, n in kinds.items())}."
        yield Finding(about="budgets", what=what, do="Compare cells of one budget, or say that the budget is a factor.")
    elif cost is not None and cost[1] > COSTLY * cost[0]:
        what = f"The costliest cell took {cost[1] / cost[0]:.1f} times the encoder passes of the cheapest in training."
        yield Finding(about="budgets", what=what, do="Say it beside the scores, or give the cheaper ones more epochs.")
    if least < most:
        what = f"Cells have from {least} to {counted(most, 'seed')}."
        yield Finding(about="seeds", what=what, do="Fine for --seeds 1-5; otherwise launch again with all seeds.")


def _audit(folder: StudyFolder) -> Iterator[Finding]:
    doubted = [row for row in ranked(folder, "report").rows if row.fails] if folder.study.rows(split="report") else []
    for row in doubted:
        what = f"The audit of {row.label} fails {', '.join(row.fails)}: its robustness is unverified."
        yield Finding(about="audit", what=what, do="Follow the advice of `zsr audit` before you report it.")


def _report(folder: StudyFolder) -> Iterator[Finding]:
    reported = any(trial.role == "final" and folder.is_done(trial) for trial in folder.study.plan)
    if chosen(folder) is not None and not reported:
        what = "The chosen cell has no score on the report split, so its score is that of the best of many."
        yield Finding(about="report split", what=what, do="Launch the sweep to its end: it scores the choice again.")


def health_lines(folder: StudyFolder) -> list[str]:
    """Return the findings as Markdown: a heading, then a line each with what to do."""
    found = findings(folder)
    head = [f"# Health of {folder.study.study}", ""]
    if not found:
        return [*head, "Nothing odd: seeds, noise, edges, failures, collapse, proposals and budgets were looked at."]
    lines = [f"{counted(len(found), 'finding')}, the gravest first."]
    for each in found:
        lines += ["", f"- **{each.about}**: {each.what}", f"  To do: {each.do}"]
    return [*head, *lines]
