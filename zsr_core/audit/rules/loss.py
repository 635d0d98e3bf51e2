"""Rules on the loss around an image: attacks that follow its gradient need it to be smooth."""

from __future__ import annotations

from zsr_core.audit.evidence import Evidence, Probe, need
from zsr_core.audit.finding import Finding, graded
from zsr_core.audit.rules.rule import Rule

# Of the range of the loss on the plane: above it the tangent says nothing about the loss. Ours: the untouched miniature
# has 0.8, the fine-tuned one 0.5.
BENT = 1.0


def g23_smooth(change: float, n: int) -> Finding:
    """WARN if random noise in the ball changes the loss by over 10 % in the mean (IndicatorsOfAttackFailure)."""
    figure = f"the loss changes by {100 * change:.1f} % in the mean over the ball, {n} images"
    advice = "The loss is rough at the scale of the ball: average the gradient over noise (EOT) or climb the margin."
    return graded(figure, advice, warn=not change <= 0.1)


def g24_surface(error: float, n: int) -> Finding:
    """WARN if the loss on the plane of gradient and random signs is over :data:`BENT` away from its tangent."""
    figure = f"linearity error {error:.2f} of the loss's range on the plane, {n} images"
    return graded(figure, "Look at the surface; attack with many restarts.", warn=not error <= BENT)


def _judge_surface(e: Evidence) -> Finding:
    surface = need(e.surface, "the loss on a plane")
    return g24_surface(surface.error, surface.n)


RULES = (
    Rule(
        id="G23",
        text="The loss changes by at most 10 % in the mean over random directions in the ball.",
        needs=(Probe.ROUGHNESS,),
        judge=lambda e: g23_smooth(need(e.roughness, "the loss nearby"), e.n),
    ),
    Rule(
        id="G24",
        text="The loss surface on the plane of the gradient's and a random sign is close to linear in the ball.",
        needs=(Probe.SURFACE,),
        judge=_judge_surface,
    ),
)
