"""Rules on attacks without this model's gradient: they break hardly an image that its gradient leaves standing."""

from __future__ import annotations

from zsr_core.audit.evidence import FULL, Evidence, Missing, Probe, need
from zsr_core.audit.finding import Finding, graded
from zsr_core.audit.outcomes import Outcomes, only_first_breaks, together
from zsr_core.audit.rules.rule import Rule


def _gained(weak: Outcomes, strong: Outcomes, warn: float, fail: float, advice: str) -> Finding:
    """Grade the images that only ``weak`` breaks, in percent of all images; one image alone never fails."""
    b, n = only_first_breaks(weak, strong), strong.n
    figure = f"{weak.name} breaks {b} of {n} images that {strong.name} leaves standing ({100 * b / n:.2f} %)"
    return graded(figure, advice, warn=100 * b / n > warn, fail=100 * b / n > fail and b > 1)


def g16_noise(noise: Outcomes, pgd: Outcomes) -> Finding:
    """FAIL if random noise breaks over 0.2 % of the images that PGD leaves standing (and more than one)."""
    return _gained(noise, pgd, 0.2, 0.2, "PGD is weaker than random noise there: its gradient misleads it.")


def g17_black_box(square: Outcomes, white_box: Outcomes) -> Finding:
    """WARN if Square breaks over 0.2 % (AutoAttack's flag) of what all white-box attacks leave, FAIL above 1 %."""
    advice = "Gradients are masked: rerun Square with 20,000 queries and report the worst case."
    return _gained(square, white_box, 0.2, 1.0, advice)


def g18_transfer(transfer: Outcomes, white_box: Outcomes) -> Finding:
    """WARN if transferred examples break over 0.5 % of what white-box attacks leave, FAIL above 1 %."""
    advice = "Another model's gradients break what this model's do not: count transfer in the worst case."
    return _gained(transfer, white_box, 0.5, 1.0, advice)


def _judge_noise(e: Evidence) -> Finding:
    noise = need(e.get(Probe.NOISE), "random noise")
    return g16_noise(noise, need(e.own_pgd(noise.standing), "random noise"))


def _judge_transfer(e: Evidence) -> Finding:
    parts = [share for run, share in e.runs.items() if run.probe is Probe.TRANSFER]
    white_box = e.white_box()
    if not parts or white_box is None:
        advice = f"{FULL} It needs another model: the one that was fine-tuned, or a study's other trials."
        raise Missing("not probed: transferred examples", advice)
    return g18_transfer(together("transfer", parts), white_box)


RULES = (
    Rule(
        id="G16",
        text="Random noise in the ball breaks at most 0.2 % of the images that PGD leaves standing.",
        needs=(Probe.NOISE, Probe.PGD100, Probe.RESTARTS),
        judge=_judge_noise,
    ),
    Rule(
        id="G17",
        text="Black-box Square breaks at most 0.2 % of the images that every white-box attack leaves; above 1 % fails.",
        needs=(Probe.AUTOATTACK, Probe.PGD100, Probe.RESTARTS),
        judge=lambda e: g17_black_box(need(e.get(Probe.SQUARE), "Square"), need(e.white_box(), "Square")),
    ),
    Rule(
        id="G18",
        text="Transferred examples break at most 0.5 % of the images that white-box attacks leave; above 1 % fails.",
        needs=(Probe.TRANSFER, Probe.PGD100, Probe.RESTARTS),
        judge=_judge_transfer,
    ),
)
