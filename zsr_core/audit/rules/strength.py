"""Rules on the strength of an attack: no change of one of its settings breaks many more images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from zsr_core.audit.evidence import Evidence, Missing, Probe, need
from zsr_core.audit.facts import Feasibility, Watched
from zsr_core.audit.finding import Finding, graded
from zsr_core.audit.outcomes import TOLERANCE, Share, beats, of_images, percent, points
from zsr_core.audit.rules.rule import Rule

STEPS: Mapping[Probe, str] = {Probe.STEP_1: "eps", Probe.STEP_4: "eps/4", Probe.STEP_10: "eps/10"}


def g05_precision(amp: Share, fp32: Share, dtype: str) -> Finding:
    """WARN if robust accuracy under autocast is over 0.5 points above that in fp32, FAIL above 2."""
    more = percent(amp) - percent(fp32)
    figure = f"{dtype} {percent(amp):.2f} %, fp32 {percent(fp32):.2f} %{of_images(amp, fp32)}: {more:+.2f} points"
    advice = "Attack in fp32 with per-sample sums; numbers of half-precision attacks look too high."
    return graded(figure, advice, warn=more > TOLERANCE, fail=beats(fp32, amp, 2))


def g05_in_fp32() -> Finding:
    """PASS for a number whose attacks ran in fp32, because there is no other precision to compare with."""
    return graded("the evaluation's attacks ran in fp32", "")


def g06_scale(by_temperature: Mapping[float, Share]) -> Finding:
    """WARN if PGD on z/T leaves over 1 point fewer standing than on z, FAIL above 3 (predictions are the same).

    Only a fall counts. With a flat softmax (T = 100) cross-entropy pushes towards the mean of the other logits, which
    is a weaker attack on any model.
    """
    own = by_temperature[1.0]
    least = min(by_temperature, key=lambda t: percent(by_temperature[t]))
    loss = percent(own) - percent(by_temperature[least])
    shares = ", ".join(f"T={t:g} {percent(share):.2f} %" for t, share in sorted(by_temperature.items()))
    advice = "Cross-entropy saturates at this logit scale: climb the margin, or the logits divided by the scale."
    return graded(f"{shares}{of_images(own)}", advice, warn=loss > 1, fail=beats(by_temperature[least], own, 3))


def g07_feasible(checked: Feasibility) -> Finding:
    """FAIL outside the ball (by 1e-6) or the box, or if robust accuracy is not reproduced; WARN if 8 bits undo it.

    By hand: excess 0, outside 0, changed 0, rounded 1.5 warns; excess 2e-6 fails.
    """
    infeasible = checked.excess > 1e-6 or checked.outside > 0 or checked.changed > 0
    figure = (
        f"beyond eps by {max(checked.excess, 0.0):.2g}, {checked.outside} outside the box, {checked.changed} of "
        f"{checked.n} judged otherwise, in 8 bits {checked.rounded:+.2f} points"
    )
    advice = (
        "Project what the attack returns and judge it again."
        if infeasible
        else "Attack on the 8-bit grid: rounding undoes some of these examples."
    )
    return graded(figure, advice, warn=abs(checked.rounded) > 1, fail=infeasible)


def g08_steps(by_steps: Mapping[int, Share]) -> Finding:
    """FAIL if fewer steps break significantly more images than more steps: {1: FGSM, 10: PGD-10, 100: PGD-100}."""
    ordered = [by_steps[k] for k in sorted(by_steps)]
    fails = any(beats(few, many) for few, many in itertools.pairwise(ordered))
    figure = ", ".join(f"{k} steps {percent(by_steps[k]):.2f} %" for k in sorted(by_steps))
    advice = "More steps make this attack worse: look for masked gradients, or a step that overshoots."
    return graded(f"{figure}{of_images(*ordered)}", advice, fail=fails)


def g09_converged(pgd50: Share, pgd100: Share, moving: float | None = None) -> Finding:
    """WARN if steps 51 to 100 cost over 1 point or more than 10 % of the losses still move; FAIL above 3 points.

    ``moving``: the share of robust images whose best loss, rescaled to its own range, rose by over 0.05 in the last
    10 steps (IndicatorsOfAttackFailure); None if the attack was not watched.
    """
    loss = percent(pgd50) - percent(pgd100)
    still = "" if moving is None else f", {100 * moving:.1f} % of the losses still move"
    figure = f"50 steps {percent(pgd50):.2f} %, 100 steps {percent(pgd100):.2f} %{of_images(pgd50)}{still}"
    advice = "Give the attack more steps until its losses no longer rise."
    return graded(figure, advice, warn=loss > 1 or (moving or 0.0) > 0.1, fail=beats(pgd100, pgd50, 3))


def g10_step_size(by_step: Mapping[str, Share], headline: Share) -> Finding:
    """WARN if the step changes robust accuracy by over 1 point; FAIL if the headline is over 2 above the least."""
    values = {name: percent(share) for name, share in by_step.items()}
    least = min(values, key=lambda name: values[name])
    spread = max(values.values()) - values[least]
    figure = ", ".join(f"{name} {value:.2f} %" for name, value in values.items())
    figure = f"{figure}; headline {percent(headline):.2f} %{of_images(headline)}"
    advice = f"Report the least, {values[least]:.2f} % with {least}."
    return graded(figure, advice, warn=spread > 1, fail=beats(by_step[least], headline, 2))


def g11_silent_success(silent: int, n: int) -> Finding:
    """WARN if an image was broken during the attack but counts as robust; FAIL if over 1 % of all images were."""
    figure = f"{silent} of {n} images broken on the way and counted as robust"
    return graded(figure, "Keep the best iterate, not the last.", warn=silent > 0, fail=silent > 0.01 * n)


def g12_restarts(one: Share, five: Share) -> Finding:
    """WARN if five restarts cost over 1 point, FAIL above 3."""
    loss = percent(one) - percent(five)
    figure = f"1 start {percent(one):.2f} %, 5 starts {percent(five):.2f} %{of_images(one)}: {points(loss)}"
    return graded(figure, "Report the worst case over several restarts.", warn=loss > 1, fail=beats(five, one, 3))


def _judge_precision(e: Evidence) -> Finding:
    if e.autocast == "none":
        return g05_in_fp32()
    return g05_precision(e.run(Probe.PRECISION, e.autocast), e.run(Probe.PGD50), e.autocast)


def _watched(e: Evidence) -> Watched:
    if not e.certain:
        raise Missing("a randomised defence: what is judged is one draw of it", "Judge it over many draws.")
    return need(e.watched, "an attack of the evaluation, of one stage, run again and watched")


def _judge_feasibility(e: Evidence) -> Finding:
    checked = _watched(e).feasibility(e.threat, e.n)
    attacked = [r for r in e.evaluation.records if r.condition != "none"]
    beyond = [(r.linf if r.norm == "linf" else r.l2) - r.eps for r in attacked]
    return g07_feasible(replace(checked, excess=max([checked.excess, *beyond])))


def _judge_step_size(e: Evidence) -> Finding:
    by_step = {name: share for probe, name in STEPS.items() if (share := e.get(probe)) is not None}
    what = "the evaluation's PGD with other steps"
    return g10_step_size(need(by_step or None, what), need(e.headline, what))


RULES = (
    Rule(
        id="G05",
        text="Attacking in the user's precision leaves at most 0.5 points more standing than in fp32; above 2 fails.",
        needs=(Probe.PGD50, Probe.PRECISION),
        judge=_judge_precision,
    ),
    Rule(
        id="G06",
        text="Attacking the logits divided by 10 or 100 breaks at most 1 point more; above 3 fails.",
        needs=(Probe.PGD50, Probe.SCALE_10, Probe.SCALE_100),
        judge=lambda e: g06_scale(
            {1.0: e.run(Probe.PGD50), 10.0: e.run(Probe.SCALE_10), 100.0: e.run(Probe.SCALE_100)}
        ),
    ),
    Rule(
        id="G07",
        text="Every adversarial image lies in the ball and in [0, 1], and robust accuracy recomputed from it agrees.",
        needs=(Probe.WATCHED,),
        judge=_judge_feasibility,
    ),
    Rule(
        id="G08",
        text="More steps never help the defence: FGSM >= PGD-10 >= PGD-100, within 0.5 points.",
        needs=(Probe.FGSM, Probe.PGD10, Probe.PGD100),
        judge=lambda e: g08_steps({1: e.run(Probe.FGSM), 10: e.run(Probe.PGD10), 100: e.run(Probe.PGD100)}),
    ),
    Rule(
        id="G09",
        text="The attack has converged: 50 to 100 steps cost at most 1 point; above 3 fails.",
        needs=(Probe.PGD50, Probe.PGD100),
        judge=lambda e: g09_converged(e.run(Probe.PGD50), e.run(Probe.PGD100), e.moving),
    ),
    Rule(
        id="G10",
        text="The step size does not decide: eps, eps/4 and eps/10 agree to 1 point; a headline 2 above the least "
        "fails.",
        needs=tuple(STEPS),
        judge=_judge_step_size,
    ),
    Rule(
        id="G11",
        text="No image is broken on the way and standing at the end; above 1 point counted as robust fails.",
        needs=(Probe.WATCHED,),
        judge=lambda e: g11_silent_success(_watched(e).silent, e.n),
    ),
    Rule(
        id="G12",
        text="Five restarts instead of one cost at most 1 point; above 3 fails.",
        needs=(Probe.PGD50, Probe.RESTARTS),
        judge=lambda e: g12_restarts(e.run(Probe.PGD50), e.run(Probe.RESTARTS)),
    ),
)
