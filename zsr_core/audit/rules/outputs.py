"""Rules on the classifier's outputs: they are logits, and they do not change from pass to pass."""

from __future__ import annotations

from zsr_core.audit.evidence import Probe, need
from zsr_core.audit.facts import Outputs, Repeats
from zsr_core.audit.finding import Finding, graded
from zsr_core.audit.rules.rule import Rule


def g01_logits(outputs: Outputs) -> Finding:
    """FAIL if all outputs lie on the simplex, to AutoAttack's 1e-5, because the loss saturates on probabilities."""
    simplex = outputs.low > -1e-5 and outputs.high < 1 + 1e-5 and outputs.sum_gap < 1e-3
    figure = f"outputs in [{outputs.low:.4g}, {outputs.high:.4g}], sums within {outputs.sum_gap:.2g} of 1"
    return graded(f"{figure}, {outputs.n} images", "Let attacks see the logits.", fail=simplex)


def g02_deterministic(repeats: Repeats) -> Finding:
    """FAIL above a gap of 1e-4 (AutoAttack's); only WARN if the attacks average over draws already."""
    random = repeats.gap > 1e-4
    figure = f"{repeats.passes} passes: logits differ by {repeats.gap:.2g}, {repeats.changed} of {repeats.n} answers"
    if random and repeats.eot:
        advice = f"Attacks average {repeats.eot} draws: check that more draws break no more images."
        return graded(f"{figure}; attacked by EOT over {repeats.eot} draws", advice, warn=True)
    advice = "Attack it by EOT, the mean over draws (defence.attack_samples), or switch off what is random."
    return graded(figure, advice, fail=random)


RULES = (
    Rule(
        id="G01",
        text="Logits are logits: outputs that lie on the simplex are probabilities, and fail.",
        needs=(Probe.ANSWERS,),
        judge=lambda e: g01_logits(need(e.outputs, "the range of the outputs")),
    ),
    Rule(
        id="G02",
        text="Five forward passes agree: same predictions, normalised logits within 1e-4.",
        needs=(Probe.ANSWERS,),
        judge=lambda e: g02_deterministic(need(e.repeats, "repeated passes")),
    ),
)
