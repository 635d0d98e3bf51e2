"""Training, attacks and defences on a pretended CUDA device: nothing is mixed, and the values are the CPU's.

A training step makes the host wait once, when it reads what it reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pretended_cases import ATTACKS, OTHERS, STEPS, USES, Case, Steps, fitted
from pretended_cuda import PretendedCuda

from zsr_core.methods import Method


def both(case: Case) -> tuple[Any, Any]:
    """Return what the case gives on the pretended device and on the CPU."""
    with PretendedCuda():
        pretended = case("cuda")
    return pretended, case("cpu")


def marked(cases: Mapping[str, Any], slow: Callable[[str], bool]) -> list[Any]:
    """Return the cases as parameters; those that differ little from another one are for the slow suite."""
    return [pytest.param(case, id=name, marks=[pytest.mark.slow] if slow(name) else []) for name, case in cases.items()]


@pytest.mark.parametrize("case", marked(STEPS, lambda name: "(" in name))
def test_a_training_step_waits_once_and_computes_what_it_computes_on_the_cpu(case: Steps) -> None:
    with PretendedCuda() as cuda:
        pretended = case("cuda", cuda.reset)  # the first step places constants
    assert cuda.waited == 1, cuda.waits
    assert pretended == pytest.approx(case("cpu"), rel=2e-4, abs=2e-5)


ALIKE = ("pgd25 l2", "pgd5x2", "cw5-last-step", "confidence-away", "transfer", "apgd-dlr")


@pytest.mark.parametrize("case", marked(ATTACKS, lambda name: name.startswith(ALIKE) and name.endswith("l2")))
def test_an_attack_leaves_the_records_that_it_leaves_on_the_cpu(case: Case) -> None:
    pretended, plain = both(case)
    assert pretended == plain


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS.keys())
def test_other_parts_compute_what_they_compute_on_the_cpu(case: Case) -> None:
    pretended, plain = both(case)
    assert pretended == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("method", USES, ids=lambda method: method.title)
def test_training_with_cached_features_goes_on_from_its_checkpoint(method: Method, tmp_path: Path) -> None:
    pretended, plain = both(fitted(method, tmp_path))
    assert pretended == pytest.approx(plain, rel=2e-4, abs=2e-5)
