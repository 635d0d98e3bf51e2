"""The audit's rules against numbers worked by hand: published rows, and made outcomes of a thousand images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsr_core.audit.facts import Feasibility, Gradients, Outputs, Repeats, Row, Slopes
from zsr_core.audit.finding import Finding
from zsr_core.audit.outcomes import Outcomes, beats, mcnemar, only_first_breaks, percent, together
from zsr_core.audit.rules.curves import g13_monotone, g14_big_eps, g15_curve
from zsr_core.audit.rules.gaps import g19_gap, g20_ensemble, g21_adaptive, g22_too_good
from zsr_core.audit.rules.gradients import g03_graph, g04_zero_gradients
from zsr_core.audit.rules.identity import g25_identity
from zsr_core.audit.rules.loss import g23_smooth, g24_surface
from zsr_core.audit.rules.other_attacks import g16_noise, g17_black_box, g18_transfer
from zsr_core.audit.rules.outputs import g01_logits, g02_deterministic
from zsr_core.audit.rules.strength import (
    g05_in_fp32,
    g05_precision,
    g06_scale,
    g07_feasible,
    g08_steps,
    g09_converged,
    g10_step_size,
    g11_silent_success,
    g12_restarts,
)
from zsr_core.codec import ConfigError


def standing(name: str, first: int, n: int = 1000) -> Outcomes:
    """The first so many of ``n`` images stand."""
    return Outcomes(name=name, standing={("task", str(i)): i < first for i in range(n)})


def test_mcnemar_is_the_binomial_tail_worked_by_hand() -> None:
    assert mcnemar(7, 0) == 1 / 128
    assert mcnemar(3, 1) == 5 / 16
    assert mcnemar(0, 5) == 1.0
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(800, 700) == pytest.approx(0.00530, abs=1e-4)  # far beyond what a float's factorial holds


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_and_its_mirror_share_the_middle_term(b: int, c: int) -> None:
    middle = math.comb(b + c, b) / 2 ** (b + c)
    assert mcnemar(b, c) + mcnemar(c, b) == pytest.approx(1 + middle)


def test_an_attack_beats_another_only_by_over_half_a_point_and_surely() -> None:
    few, many = standing("strong", 300), standing("weak", 320)
    assert only_first_breaks(few, many) == 20
    assert only_first_breaks(many, few) == 0
    assert beats(few, many)
    assert not beats(many, few)
    assert not beats(standing("strong", 315), many)  # half a point, not more
    assert not beats(standing("a", 30, 100), standing("b", 36, 100))  # 6 points of 100 images: p = 1/64
    assert beats(standing("a", 30, 100), standing("b", 37, 100))  # p = 1/128
    assert beats(30.0, 30.6)
    assert not beats(30.0, 30.5)


def test_the_worst_case_is_taken_per_image_on_the_images_that_all_attacks_faced() -> None:
    a = Outcomes(name="a", standing={("t", "1"): True, ("t", "2"): False, ("t", "3"): True})
    b = Outcomes(name="b", standing={("t", "1"): False, ("t", "2"): True})
    assert together("worst", [a, b]).standing == {("t", "1"): False, ("t", "2"): False}


def test_outcomes_of_no_image_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one image"):
        Outcomes(name="a", standing={})


# Means over 16 sets at 1/255: Comp-TGA's Tables A2 and A3 as the evaluation reference reads them.
PUBLISHED = {
    "FT-Adv": (28.83, 28.28, 27.50),
    "TeCoA": (28.06, 26.55, 28.06),
    "FARE": (18.25, 19.78, 17.53),
    "LAAT": (28.02, 27.47, 26.74),
    "PMG-AFT": (32.51, 30.78, 29.82),
    "TGA-ZSR": (42.09, 30.77, 39.55),
    "Comp-TGA": (44.46, 31.41, 42.40),
}


def test_published_rows_get_the_verdicts_that_arithmetic_gives() -> None:
    gap = {name: g19_gap(pgd, aa).status for name, (pgd, aa, _) in PUBLISHED.items()}
    assert gap == {name: "FAIL" if "TGA" in name else "PASS" for name in PUBLISHED}
    parts = {n: g20_ensemble({}, worst=None, pgd=p, aa=a).status for n, (p, a, _) in PUBLISHED.items()}
    assert parts == {name: "FAIL" if name == "FARE" else "PASS" for name in PUBLISHED}
    adaptive = {name: g21_adaptive(ad, aa).status for name, (_, aa, ad) in PUBLISHED.items()}
    assert {name for name, status in adaptive.items() if status == "WARN"} == {"TeCoA", "FARE", "TGA-ZSR", "Comp-TGA"}
    assert g19_gap(42.09, 30.77).figure == "PGD 42.09 %, AutoAttack 30.77 %: 11.32 points (26.9 %)"


Case = tuple[Finding, str]
CASES: Mapping[str, Case] = {
    "probabilities": (g01_logits(Outputs(low=0.0, high=1.0, sum_gap=1e-6, n=8)), "FAIL"),
    "logits": (g01_logits(Outputs(low=-3.0, high=28.0, sum_gap=90.0, n=8)), "PASS"),
    "cosines in [0, 1]": (g01_logits(Outputs(low=0.1, high=0.9, sum_gap=2.0, n=8)), "PASS"),
    "still": (g02_deterministic(Repeats(passes=5, changed=0, gap=9e-5, n=8)), "PASS"),
    "random": (g02_deterministic(Repeats(passes=5, changed=0, gap=2e-4, n=8)), "FAIL"),
    "random under EOT": (g02_deterministic(Repeats(passes=5, changed=3, gap=0.1, n=8, eot=4)), "WARN"),
    "no gradient": (g03_graph(Slopes(errors=(), n=8)), "FAIL"),
    "right in the median": (g03_graph(Slopes(errors=(0.01, 0.02, 0.9), n=1)), "PASS"),
    "wrong in the median": (g03_graph(Slopes(errors=(0.01, 0.2, 0.9), n=1)), "FAIL"),
    "not a number": (g03_graph(Slopes(errors=(math.nan,), n=1)), "FAIL"),
    "right nearby too": (g03_graph(Slopes(errors=(0.01,), n=1, nearby=(0.01, 0.02, 0.9))), "PASS"),
    "wrong nearby": (g03_graph(Slopes(errors=(0.01, 0.01, 0.01), n=1, nearby=(0.2,))), "FAIL"),
    "no zero": (g04_zero_gradients(Gradients(zero=0, non_finite=0, n=200)), "PASS"),
    "1 % zero": (g04_zero_gradients(Gradients(zero=1, non_finite=1, n=200)), "WARN"),
    "1.5 % zero": (g04_zero_gradients(Gradients(zero=3, non_finite=0, n=200)), "FAIL"),
    "in fp32": (g05_in_fp32(), "PASS"),
    "same in bf16": (g05_precision(30.5, 30.0, "bfloat16"), "PASS"),
    "bf16 looks better": (g05_precision(31.0, 30.0, "bfloat16"), "WARN"),
    "bf16 looks much better": (g05_precision(standing("amp", 330), standing("fp32", 300), "bfloat16"), "FAIL"),
    "bf16 looks better on few": (g05_precision(standing("a", 3, 30), standing("f", 2, 30), "bf16"), "WARN"),
    "scale-free": (g06_scale({1.0: 30.0, 10.0: 29.0, 100.0: 45.0}), "PASS"),
    "saturated a little": (g06_scale({1.0: 30.0, 10.0: 28.0, 100.0: 30.0}), "WARN"),
    "saturated": (g06_scale({1.0: 30.0, 10.0: 28.0, 100.0: 20.0}), "FAIL"),
    "feasible": (
        g07_feasible(Feasibility(n=9, excess=1e-7, outside=0, changed=0, rounded=0.9)), "PASS",
    ),
    "undone in 8 bits": (
        g07_feasible(Feasibility(n=9, excess=-1e-3, outside=0, changed=0, rounded=1.5)), "WARN",
    ),
    "outside the ball": (
        g07_feasible(Feasibility(n=9, excess=2e-6, outside=0, changed=0, rounded=0)), "FAIL",
    ),
    "outside the box": (
        g07_feasible(Feasibility(n=9, excess=0.0, outside=1, changed=0, rounded=0)), "FAIL",
    ),
    "not reproduced": (
        g07_feasible(Feasibility(n=9, excess=0.0, outside=0, changed=1, rounded=0)), "FAIL",
    ),
    "steps help": (g08_steps({1: 40.0, 10: 30.0, 100: 30.4}), "PASS"),
    "one step beats ten": (g08_steps({1: standing("1", 300), 10: standing("10", 330)}), "FAIL"),
    "converged": (g09_converged(30.0, 29.0, 0.1), "PASS"),
    "moving": (g09_converged(30.0, 30.0, 0.11), "WARN"),
    "not converged": (g09_converged(30.0, 28.9), "WARN"),
    "far from converged": (g09_converged(30.0, 26.0), "FAIL"),
    "any step": (g10_step_size({"eps": 30.0, "eps/4": 29.0}, 31.0), "PASS"),
    "step matters": (g10_step_size({"eps": 30.0, "eps/4": 28.9}, 28.9), "WARN"),
    "the headline's step is bad": (g10_step_size({"eps": 30.0, "eps/4": 27.0}, 30.0), "FAIL"),
    "loud": (g11_silent_success(0, 100), "PASS"),
    "silent once": (g11_silent_success(1, 100), "WARN"),
    "silent": (g11_silent_success(2, 100), "FAIL"),
    "one start will do": (g12_restarts(30.0, 29.0), "PASS"),
    "starts matter": (g12_restarts(30.0, 28.0), "WARN"),
    "starts decide": (g12_restarts(30.0, 26.0), "FAIL"),
    "falling": (g13_monotone({2 / 255: 30.4, 1 / 255: 30.0}), "PASS"),
    "rising": (g13_monotone({2 / 255: 30.6, 1 / 255: 30.0}), "FAIL"),
    "one budget": (g13_monotone({1 / 255: 30.0}), "SKIP"),
    "broken in big balls": (g14_big_eps(0.0, 10.0, 1.0), "PASS"),
    "standing at grey": (g14_big_eps(10.1, 10.0, 0.0), "FAIL"),
    "standing at eps 1": (g14_big_eps(0.0, 10.0, 1.1), "FAIL"),
    "one of few at eps 1": (g14_big_eps(0.0, 10.0, standing("1", 1, 50)), "PASS"),
    "a defence's curve": (g15_curve({1 / 255: 40.0, 8 / 255: 20.0}, step_shrinks=False), "PASS"),
    "LAAT on STL-10": (g15_curve({8 / 255: 55.3}, step_shrinks=False), "WARN"),
    "TGA-ZSR at 2/255": (g15_curve({1 / 255: 42.09, 2 / 255: 11.48}, step_shrinks=True), "WARN"),
    "the same with steps that grow": (
        g15_curve({1 / 255: 42.09, 2 / 255: 11.48, 8 / 255: 0.0}, step_shrinks=False), "PASS",
    ),
    "no large budget": (g15_curve({1 / 255: 42.09}, step_shrinks=True), "SKIP"),
    "noise breaks nothing": (g16_noise(standing("noise", 302), standing("pgd", 300)), "PASS"),
    "noise breaks 3 of 1000": (g16_noise(standing("noise", 297), standing("pgd", 300)), "FAIL"),
    "noise breaks one of 100": (g16_noise(standing("noise", 29, 100), standing("pgd", 30, 100)), "WARN"),
    "Square breaks 2 of 1000": (g17_black_box(standing("square", 298), standing("white", 300)), "PASS"),
    "Square breaks 3 of 1000": (g17_black_box(standing("square", 297), standing("white", 300)), "WARN"),
    "Square breaks 11 of 1000": (g17_black_box(standing("square", 289), standing("white", 300)), "FAIL"),
    "transfer breaks 5 of 1000": (g18_transfer(standing("transfer", 295), standing("white", 300)), "PASS"),
    "transfer breaks 6 of 1000": (g18_transfer(standing("transfer", 294), standing("white", 300)), "WARN"),
    "transfer breaks 11 of 1000": (g18_transfer(standing("transfer", 289), standing("white", 300)), "FAIL"),
    "a gap of 3.1": (g19_gap(50.0, 46.9), "WARN"),
    "half a point of almost nothing": (g19_gap(1.0, 0.5), "PASS"),
    "few images, a wide gap": (g19_gap(standing("pgd", 10, 50), standing("aa", 7, 50)), "WARN"),
    "many images, a wide gap": (g19_gap(standing("pgd", 300), standing("aa", 230)), "FAIL"),
    "worst above a part": (
        g20_ensemble({"pgd10": 30.0, "cw": 29.0}, worst=29.5, pgd=None, aa=None), "FAIL",
    ),
    "worst below all": (g20_ensemble({"pgd10": 30.0, "cw": 29.0}, worst=28.5, pgd=None, aa=None), "PASS"),
    "nothing to compare": (g20_ensemble({"pgd10": 30.0}, worst=None, pgd=30.0, aa=None), "SKIP"),
    "gain not confirmed": (
        g22_too_good(Row(clean=55.4, pgd=44.5, worst=31.4), Row(clean=46.7, pgd=30.7, worst=31.0)), "FAIL",
    ),
    "gain confirmed": (
        g22_too_good(Row(clean=55.4, pgd=44.5, worst=33.0), Row(clean=46.7, pgd=30.7, worst=31.0)), "PASS",
    ),
    "smooth": (g23_smooth(0.1, 8), "PASS"),
    "rough": (g23_smooth(0.11, 8), "WARN"),
    "straight": (g24_surface(1.0, 8), "PASS"),
    "one model": (g25_identity({"pgd": "abc", "aa": "abc"}), "PASS"),
    "TGA-ZSR's columns": (
        g25_identity({"PGD": "alpha .08, beta .05", "AutoAttack": "alpha .08, beta .009"}), "FAIL",
    ),
    "no hash": (g25_identity({}), "SKIP"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_gives_the_verdict_worked_by_hand(case: str) -> None:
    finding, status = CASES[case]
    assert finding.status == status, finding.figure
    assert bool(finding.advice) == (status != "PASS")


def test_a_percentage_is_its_own_share_and_outcomes_are_counted() -> None:
    assert percent(42.09) == 42.09
    assert percent(standing("a", 3, 8)) == 37.5
