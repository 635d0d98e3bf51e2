"""From evidence to verdicts: which part of the evidence each rule G01 to G25 is asked about."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from zsr_core.attacks import Pgd
from zsr_core.audit import rules
from zsr_core.audit.evidence import Evidence, own_pgd, white_box
from zsr_core.audit.rules import Outcomes, Share, outcomes, together
from zsr_core.audit.verdict import RULES, Verdict
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN

FULL = "Run the full tier: zsr audit --tier full."


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """Return the verdict of every rule, G01 to G25, from evidence alone."""
    return tuple(_JUDGES[rule](evidence) for rule in RULES)


def _lacking(rule: str, what: str) -> Verdict:
    return rules.skip(rule, f"not probed: {what}", FULL)


def _needs(e: Evidence, rule: str, *names: str) -> list[Outcomes] | Verdict:
    """Return the runs of these names, or the SKIP that names the first one missing."""
    absent = [name for name in names if name not in e.runs]
    return _lacking(rule, absent[0]) if absent else [e.runs[name] for name in names]


def _g01(e: Evidence) -> Verdict:
    return rules.g01_logits(e.outputs) if e.outputs else _lacking("G01", "the range of the outputs")


def _g02(e: Evidence) -> Verdict:
    return rules.g02_deterministic(e.repeats) if e.repeats else _lacking("G02", "repeated passes")


def _g03(e: Evidence) -> Verdict:
    return rules.g03_graph(e.slopes) if e.slopes else _lacking("G03", "slopes by finite differences")


def _g04(e: Evidence) -> Verdict:
    return rules.g04_zero_gradients(e.gradients) if e.gradients else _lacking("G04", "gradients")


def _g05(e: Evidence) -> Verdict:
    if e.autocast == "none":
        return rules.g05_in_fp32()
    needed = _needs(e, "G05", f"pgd50, {e.autocast}", "pgd50")
    if isinstance(needed, Verdict):
        return needed
    amp, fp32 = needed
    return rules.g05_precision(amp, fp32, e.autocast)


def _g06(e: Evidence) -> Verdict:
    needed = _needs(e, "G06", "pgd50", "pgd50, z/10", "pgd50, z/100")
    if isinstance(needed, Verdict):
        return needed
    return rules.g06_scale(dict(zip((1.0, 10.0, 100.0), needed, strict=True)))


def _random(rule: str) -> Verdict:
    return rules.skip(rule, "a randomised defence: what is judged is one draw of it", "Judge it over many draws.")


def _g07(e: Evidence) -> Verdict:
    if not e.certain:
        return _random("G07")
    if e.watched is None:
        return _lacking("G07", "an attack of the evaluation, of one stage, run again and watched")
    found = e.watched.feasibility(e.threat, e.n)
    attacked = [r for r in e.records if r.condition != "none"]
    beyond = [(r.linf if r.norm == "linf" else r.l2) - r.eps for r in attacked]
    return rules.g07_feasible(replace(found, excess=max([found.excess, *beyond])))


def _g08(e: Evidence) -> Verdict:
    needed = _needs(e, "G08", "fgsm", "pgd10", "pgd100")
    return needed if isinstance(needed, Verdict) else rules.g08_steps(dict(zip((1, 10, 100), needed, strict=True)))


def _g09(e: Evidence) -> Verdict:
    needed = _needs(e, "G09", "pgd50", "pgd100")
    if isinstance(needed, Verdict):
        return needed
    short, long = needed
    return rules.g09_converged(short, long, e.moving)


def _g10(e: Evidence) -> Verdict:
    by_step = {name.removeprefix("step "): share for name, share in e.runs.items() if name.startswith("step ")}
    if not by_step or e.headline is None:
        return _lacking("G10", "the evaluation's PGD with other steps")
    return rules.g10_step_size(by_step, e.headline)


def _g11(e: Evidence) -> Verdict:
    if not e.certain:
        return _random("G11")
    if e.watched is None:
        return _lacking("G11", "an attack of the evaluation, of one stage, run again and watched")
    return rules.g11_silent_success(e.watched.silent, e.n)


def _g12(e: Evidence) -> Verdict:
    needed = _needs(e, "G12", "pgd50", "pgd50 x 5")
    return needed if isinstance(needed, Verdict) else rules.g12_restarts(*needed)


def _curve(e: Evidence) -> Mapping[float, Share]:
    """Return the probed curve, else the evaluation's own, where it attacked at several budgets."""
    if e.curve:
        return e.curve
    named = [a.name for a in e.attacks]
    budgets = sorted({r.eps for r in e.records if r.condition in named})
    found: dict[float, Share] = {}
    for eps in budgets:
        parts = [got for name in named if (got := outcomes(e.records, name, eps)) is not None]
        found[eps] = together("the evaluation's attacks", parts)
    return found


def _g13(e: Evidence) -> Verdict:
    return rules.g13_monotone(_curve(e), e.threat.norm)


def _g14(e: Evidence) -> Verdict:
    needed = _needs(e, "G14", "all within 0.5", "all within 1")
    if isinstance(needed, Verdict) or e.largest_class is None:
        return _lacking("G14", "attacks at eps 0.5 and 1")
    return rules.g14_big_eps(needed[0], e.largest_class, needed[1])


def _g15(e: Evidence) -> Verdict:
    if e.threat.norm != "linf":
        return rules.skip("G15", "its limits are for linf", "Read the curve of G13.")
    shrinks = not e.curve and any(isinstance(a, Pgd) and a.step_size is not None for a in e.attacks)
    return rules.g15_curve(_curve(e), step_shrinks=shrinks)


def _g16(e: Evidence) -> Verdict:
    noise = e.runs.get("noise")
    pgd = own_pgd(e, noise.standing) if noise else None
    return _lacking("G16", "random noise") if noise is None or pgd is None else rules.g16_noise(noise, pgd)


def _g17(e: Evidence) -> Verdict:
    square, white = e.runs.get("square"), white_box(e)
    return _lacking("G17", "Square") if square is None or white is None else rules.g17_black_box(square, white)


def _g18(e: Evidence) -> Verdict:
    parts = [run for name, run in e.runs.items() if name.startswith("transfer")]
    white = white_box(e)
    if not parts or white is None:
        advice = f"{FULL} It needs another model: that which the weights were tuned from, or a study's other trials."
        return rules.skip("G18", "not probed: transferred examples", advice)
    return rules.g18_transfer(together("transfer", parts), white)


def _g19(e: Evidence) -> Verdict:
    aa = e.runs.get("autoattack")
    pgd = own_pgd(e, aa.standing) if aa else None
    return _lacking("G19", "AutoAttack and PGD") if aa is None or pgd is None else rules.g19_gap(pgd, aa)


def _g21(e: Evidence) -> Verdict:
    aa, adaptive = e.runs.get("autoattack"), e.runs.get("adaptive")
    if aa is None or adaptive is None:
        return _lacking("G21", "AutoAttack and the adaptive attack")
    common = aa.standing.keys() & adaptive.standing.keys()
    return rules.g21_adaptive(adaptive.on(common), aa.on(common))


def _g20(e: Evidence) -> Verdict:
    mean = [
        m for m in e.measurements
        if m.task == ZERO_SHOT_MEAN and m.metric == "robust" and math.isclose(m.eps, e.threat.eps, rel_tol=1e-6)
    ]  # fmt: skip
    attacks: dict[str, Share] = {m.attack: m.value for m in mean if m.attack != WORST and m.value is not None}
    whole = next((m.value for m in mean if m.attack == WORST), None)
    aa = e.runs.get("autoattack")
    return rules.g20_ensemble(attacks, worst=whole, pgd=own_pgd(e, aa.standing) if aa else None, aa=aa)


def _g22(e: Evidence) -> Verdict:
    if e.own is None or e.baseline is None:
        reason = "no TeCoA of the same budget beside it, both under PGD and stronger attacks"
        return rules.skip("G22", reason, "Add TeCoA to the study.")
    return rules.g22_too_good(e.own, e.baseline)


def _g23(e: Evidence) -> Verdict:
    return _lacking("G23", "the loss nearby") if e.roughness is None else rules.g23_smooth(e.roughness, e.n)


def _g24(e: Evidence) -> Verdict:
    return rules.g24_surface(e.surface.error, e.surface.n) if e.surface else _lacking("G24", "the loss on a plane")


def _g25(e: Evidence) -> Verdict:
    return rules.g25_identity(e.models)


_JUDGES: Mapping[str, Callable[[Evidence], Verdict]] = {
    "G01": _g01, "G02": _g02, "G03": _g03, "G04": _g04, "G05": _g05, "G06": _g06, "G07": _g07, "G08": _g08,
    "G09": _g09, "G10": _g10, "G11": _g11, "G12": _g12, "G13": _g13, "G14": _g14, "G15": _g15,
    "G16": _g16, "G17": _g17, "G18": _g18, "G19": _g19, "G20": _g20, "G21": _g21, "G22": _g22, "G23": _g23,
    "G24": _g24, "G25": _g25,
}  # fmt: skip
