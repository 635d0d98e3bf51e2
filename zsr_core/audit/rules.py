"""The audit's rules G01 to G25: each a pure function of outcomes and probes to a verdict; nothing here runs a model.

A rule that compares robust accuracies takes them as :data:`Share`: per-image outcomes of an attack, or a published
percentage. Outcomes are compared image by image: a limit counts as passed for FAIL only where the exact one-sided
McNemar test says so too (p < 0.01), so that one image of a small set fails nobody. Of two percentages only the
difference is known. Limits are in points; those without a source are ours (see ``verdict.RULES``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from zsr_core.audit.verdict import Verdict, VerdictStatus
from zsr_core.codec import require
from zsr_core.records import SampleRecord
from zsr_core.threat import Norm, budget_text

TOLERANCE = 0.5  # points: differences below it are nobody's
SURE = 0.01  # the p-value below which one attack beats another
BENT = (
    1.0  # of the range of the loss on the plane: there its tangent says nothing (untouched, tuned miniature: 0.8, 0.5)
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Which images one attack leaves standing, by (task, sample id). An image that is wrong when clean has fallen."""

    name: str
    standing: Mapping[tuple[str, str], bool]

    def __post_init__(self) -> None:
        require(len(self.standing) > 0, f"outcomes of {self.name}", 0, "at least one image")

    @property
    def n(self) -> int:
        return len(self.standing)

    def on(self, keys: Collection[tuple[str, str]]) -> Outcomes:
        """Return the outcomes on these images alone."""
        return Outcomes(name=self.name, standing={k: stands for k, stands in self.standing.items() if k in keys})


Share = Outcomes | float  # a float is robust accuracy in percent


def percent(share: Share) -> float:
    """Return robust accuracy in percent."""
    return 100 * sum(share.standing.values()) / share.n if isinstance(share, Outcomes) else float(share)


def outcomes(records: Iterable[SampleRecord], condition: str, eps: float) -> Outcomes | None:
    """Return the outcomes of ``condition`` ("none": clean) at ``eps`` among ``records``; None where there are none."""
    of = [r for r in records if r.condition == condition and math.isclose(r.eps, eps, rel_tol=1e-6, abs_tol=1e-9)]
    return Outcomes(name=condition, standing={(r.task, r.sample_id): r.correct for r in of}) if of else None


def together(name: str, parts: Sequence[Outcomes]) -> Outcomes:
    """Return the worst case per image over ``parts``, on the images that all of them faced."""
    common = [key for key in parts[0].standing if all(key in part.standing for part in parts)]
    return Outcomes(name=name, standing={key: all(part.standing[key] for part in parts) for key in common})


def only_first_breaks(a: Outcomes, b: Outcomes) -> int:
    """Return how many images ``a`` breaks that ``b`` leaves standing, of those that both faced: b(A, B)."""
    return sum(not stands and b.standing.get(key, False) for key, stands in a.standing.items())


def mcnemar(b: int, c: int) -> float:
    """Return the exact one-sided p-value of ``b`` against ``c`` discordant images: P(X >= b), X ~ Bin(b + c, 1/2).

    By hand: mcnemar(7, 0) = 1/128; mcnemar(3, 1) = (4 + 1)/16; mcnemar(0, 5) = 1.
    """
    tail = sum(math.comb(b + c, k) for k in range(b, b + c + 1))
    return float(Fraction(tail, 1 << (b + c)))


def beats(a: Share, b: Share, limit: float = TOLERANCE) -> bool:
    """Return whether attack ``a`` leaves more than ``limit`` points fewer standing than ``b``, and surely so.

    Outcomes: exact one-sided McNemar p < 0.01 besides. Percentages: the difference alone.
    """
    if percent(b) - percent(a) <= limit + 1e-9:
        return False
    if not (isinstance(a, Outcomes) and isinstance(b, Outcomes)):
        return True
    require(a.standing.keys() == b.standing.keys(), "outcomes", [a.name, b.name], "attacks on the same images")
    return mcnemar(only_first_breaks(a, b), only_first_breaks(b, a)) < SURE


def skip(rule: str, reason: str, advice: str) -> Verdict:
    """Return the verdict of a rule that could not be tested, and what would let it be."""
    return Verdict(rule=rule, status="SKIP", figure=reason, advice=advice)


def _say(rule: str, status: VerdictStatus, figure: str, advice: str) -> Verdict:
    return Verdict(rule=rule, status=status, figure=figure, advice="" if status == "PASS" else advice)


def _grade(warn: bool, fail: bool) -> VerdictStatus:
    return "FAIL" if fail else "WARN" if warn else "PASS"


def _of(*shares: Share) -> str:
    counts = {share.n for share in shares if isinstance(share, Outcomes)}
    return f" of {min(counts)} images" if counts else ""


def _points(value: float) -> str:
    return f"{value:.2f} points"


# --- the classifier -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The range of a classifier's outputs over ``n`` images, and how far from 1 their sum over the classes gets."""

    low: float
    high: float
    sum_gap: float  # max over images of |sum over classes - 1|
    n: int


def g01_logits(outputs: Outputs) -> Verdict:
    """FAIL where all outputs lie on the simplex, to AutoAttack's 1e-5: probabilities saturate what attacks climb."""
    simplex = outputs.low > -1e-5 and outputs.high < 1 + 1e-5 and outputs.sum_gap < 1e-3
    figure = f"outputs in [{outputs.low:.4g}, {outputs.high:.4g}], sums within {outputs.sum_gap:.2g} of 1"
    return _say("G01", _grade(False, simplex), f"{figure}, {outputs.n} images", "Let attacks see the logits.")


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How much the answers of several forward passes over the same ``n`` images differ."""

    passes: int
    changed: int  # images whose prediction is not the same in all passes
    gap: float  # largest difference of the logits over their l2 norm
    n: int
    eot: int = 0  # draws of a randomised defence that attacks average


def g02_deterministic(repeats: Repeats) -> Verdict:
    """FAIL above a gap of 1e-4 (AutoAttack's); WARN where the attacks average over draws already."""
    random = repeats.gap > 1e-4
    figure = f"{repeats.passes} passes: logits differ by {repeats.gap:.2g}, {repeats.changed} of {repeats.n} answers"
    if random and repeats.eot:
        advice = f"Attacks average {repeats.eot} draws: check that more draws break no more images."
        return _say("G02", "WARN", f"{figure}; attacked by EOT over {repeats.eot} draws", advice)
    advice = "Attack it by EOT, the mean over draws (defence.attack_samples), or switch off what is random."
    return _say("G02", _grade(False, random), figure, advice)


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """Autograd against central differences: one relative error per image and direction; none without a gradient."""

    errors: tuple[float, ...]  # at the images
    n: int
    nearby: tuple[float, ...] = ()  # at random points of the ball around them


def g03_graph(slopes: Slopes) -> Verdict:
    """FAIL without an input gradient, or where the median relative error exceeds 5 %, at the images or around them.

    By hand: errors (0.01, 0.02, 0.9) have the median 0.02 and pass; (0.01, 0.2, 0.9) fail, be they of the images or of
    points nearby.
    """
    advice = "Find what detaches, rounds or replaces a gradient between image and logits, or attack it by BPDA."
    if not slopes.errors:
        return _say("G03", "FAIL", f"no gradient reaches the input, {slopes.n} images", advice)
    error, near = median(slopes.errors), median(slopes.nearby or (0.0,))
    figure = f"median relative error {100 * error:.2g} % over {len(slopes.errors)} slopes of {slopes.n} images"
    figure += f", {100 * near:.2g} % within the ball" if slopes.nearby else ""
    return _say("G03", _grade(False, not (error <= 0.05 and near <= 0.05)), figure, advice)


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """How many of ``n`` images have an input gradient that is zero everywhere, or not finite somewhere."""

    zero: int
    non_finite: int
    n: int


def g04_zero_gradients(gradients: Gradients) -> Verdict:
    """WARN above 0 (IndicatorsOfAttackFailure), FAIL above 1 %."""
    bad = gradients.zero + gradients.non_finite
    figure = f"{gradients.zero} zero and {gradients.non_finite} non-finite gradients of {gradients.n}"
    advice = "Climb the margin instead of cross-entropy, and look for rounding, signs or saturation in the model."
    return _say("G04", _grade(bad > 0, bad > 0.01 * gradients.n), figure, advice)


# --- the attack's settings ------------------------------------------------------------------------------------------


def g05_precision(amp: Share, fp32: Share, dtype: str) -> Verdict:
    """WARN where the attack under autocast leaves over 0.5 points more standing than in fp32, FAIL above 2."""
    more = percent(amp) - percent(fp32)
    figure = f"{dtype} {percent(amp):.2f} %, fp32 {percent(fp32):.2f} %{_of(amp, fp32)}: {more:+.2f} points"
    advice = "Attack in fp32 with per-sample sums; numbers of half-precision attacks look too high."
    return _say("G05", _grade(more > TOLERANCE, beats(fp32, amp, 2)), figure, advice)


def g05_in_fp32() -> Verdict:
    """PASS for a number whose attacks ran in fp32: there is no other precision to compare with."""
    return _say("G05", "PASS", "the evaluation's attacks ran in fp32", "")


def g06_scale(by_temperature: Mapping[float, Share]) -> Verdict:
    """WARN where PGD on z/T leaves over 1 point fewer standing than on z, FAIL above 3 (predictions are the same).

    Only a fall counts: a flat softmax (T = 100) makes cross-entropy chase the mean of the other logits, a weaker
    attack, whatever the model.
    """
    own = by_temperature[1.0]
    least = min(by_temperature, key=lambda t: percent(by_temperature[t]))
    loss = percent(own) - percent(by_temperature[least])
    shares = ", ".join(f"T={t:g} {percent(share):.2f} %" for t, share in sorted(by_temperature.items()))
    advice = "Cross-entropy saturates at this logit scale: climb the margin, or the logits divided by the scale."
    return _say("G06", _grade(loss > 1, beats(by_temperature[least], own, 3)), f"{shares}{_of(own)}", advice)


@dataclass(frozen=True, kw_only=True)
class Feasibility:
    """What became of the images that an attack returned, checked again."""

    n: int
    excess: float  # the largest perturbation beyond eps, in [0, 1] pixel units of the norm; negative inside
    outside: int  # images with a pixel outside [0, 1], or not finite
    changed: int  # images that another pass judges otherwise than the records say
    rounded: float  # robust accuracy of the images in 8 bits, minus that of the images as they are, in points


def g07_feasible(found: Feasibility) -> Verdict:
    """FAIL outside the ball (by 1e-6) or the box, or where robust accuracy is not reproduced; WARN if 8 bits undo it.

    By hand: excess 0, outside 0, changed 0, rounded 1.5 warns; excess 2e-6 fails.
    """
    broken = found.excess > 1e-6 or found.outside > 0 or found.changed > 0
    figure = (
        f"beyond eps by {max(found.excess, 0.0):.2g}, {found.outside} outside the box, {found.changed} of {found.n} "
        f"judged otherwise, in 8 bits {found.rounded:+.2f} points"
    )
    advice = (
        "Project what the attack returns and judge it again."
        if broken
        else "Attack on the 8-bit grid: rounding undoes some of these examples."
    )
    return _say("G07", _grade(abs(found.rounded) > 1, broken), figure, advice)


def g08_steps(by_steps: Mapping[int, Share]) -> Verdict:
    """FAIL where fewer steps surely break more images than more steps: {1: FGSM, 10: PGD-10, 100: PGD-100}."""
    ordered = [by_steps[k] for k in sorted(by_steps)]
    fails = any(beats(few, many) for few, many in itertools.pairwise(ordered))
    figure = ", ".join(f"{k} steps {percent(by_steps[k]):.2f} %" for k in sorted(by_steps))
    advice = "Iterating makes this attack worse: look for masked gradients, or a step that overshoots."
    return _say("G08", _grade(False, fails), f"{figure}{_of(*ordered)}", advice)


def g09_converged(pgd50: Share, pgd100: Share, moving: float | None = None) -> Verdict:
    """WARN where steps 51 to 100 cost over 1 point or more than 10 % of the losses still move; FAIL above 3 points.

    ``moving``: the share of standing images whose best loss, rescaled to its own range, rose by over 0.05 in the last
    10 steps (IndicatorsOfAttackFailure); None where no loss was watched.
    """
    loss = percent(pgd50) - percent(pgd100)
    still = "" if moving is None else f", {100 * moving:.1f} % of the losses still move"
    figure = f"50 steps {percent(pgd50):.2f} %, 100 steps {percent(pgd100):.2f} %{_of(pgd50)}{still}"
    warn = loss > 1 or (moving or 0.0) > 0.1
    return _say("G09", _grade(warn, beats(pgd100, pgd50, 3)), figure, "Give the attack more steps until it settles.")


def g10_step_size(by_step: Mapping[str, Share], headline: Share) -> Verdict:
    """WARN where the step moves robust accuracy by over 1 point; FAIL where the headline is over 2 above the least."""
    values = {name: percent(share) for name, share in by_step.items()}
    least = min(values, key=lambda name: values[name])
    spread = max(values.values()) - values[least]
    figure = ", ".join(f"{name} {value:.2f} %" for name, value in values.items())
    figure = f"{figure}; headline {percent(headline):.2f} %{_of(headline)}"
    advice = f"Report the least, {values[least]:.2f} % with {least}."
    return _say("G10", _grade(spread > 1, beats(by_step[least], headline, 2)), figure, advice)


def g11_silent_success(silent: int, n: int) -> Verdict:
    """WARN where an image was broken on the way but stands at the end; FAIL where over 1 % of all are counted so."""
    figure = f"{silent} of {n} images broken on the way and counted as robust"
    return _say("G11", _grade(silent > 0, silent > 0.01 * n), figure, "Keep the best iterate, not the last.")


def g12_restarts(one: Share, five: Share) -> Verdict:
    """WARN where five restarts cost over 1 point, FAIL above 3."""
    loss = percent(one) - percent(five)
    figure = f"1 start {percent(one):.2f} %, 5 starts {percent(five):.2f} %{_of(one)}: {_points(loss)}"
    return _say("G12", _grade(loss > 1, beats(five, one, 3)), figure, "Report the worst case over several restarts.")


def g13_monotone(curve: Mapping[float, Share], norm: Norm = "linf") -> Verdict:
    """FAIL where a larger budget surely leaves more standing. ``curve``: eps -> robust accuracy.

    By hand: {1/255: 30.0, 2/255: 30.4} passes, {1/255: 30.0, 2/255: 30.6} fails.
    """
    if len(curve) < 2:
        return skip("G13", "one budget only", "Attack at several eps.")
    ladder = [curve[eps] for eps in sorted(curve)]
    fails = any(beats(small, large) for i, small in enumerate(ladder) for large in ladder[i + 1 :])
    advice = "A larger ball holds the smaller one: fix the attack."
    return _say("G13", _grade(False, fails), _curve_text(curve, norm), advice)


def _curve_text(curve: Mapping[float, Share], norm: Norm) -> str:
    return ", ".join(f"{budget_text(eps, norm)} {percent(curve[eps]):.2f} %" for eps in sorted(curve))


def g14_big_eps(half: Share, largest_class: float, whole: Share) -> Verdict:
    """FAIL where more than the largest class stands at eps = 0.5 (grey is within reach), or over 1 % at eps = 1.

    ``largest_class`` in percent of the images. At eps = 1 one image of a small set fails nobody.
    """
    one = 100 / whole.n if isinstance(whole, Outcomes) else 0.0
    fails = percent(half) > largest_class + 1e-9 or percent(whole) > max(1.0, one) + 1e-9
    figure = f"eps 0.5: {percent(half):.2f} % (bound {largest_class:.2f} %), eps 1: {percent(whole):.2f} %"
    advice = "The attack is broken, not the model good: no defence can stand in this ball."
    return _say("G14", _grade(False, fails), f"{figure}{_of(half)}", advice)


def g15_curve(curve: Mapping[float, Share], *, step_shrinks: bool) -> Verdict:
    """WARN where over 20 % stand at 8/255, or over 60 % is lost on doubling eps while step / eps is halved too.

    ``step_shrinks``: the step stays the same in pixels from budget to budget, as in most published tables. By hand:
    {1/255: 42.09, 2/255: 11.48} loses 72.7 % and warns; {8/255: 55.3} warns.
    """
    at_8 = [share for eps, share in curve.items() if math.isclose(eps, 8 / 255, rel_tol=1e-6)]
    doubled = [(eps, other) for eps in curve for other in curve if math.isclose(other, 2 * eps, rel_tol=1e-6)]
    if not at_8 and not (step_shrinks and doubled):
        return skip("G15", "no budget of 8/255", "Attack at 8/255, where hardly an image should stand.")
    lost = [1 - percent(curve[b]) / percent(curve[a]) for a, b in doubled if percent(curve[a]) > 0]
    cliff = step_shrinks and max(lost, default=0.0) > 0.6
    low = [eps for eps in sorted(curve) if percent(curve[eps]) < 5]
    gone = f"below 5 % from {255 * low[0]:.3g}/255" if low else "nowhere below 5 %"
    high = any(percent(share) > 20 for share in at_8)
    advice = "Attack harder at the large budgets, with a step that grows with eps, before this curve is believed."
    return _say("G15", _grade(high or cliff, False), f"{_curve_text(curve, 'linf')}; {gone}", advice)


# --- other attacks --------------------------------------------------------------------------------------------------


def _gained(rule: str, weak: Outcomes, strong: Outcomes, warn: float, fail: float, advice: str) -> Verdict:
    """Grade b(weak, strong) in percent of the images; one image alone never fails."""
    b, n = only_first_breaks(weak, strong), strong.n
    figure = f"{weak.name} breaks {b} of {n} images that {strong.name} leaves standing ({100 * b / n:.2f} %)"
    return _say(rule, _grade(100 * b / n > warn, 100 * b / n > fail and b > 1), figure, advice)


def g16_noise(noise: Outcomes, pgd: Outcomes) -> Verdict:
    """FAIL where random noise breaks over 0.2 % of the images that PGD leaves standing (and more than one)."""
    return _gained("G16", noise, pgd, 0.2, 0.2, "PGD is weaker than chance there: its gradient misleads it.")


def g17_black_box(square: Outcomes, white_box: Outcomes) -> Verdict:
    """WARN where Square breaks over 0.2 % (AutoAttack's flag) of what all white-box attacks leave, FAIL above 1 %."""
    advice = "Gradients are masked: rerun Square with 20,000 queries and report the worst case."
    return _gained("G17", square, white_box, 0.2, 1.0, advice)


def g18_transfer(transfer: Outcomes, white_box: Outcomes) -> Verdict:
    """WARN where transferred examples break over 0.5 % of what white-box attacks leave, FAIL above 1 %."""
    advice = "Another model's gradients find what this one's hide: count transfer in the worst case."
    return _gained("G18", transfer, white_box, 0.5, 1.0, advice)


def g19_gap(pgd: Share, aa: Share) -> Verdict:
    """WARN where AutoAttack takes over 3 points or 10 % off PGD's accuracy; FAIL above 5 points or 20 %.

    A share of PGD's accuracy counts only from half a point on. By hand: PGD 42.09, AutoAttack 30.77 is a gap of 11.32
    points, 26.9 %, and fails; 28.06 and 26.55 (1.51, 5.4 %) pass.
    """
    before, gap = percent(pgd), percent(pgd) - percent(aa)
    part = gap / before if before > 0 and gap > TOLERANCE else 0.0
    fails = beats(aa, pgd) and (gap > 5 or part > 0.2)
    figure = f"PGD {before:.2f} %, AutoAttack {percent(aa):.2f} %{_of(pgd, aa)}: {_points(gap)} ({100 * part:.1f} %)"
    return _say("G19", _grade(gap > 3 or part > 0.1, fails), figure, "Report AutoAttack or the worst case, not PGD.")


def g20_ensemble(attacks: Mapping[str, Share], *, worst: Share | None, pgd: Share | None, aa: Share | None) -> Verdict:
    """FAIL where the worst case exceeds an attack it is made of, or AutoAttack surely leaves more than PGD does.

    By hand: PGD 18.25, AutoAttack 19.78 differ by -1.53 points and fail: not the same model, or not the same images.
    """
    above = [] if worst is None else [name for name, share in attacks.items() if percent(worst) > percent(share) + 1e-6]
    weaker = pgd is not None and aa is not None and beats(pgd, aa)
    if (worst is None or len(attacks) < 2) and (pgd is None or aa is None):
        return skip("G20", "one attack only, and no AutoAttack", "Run AutoAttack beside PGD.")
    named = {**attacks, **({"worst case": worst} if worst is not None else {})}
    compared = (("PGD", pgd), ("AutoAttack", aa)) if pgd is not None and aa is not None else ()
    named |= {f"{name}{_of(share)}": share for name, share in compared if share is not None}
    figure = ", ".join(f"{name} {percent(share):.2f} %" for name, share in named.items())
    advice = "Look for different checkpoints, different images or a bookkeeping error in this row."
    return _say("G20", _grade(False, bool(above) or weaker), figure, advice)


def g21_adaptive(adaptive: Share, aa: Share) -> Verdict:
    """WARN where the adaptive attack is over 1 point weaker or stronger than AutoAttack.

    By hand: adaptive 28.06 and AutoAttack 26.55 warn (under-tuned), 17.53 and 19.78 warn (AutoAttack does not suffice),
    27.50 and 28.28 pass.
    """
    gap = percent(adaptive) - percent(aa)
    figure = f"adaptive {percent(adaptive):.2f} %, AutoAttack {percent(aa):.2f} %{_of(adaptive, aa)}: {gap:+.2f} points"
    advice = (
        "The adaptive attack is under-tuned: sweep its temperature and weight."
        if gap > 0
        else "AutoAttack does not suffice here: report the worst case of both."
    )
    return _say("G21", _grade(abs(gap) > 1, False), figure, advice)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model's numbers in a table, in percent: clean, under PGD, and under the strongest attacks per image."""

    clean: float
    pgd: float
    worst: float


def g22_too_good(own: Row, baseline: Row) -> Verdict:
    """FAIL where clean rises over 3 and PGD over 5 points on the baseline while the worst case rises under 2.

    By hand: clean 46.7 -> 55.4, PGD 30.7 -> 44.5, AutoAttack 31.0 -> 31.4 fails.
    """
    clean, pgd, worst = (getattr(own, f) - getattr(baseline, f) for f in ("clean", "pgd", "worst"))
    figure = f"above the baseline: clean {clean:+.2f}, PGD {pgd:+.2f}, worst case {worst:+.2f} points"
    advice = "The gain is not confirmed by strong attacks: report the worst case."
    return _say("G22", _grade(False, clean > 3 and pgd > 5 and worst < 2), figure, advice)


# --- the loss -------------------------------------------------------------------------------------------------------


def g23_smooth(change: float, n: int) -> Verdict:
    """WARN where random noise in the ball changes the loss by over 10 % in the mean (IndicatorsOfAttackFailure)."""
    figure = f"the loss changes by {100 * change:.1f} % in the mean over the ball, {n} images"
    advice = "The loss is rough at the scale of the ball: average the gradient over noise (EOT) or climb the margin."
    return _say("G23", _grade(not change <= 0.1, False), figure, advice)


def g24_surface(error: float, n: int) -> Verdict:
    """WARN where the loss on the plane of gradient and random signs strays from its tangent by over :data:`BENT`."""
    figure = f"linearity error {error:.2f} of the loss's range on the plane, {n} images"
    return _say("G24", _grade(not error <= BENT, False), figure, "Look at the surface; attack with many restarts.")


# --- the row --------------------------------------------------------------------------------------------------------


def g25_identity(columns: Mapping[str, str]) -> Verdict:
    """FAIL where the columns of one row are not all of one model. ``columns``: where a number stands -> its model.

    A model is its weights, preprocessing and prompts: a hash, or in a published table the weights that were stated.
    """
    if not columns:
        return skip("G25", "no column says which model it is of", "Keep the hash of the weights beside every number.")
    models: dict[str, list[str]] = {}
    for column, model in columns.items():
        models.setdefault(model, []).append(column)
    figure = "; ".join(f"{model}: {', '.join(at)}" for model, at in models.items())
    return _say("G25", _grade(False, len(models) > 1), figure, "Measure every column of the row on one checkpoint.")
