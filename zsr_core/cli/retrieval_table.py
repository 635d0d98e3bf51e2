"""Image-text retrieval of an evaluation as Markdown: one table a set, a row per condition, no mean over conditions."""

from __future__ import annotations

from collections.abc import Sequence

from zsr_core.cli.cells import cell
from zsr_core.data.shifts.names import corruption_cell, is_shift
from zsr_core.evaluation.measure import Measurement
from zsr_core.evaluation.metrics import RETRIEVAL_NAMES
from zsr_core.evaluation.metrics.retrieval import AT, budget_under
from zsr_core.threat import Norm, budget_text
from zsr_core.trial.result import TrialResult

SAID = {
    "none": "clean", "query": "query attacked", "hiding": "own image attacked", "gallery": "gallery attacked",
    "distractor": "distractor pushed", "embedding": "embedding moved, certified", "noise": "embedding moved at random",
    "token_query": "query's tokens attacked", "token_hiding": "own image's tokens attacked",
}  # fmt: skip


def retrieval_tables(result: TrialResult) -> list[str]:
    """Return the tables, each with its heading; none where retrieval was not measured."""
    suite = result.config.eval_suite
    if suite.retrieval is None:
        return []
    lines: list[str] = []
    for ref in suite.retrieval.sets:
        own = [m for m in result.measurements if m.task == ref.called and m.metric in RETRIEVAL_NAMES]
        lines += _table(ref.called, own, suite.norm) if own else []
    return lines


def _table(name: str, own: Sequence[Measurement], norm: Norm) -> list[str]:
    columns = [f"{way} R@{k}" for way in ("i2t", "t2i") for k in AT]
    lines = [
        f"\nRetrieval on {name}: R@k in percent with 95 % intervals over images, {own[0].n} images.", "",
        "| condition | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns),
    ]  # fmt: skip
    value = {(m.metric, m.attack, m.eps): m for m in own}
    for attack, eps in dict.fromkeys((m.attack, m.eps) for m in own):
        end = "" if attack == "none" else f"_{attack}"
        cells = [value.get((f"{way}_r{k}{end}", attack, eps)) for way in ("i2t", "t2i") for k in AT]
        if any(cells):
            lines.append(f"| {_condition(attack, eps, norm)} | " + " | ".join(cell(m, absent="") for m in cells) + " |")
    lines += _corrupted(own)
    pushed = [m for m in own if m.metric == "t2i_distracted"]
    lines += [
        f"\nA distractor comes first for {cell(m)} % of the captions it is pushed to, at {budget_text(m.eps, norm)}."
        for m in pushed
    ]
    return lines


def _corrupted(own: Sequence[Measurement]) -> list[str]:
    """Return a row for each kind of corruption over its severities, and one over all; none without corruptions."""
    value = {(m.metric, m.attack): m for m in own}
    kinds = [
        attack for attack in dict.fromkeys(m.attack for m in own) if is_shift(attack) and not corruption_cell(attack)
    ]
    if not kinds:
        return []
    lines = []
    for attack in (*kinds, "none"):
        cells = [value.get((f"{way}_r{k}_corrupted", attack)) for way in ("i2t", "t2i") for k in AT]
        name = "all corruptions" if attack == "none" else attack.partition("-")[2]
        lines.append(f"| {name} | " + " | ".join(cell(m) for m in cells) + " |")
    return lines


def _condition(attack: str, eps: float, norm: Norm) -> str:
    if attack == "none":
        return SAID[attack]
    return f"{SAID[attack]}, {budget_under(attack, eps, norm)}"
