"""Rules on gaps between robust accuracies: PGD, AutoAttack, the adaptive attack, the worst case, and the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping

from zsr_core.audit.evidence import Evidence, Missing, Probe, need
from zsr_core.audit.facts import Row
from zsr_core.audit.finding import Finding, graded, skipped
from zsr_core.audit.outcomes import TOLERANCE, Share, beats, of_images, percent, points
from zsr_core.audit.rules.rule import Rule
from zsr_core.evaluation.measure import WORST, score_task


def g19_gap(pgd: Share, aa: Share) -> Finding:
    """WARN if robust accuracy under AutoAttack is over 3 points or 10 % below PGD's; FAIL above 5 points or 20 %.

    The limits in percent count only from half a point on. By hand: PGD 42.09, AutoAttack 30.77 is a gap of 11.32
    points, 26.9 %, and fails; 28.06 and 26.55 (1.51, 5.4 %) pass.
    """
    before, gap = percent(pgd), percent(pgd) - percent(aa)
    part = gap / before if before > 0 and gap > TOLERANCE else 0.0
    fails = beats(aa, pgd) and (gap > 5 or part > 0.2)
    figure = f"PGD {before:.2f} %, AutoAttack {percent(aa):.2f} %{of_images(pgd, aa)}: {points(gap)} "
    advice = "Report AutoAttack or the worst case, not PGD."
    return graded(f"{figure}({100 * part:.1f} %)", advice, warn=gap > 3 or part > 0.1, fail=fails)


def g20_ensemble(attacks: Mapping[str, Share], *, worst: Share | None, pgd: Share | None, aa: Share | None) -> Finding:
    """FAIL if the worst case exceeds one of its attacks, or AutoAttack leaves significantly more than PGD does.

    By hand: PGD 18.25, AutoAttack 19.78 differ by -1.53 points and fail: not the same model, or not the same images.
    """
    above = [] if worst is None else [name for name, share in attacks.items() if percent(worst) > percent(share) + 1e-6]
    weaker = pgd is not None and aa is not None and beats(pgd, aa)
    if (worst is None or len(attacks) < 2) and (pgd is None or aa is None):
        return skipped("one attack only, and no AutoAttack", "Run AutoAttack beside PGD.")
    named = {**attacks, **({"worst case": worst} if worst is not None else {})}
    compared = (("PGD", pgd), ("AutoAttack", aa)) if pgd is not None and aa is not None else ()
    named |= {f"{name}{of_images(share)}": share for name, share in compared if share is not None}
    figure = ", ".join(f"{name} {percent(share):.2f} %" for name, share in named.items())
    advice = "Look for different checkpoints, different images or a bookkeeping error in this row."
    return graded(figure, advice, fail=bool(above) or weaker)


def g21_adaptive(adaptive: Share, aa: Share) -> Finding:
    """WARN if the adaptive attack is over 1 point weaker or stronger than AutoAttack.

    By hand: adaptive 28.06 and AutoAttack 26.55 warn (under-tuned), 17.53 and 19.78 warn (AutoAttack does not suffice),
    27.50 and 28.28 pass.
    """
    gap = percent(adaptive) - percent(aa)
    shares = f"adaptive {percent(adaptive):.2f} %, AutoAttack {percent(aa):.2f} %{of_images(adaptive, aa)}"
    advice = (
        "The adaptive attack is under-tuned: sweep its temperature and weight."
        if gap > 0
        else "AutoAttack does not suffice here: report the worst case of both."
    )
    return graded(f"{shares}: {gap:+.2f} points", advice, warn=abs(gap) > 1)


def g22_too_good(own: Row, baseline: Row) -> Finding:
    """FAIL if clean rises over 3 and PGD over 5 points on the baseline while the worst case rises under 2.

    By hand: clean 46.7 -> 55.4, PGD 30.7 -> 44.5, AutoAttack 31.0 -> 31.4 fails.
    """
    clean, pgd, worst = own.clean - baseline.clean, own.pgd - baseline.pgd, own.worst - baseline.worst
    figure = f"above the baseline: clean {clean:+.2f}, PGD {pgd:+.2f}, worst case {worst:+.2f} points"
    advice = "The gain is not confirmed by strong attacks: report the worst case."
    return graded(figure, advice, fail=clean > 3 and pgd > 5 and worst < 2)


def _judge_gap(e: Evidence) -> Finding:
    what = "AutoAttack and PGD"
    aa = need(e.get(Probe.AUTOATTACK), what)
    return g19_gap(need(e.own_pgd(aa.standing), what), aa)


def _judge_ensemble(e: Evidence) -> Finding:
    scored = score_task(e.evaluation.measurements)
    mean = [
        m for m in e.evaluation.measurements
        if m.task == scored and m.metric == "robust" and math.isclose(m.eps, e.threat.eps, rel_tol=1e-6)
    ]  # fmt: skip
    attacks: dict[str, Share] = {m.attack: m.value for m in mean if m.attack != WORST and m.value is not None}
    worst = next((m.value for m in mean if m.attack == WORST), None)
    aa = e.get(Probe.AUTOATTACK)
    return g20_ensemble(attacks, worst=worst, pgd=e.own_pgd(aa.standing) if aa else None, aa=aa)


def _judge_adaptive(e: Evidence) -> Finding:
    what = "AutoAttack and the adaptive attack"
    aa, adaptive = need(e.get(Probe.AUTOATTACK), what), need(e.get(Probe.ADAPTIVE), what)
    common = aa.standing.keys() & adaptive.standing.keys()
    return g21_adaptive(adaptive.on(common), aa.on(common))


def _judge_too_good(e: Evidence) -> Finding:
    own, baseline = e.evaluation.own, e.evaluation.baseline
    if own is None or baseline is None:
        reason = "no TeCoA of the same budget beside it, both under PGD and stronger attacks"
        raise Missing(reason, "Add TeCoA to the study.")
    return g22_too_good(own, baseline)


RULES = (
    Rule(
        id="G19",
        text="AutoAttack takes at most 3 points and 10 % off PGD's robust accuracy; above 5 points or 20 % fails.",
        needs=(Probe.AUTOATTACK, Probe.PGD100, Probe.RESTARTS),
        judge=_judge_gap,
    ),
    Rule(
        id="G20",
        text="An ensemble leaves no more standing than its parts: AutoAttack <= PGD + 0.5 points, worst case <= each.",
        needs=(Probe.AUTOATTACK, Probe.PGD100, Probe.RESTARTS),
        judge=_judge_ensemble,
    ),
    Rule(
        id="G21",
        text="The adaptive attack and AutoAttack agree to 1 point, either way.",
        needs=(Probe.AUTOATTACK, Probe.ADAPTIVE),
        judge=_judge_adaptive,
    ),
    Rule(
        id="G22",
        text="Clean up over 3 and PGD up over 5 points on the baseline must show in the worst case: up 2 or more.",
        needs=(),
        judge=_judge_too_good,
    ),
)
