"""The rule on a model that ignores its input: it looks robust, because nothing changes its answer."""

from __future__ import annotations

from zsr_core.audit.evidence import Evidence, Missing, Probe
from zsr_core.audit.finding import Finding, graded
from zsr_core.audit.rules.rule import Rule
from zsr_core.evaluation.collapse import UNEVEN, Collapse, clean_answers, collapse


def g27_answers(found: Collapse) -> Finding:
    """FAIL if clean accuracy is not above chance, or the predictions are mostly one class; WARN if they are uneven."""
    advice = "Do not report it: a model that ignores its input is robust to everything. Train it less or more gently."
    uneven = found.excess >= UNEVEN
    if uneven and not found.collapsed:
        advice = "Look at the predictions by class: one class gets far more images than it has."
    return graded(found.text, advice, warn=uneven, fail=found.collapsed)


def _judge(e: Evidence) -> Finding:
    found = collapse(clean_answers(e.evaluation.records))
    if found is None:
        raise Missing("no clean records", "Keep the records of the clean images: samples.parquet.")
    return g27_answers(found)


RULES = (
    Rule(
        id="G27",
        text="The model answers to its input: clean accuracy is above chance, predictions are not mostly one class.",
        needs=(Probe.ANSWERS,),
        judge=_judge,
    ),
)
