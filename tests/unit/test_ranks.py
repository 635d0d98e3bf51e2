"""Whether a study's methods stand in the order of the published tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.published.ranks import by_method, columns, interval, kendall, order
from sweeps.engine.analysis.scores import CellScore
from sweeps.engine.analysis.stats import summarise
from sweeps.engine.commands.main import main
from sweeps.engine.study.folder import Study, open_study
from zsr_core.published import published_numbers

MakeStudy = Callable[..., Study]
COLUMNS = columns(published_numbers())
MAIN = ("CompTGA-2026, table I", "ViT-B/32", "PGD-100", 1 / 255, "robust")


def cells(values: dict[str, float]) -> dict[str, CellScore]:
    return {name: CellScore(cell=name, over_seeds={"robust": summarise([value])}) for name, value in values.items()}


def test_tau_is_the_share_of_pairs_in_order_minus_that_of_pairs_reversed() -> None:
    first, second = [9.0, 7.0, 5.0, 3.0, 1.0], [8.0, 9.0, 2.0, 4.0, 1.0]
    pairs = list(itertools.combinations(range(5), 2))
    signs = [math.copysign(1, (first[i] - first[j]) * (second[i] - second[j])) for i, j in pairs]
    tau, p = kendall(first, second)
    assert tau == pytest.approx(sum(signs) / len(pairs))
    assert p is not None
    as_far = [q for q in itertools.permutations(range(5)) if abs(_tau(q)) >= abs(tau or 0) - 1e-9]
    assert p == pytest.approx(len(as_far) / math.factorial(5))


def _tau(q: tuple[int, ...]) -> float:
    return sum(1 if q[i] < q[j] else -1 for i, j in itertools.combinations(range(len(q)), 2)) / 10


def test_an_order_of_ties_alone_has_no_tau() -> None:
    assert kendall([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]) == (None, None)


def test_the_interval_is_wide_with_few_methods_and_absent_with_four() -> None:
    assert interval(0.6, 4) == (None, None)
    low, high = interval(0.6, 9)
    assert (low, high) == pytest.approx((0.11323, 0.85450), abs=1e-5)  # tanh(atanh .6 -+ 1.96 sqrt(.437 / 5))
    low, high = interval(1.0, 6)
    assert high == 1.0
    assert low is not None
    assert 0.6 < low < 0.7
    assert interval(-1.0, 6) == (-1.0, -low)


def test_the_main_column_has_the_papers_means_without_the_untouched_model() -> None:
    assert COLUMNS[MAIN]["TGA-ZSR"] == 42.09
    assert set(COLUMNS[MAIN]) == {"FT-Clean", "FT-Adv", "TeCoA", "FARE", "LAAT", "PMG-AFT", "TGA-ZSR", "Comp-TGA"}


def test_the_harmonic_column_pairs_the_clean_mean_of_the_same_weights() -> None:
    """TGA-ZSR's AutoAttack row is of other weights than its PGD row: 50.42 clean, not 56.44."""
    harmonic = COLUMNS[(*MAIN[:4], "harmonic")]
    assert harmonic["TGA-ZSR"] == pytest.approx(2 / (1 / 42.09 + 1 / 56.44))
    autoattack = COLUMNS["CompTGA-2026, table III", "ViT-B/32", "AutoAttack", 1 / 255, "harmonic"]
    robust = COLUMNS["CompTGA-2026, table III", "ViT-B/32", "AutoAttack", 1 / 255, "robust"]
    clean = COLUMNS["CompTGA-2026, table A6", "ViT-B/32", "none", None, "clean"]
    assert autoattack["TGA-ZSR"] == pytest.approx(2 / (1 / robust["TGA-ZSR"] + 1 / clean["TGA-ZSR"]))


def test_a_study_in_the_papers_order_has_tau_one_and_in_the_reverse_order_minus_one() -> None:
    column = COLUMNS[MAIN]
    assert order(MAIN, column, cells(dict(column))).tau == pytest.approx(1.0)
    assert order(MAIN, column, cells({name: 100 - value for name, value in column.items()})).tau == pytest.approx(-1.0)


def test_a_study_of_one_method_is_compared_with_no_table(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1, 0.3))
    assert list(by_method(open_study(tmp_path))) == ["TGA-ZSR"]
    assert main(["published", "--study", str(tmp_path), "--ranks"]) == 0
    assert "No published column of means prints 4 or more of this study's methods." in capsys.readouterr().out
    assert (tmp_path / "ranks.md").is_file()
