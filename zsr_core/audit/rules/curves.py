"""Rules on robust accuracy over the budget eps."""

from __future__ import annotations

import math
from collections.abc import Mapping

from zsr_core.attacks import Pgd
from zsr_core.audit.evidence import Evidence, Missing, Probe, need
from zsr_core.audit.finding import Finding, graded, skipped
from zsr_core.audit.outcomes import Outcomes, Share, beats, of_images, outcomes, percent, together
from zsr_core.audit.rules.rule import Rule
from zsr_core.threat import Norm, budget_text


def g13_monotone(curve: Mapping[float, Share], norm: Norm = "linf") -> Finding:
    """FAIL if a larger budget leaves significantly more standing. ``curve``: eps -> robust accuracy.

    By hand: {1/255: 30.0, 2/255: 30.4} passes, {1/255: 30.0, 2/255: 30.6} fails.
    """
    if len(curve) < 2:
        return skipped("one budget only", "Attack at several eps.")
    ladder = [curve[eps] for eps in sorted(curve)]
    fails = any(beats(small, large) for i, small in enumerate(ladder) for large in ladder[i + 1 :])
    return graded(_curve_text(curve, norm), "A larger ball holds the smaller one: fix the attack.", fail=fails)


def _curve_text(curve: Mapping[float, Share], norm: Norm) -> str:
    return ", ".join(f"{budget_text(eps, norm)} {percent(curve[eps]):.2f} %" for eps in sorted(curve))


def g14_big_eps(half: Share, largest_class: float, whole: Share) -> Finding:
    """FAIL if more than the largest class stands at eps = 0.5 (grey is within reach), or over 1 % at eps = 1.

    ``largest_class`` in percent of the images. At eps = 1 one image of a small set does not fail.
    """
    one = 100 / whole.n if isinstance(whole, Outcomes) else 0.0
    fails = percent(half) > largest_class + 1e-9 or percent(whole) > max(1.0, one) + 1e-9
    figure = f"eps 0.5: {percent(half):.2f} % (bound {largest_class:.2f} %), eps 1: {percent(whole):.2f} %"
    advice = "The attack is broken, because no defence can be robust in so large a ball."
    return graded(f"{figure}{of_images(half)}", advice, fail=fails)


def g15_curve(curve: Mapping[float, Share], *, step_shrinks: bool) -> Finding:
    """WARN if over 20 % stand at 8/255, or over 60 % is lost on doubling eps while step / eps is halved too.

    ``step_shrinks``: the step stays the same in pixels from budget to budget, as in most published tables. By hand:
    {1/255: 42.09, 2/255: 11.48} loses 72.7 % and warns; {8/255: 55.3} warns.
    """
    at_8 = [share for eps, share in curve.items() if math.isclose(eps, 8 / 255, rel_tol=1e-6)]
    doubled = [(eps, other) for eps in curve for other in curve if math.isclose(other, 2 * eps, rel_tol=1e-6)]
    if not at_8 and not (step_shrinks and doubled):
        return skipped("no budget of 8/255", "Attack at 8/255, where hardly an image should stand.")
    lost = [1 - percent(curve[b]) / percent(curve[a]) for a, b in doubled if percent(curve[a]) > 0]
    cliff = step_shrinks and max(lost, default=0.0) > 0.6
    low = [eps for eps in sorted(curve) if percent(curve[eps]) < 5]
    below = f"below 5 % from {255 * low[0]:.3g}/255" if low else "nowhere below 5 %"
    high = any(percent(share) > 20 for share in at_8)
    advice = "Attack harder at the large budgets, with a step that grows with eps, before this curve is believed."
    return graded(f"{_curve_text(curve, 'linf')}; {below}", advice, warn=high or cliff)


def _probed(e: Evidence) -> Mapping[float, Share]:
    """Return the curve of the probes, PGD-10 at the audited budget and at others; empty if none was made."""
    here = e.get(Probe.PGD10)
    others = {float(run.setting): share for run, share in e.runs.items()
              if run.probe is Probe.BUDGET and run.setting is not None}  # fmt: skip
    return {**({e.threat.eps: here} if here is not None else {}), **others}


def _curve(e: Evidence) -> Mapping[float, Share]:
    """Return the probed curve, or else the evaluation's own worst case at each of its budgets."""
    probed = _probed(e)
    if probed:
        return probed
    records, names = e.evaluation.records, [a.name for a in e.evaluation.attacks]
    curve: dict[float, Share] = {}
    for eps in sorted({r.eps for r in records if r.condition in names}):
        parts = [part for name in names if (part := outcomes(records, name, eps)) is not None]
        curve[eps] = together("the evaluation's attacks", parts)
    return curve


def _judge_big_eps(e: Evidence) -> Finding:
    what = "attacks at eps 0.5 and 1"
    half, whole = need(e.get(Probe.BALL_HALF), what), need(e.get(Probe.BALL_WHOLE), what)
    return g14_big_eps(half, need(e.largest_class, what), whole)


def _judge_curve(e: Evidence) -> Finding:
    if e.threat.norm != "linf":
        raise Missing("its limits are for linf", "Read the curve of G13.")
    fixed_step = any(isinstance(a, Pgd) and a.step_size is not None for a in e.evaluation.attacks)
    return g15_curve(_curve(e), step_shrinks=fixed_step and not _probed(e))


RULES = (
    Rule(
        id="G13",
        text="Robust accuracy falls as eps grows: RA(larger eps) <= RA(smaller eps) + 0.5 points.",
        needs=(Probe.PGD10, Probe.BUDGET),
        judge=lambda e: g13_monotone(_curve(e), e.threat.norm),
    ),
    Rule(
        id="G14",
        text="A huge ball breaks everything: at eps = 0.5 all but the largest class, at eps = 1 all but 1 %.",
        needs=(Probe.BALL_HALF, Probe.BALL_WHOLE),
        judge=_judge_big_eps,
    ),
    Rule(
        id="G15",
        text="The curve over eps looks like a defence's: at most 20 % at 8/255, at most 60 % lost on doubling eps.",
        needs=(Probe.PGD10, Probe.BUDGET),
        judge=_judge_curve,
    ),
)
