"""The rule on what a row is of: one model."""

from __future__ import annotations

from collections.abc import Mapping

from zsr_core.audit.evidence import Probe
from zsr_core.audit.finding import Finding, graded, skipped
from zsr_core.audit.rules.rule import Rule


def g25_identity(columns: Mapping[str, str]) -> Finding:
    """FAIL if the columns of one row were not all measured on one model. ``columns``: column -> its model.

    A model is its weights, preprocessing and prompts: a hash, or in a published table the weights that were stated.
    """
    if not columns:
        return skipped("no column says which model it is of", "Keep the hash of the weights beside every number.")
    models: dict[str, list[str]] = {}
    for column, model in columns.items():
        models.setdefault(model, []).append(column)
    figure = "; ".join(f"{model}: {', '.join(at)}" for model, at in models.items())
    return graded(figure, "Measure every column of the row on one checkpoint.", fail=len(models) > 1)


RULES = (
    Rule(
        id="G25",
        text="One row is one model: every column has the same weights, preprocessing and prompts.",
        needs=(Probe.ANSWERS,),
        judge=lambda e: g25_identity(e.models),
    ),
)
