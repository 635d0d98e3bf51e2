"""Attacks by name: every one can be had, told apart, written down and read back."""

from __future__ import annotations

import pytest

from zsr_core.attacks import Pgd
from zsr_core.attacks.profiles import PROFILES, profile
from zsr_core.codec import ConfigError, fingerprint, from_plain, to_plain
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.published.names import ATTACKS


def test_every_profile_goes_by_its_own_name_and_tells_its_source() -> None:
    for name, entry in PROFILES.items():
        assert profile(name).name == name
        assert entry.source


def test_all_profiles_together_make_a_suite_that_can_be_written_down_and_read_back() -> None:
    suite = EvalSuite(attacks=tuple(entry.attack for entry in PROFILES.values()))
    assert from_plain(EvalSuite, to_plain(suite)) == suite
    assert len({fingerprint(attack) for attack in suite.attacks}) == len(PROFILES)


def test_whatever_papers_ran_under_our_names_is_a_profile() -> None:
    named = {known.ours for known in ATTACKS.values() if known.ours is not None}
    assert named - {"none"} <= set(PROFILES)


def test_steps_and_restarts_can_be_said_in_the_name() -> None:
    assert profile("pgd50x5") == Pgd(steps=50, restarts=5)
    assert profile("cw20") == Pgd(steps=20, loss="margin")
    assert (profile("pgd50x5").name, profile("cw20").name) == ("pgd50x5", "cw20")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("aa-standart", "aa-standard"), ("apgd", "apgd-t"), ("pgd0", "pgd50"), ("pgd10x", "pgd10"),
        ("PGD100", "pgd100"), ("AA-standard", "aa-standard"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_with_the_nearest_one(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"attack: unknown value '{name}'.*did you mean '{meant}'"):
        profile(name)


@pytest.mark.parametrize(
    ("name", "classes", "ran"),
    [
        ("aa-standard", 100, ["apgd-ce", "apgd-t", "fab-t", "square"]),
        ("aa-standard", 3, ["apgd-ce", "apgd-dlr", "fab-t", "square"]),
        ("aa-standard", 2, ["apgd-ce", "fab-t", "square"]),
        ("aa-plus", 4, ["apgd-ce-restarts5", "apgd-dlr-restarts5", "apgd-t", "fab-t", "square"]),
        ("aa-plus", 3, ["apgd-ce-restarts5", "apgd-dlr-restarts5", "apgd-dlr", "fab-t", "square"]),
        ("aa-rand", 10, ["apgd-ce", "apgd-dlr"]),
        ("aa-tecoa", 10, ["apgd-ce", "apgd-dlr"]),
        ("aa-tecoa", 2, ["apgd-ce"]),
        ("aa-fare", 10, ["apgd-ce", "apgd-t"]),
        ("aa-fare", 2, ["apgd-ce"]),
        ("aa-agft", 10, ["apgd-ce-steps10", "apgd-dlr-steps10"]),
    ],
)
def test_what_each_autoattack_runs_is_the_documented_list(name: str, classes: int, ran: list[str]) -> None:
    assert [stage.name for stage in profile(name).stages(classes)] == ran


def test_autoattack_costs_a_robust_image_what_its_parts_cost_and_a_look_after_each() -> None:
    """Per robust image and 10 classes: 101 + 1 + 9 * 101 + ... forwards, 100 + 900 + ... backwards, section 1."""
    parts = [stage.cost(10) for stage in profile("aa-standard").stages(10)]
    assert parts[:2] == [(101, 100), (910, 900)]
    assert profile("aa-standard").cost(10) == (sum(f + 1 for f, _ in parts), sum(b for _, b in parts))
