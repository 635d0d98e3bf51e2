"""Rules on the input gradient: it exists, it is the gradient of this classifier, and it is not zero."""

from __future__ import annotations

from statistics import median

from zsr_core.audit.evidence import Probe, need
from zsr_core.audit.facts import Gradients, Slopes
from zsr_core.audit.finding import Finding, graded
from zsr_core.audit.rules.rule import Rule


def g03_graph(slopes: Slopes) -> Finding:
    """FAIL without an input gradient, or if the median relative error exceeds 5 %, at the images or around them.

    By hand: errors (0.01, 0.02, 0.9) have the median 0.02 and pass; (0.01, 0.2, 0.9) fail, both at the images and at
    points nearby.
    """
    advice = "Find what detaches, rounds or replaces a gradient between image and logits, or attack it by BPDA."
    if not slopes.errors:
        return graded(f"no gradient reaches the input, {slopes.n} images", advice, fail=True)
    error, near = median(slopes.errors), median(slopes.nearby or (0.0,))
    figure = f"median relative error {100 * error:.2g} % over {len(slopes.errors)} slopes of {slopes.n} images"
    figure += f", {100 * near:.2g} % within the ball" if slopes.nearby else ""
    return graded(figure, advice, fail=not (error <= 0.05 and near <= 0.05))


def g04_zero_gradients(gradients: Gradients) -> Finding:
    """WARN above 0 (IndicatorsOfAttackFailure), FAIL above 1 %."""
    bad = gradients.zero + gradients.non_finite
    figure = f"{gradients.zero} zero and {gradients.non_finite} non-finite gradients of {gradients.n}"
    advice = "Climb the margin instead of cross-entropy, and look for rounding, signs or saturation in the model."
    return graded(figure, advice, warn=bad > 0, fail=bad > 0.01 * gradients.n)


RULES = (
    Rule(
        id="G03",
        text="The input gradient exists and agrees with central differences to 5 % in the median.",
        needs=(Probe.SLOPES,),
        judge=lambda e: g03_graph(need(e.slopes, "slopes by finite differences")),
    ),
    Rule(
        id="G04",
        text="No image has an all-zero or non-finite input gradient; above 1 % of the images fails.",
        needs=(Probe.GRADIENTS,),
        judge=lambda e: g04_zero_gradients(need(e.gradients, "gradients")),
    ),
)
