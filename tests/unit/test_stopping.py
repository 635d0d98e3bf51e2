"""The rule of early stopping: its margins by hand, its order, its rate of wrong stops on curves whose end is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from sweeps.engine.analysis.early_stopping.arrivals import Arrival, Known, meet
from sweeps.engine.analysis.early_stopping.rung_gaps import gaps
from sweeps.engine.analysis.early_stopping.verdict import Gap, Rung, Spread, drift, seed_spread, verdict
from sweeps.engine.analysis.nondominated import dominates, fronts, order
from sweeps.engine.analysis.outcomes import Outcomes
from sweeps.engine.analysis.searching.replay import Cell, Table, Trained
from sweeps.engine.analysis.searching.replay import replay as search_replay
from sweeps.engine.analysis.stats import t_quantile
from sweeps.engine.study.stopping import Stopping, check_stoppable, stopping
from zsr_core.codec import ConfigError

RULE = Stopping()
SURE = (Spread(variance=0.25, dof=200),)


def rung(*scores: float, gap: float, variance: float = 4.0, **changes: Any) -> Rung:
    """The own cell is "me", the rivals "a", "b", ...; "a" leads by ``gap``."""
    names = ["me", *"abcdefgh"[: len(scores) - 1]]
    return Rung(**{
        "cell": "me", "number": 1, "scores": {name: (score,) for name, score in zip(names, scores, strict=True)},
        "gaps": {"a": (Gap(value=gap, images=Spread(variance=variance, dof=200)),)}, "drift": SURE, **changes,
    })  # fmt: skip


def test_the_best_third_goes_on_and_the_others_go_on_unless_a_rival_is_better_by_more_than_the_margin() -> None:
    margin = t_quantile(1 - 0.01 / (2 * 3), 200) * 2.0  # two rungs, three rivals, standard error 2
    assert not verdict(rung(60, 50, 40, 30, gap=99), RULE).plain, "the best is in no danger"
    worse = rung(30, 60, 50, 40, gap=margin + 0.001)
    assert verdict(worse, RULE).stop
    assert verdict(worse, RULE).why.startswith("rank 4 of 4, 'a' is better by ")
    inside = verdict(rung(30, 60, 50, 40, gap=margin - 0.001), RULE)
    assert (inside.stop, inside.plain) == (False, True), "plain ASHA stops it"
    assert inside.margins == pytest.approx([margin])


def test_the_noise_is_the_larger_of_images_and_of_the_rest_of_training_and_seeds_are_added() -> None:
    base = rung(30, 60, 50, 40, gap=50, variance=9.0)
    (alone,) = verdict(base, RULE).margins
    (later,) = verdict(replace(base, drift=(Spread(variance=16.0, dof=200),)), RULE).margins
    (seeds,) = verdict(replace(base, seeds=(Spread(variance=16.0, dof=200),), several_seeds=True), RULE).margins
    assert later / alone == pytest.approx(4 / 3)
    assert seeds / alone == pytest.approx(5 / 3, rel=0.01)
    (few,) = verdict(replace(base, drift=(Spread(variance=16.0, dof=2),)), RULE).margins
    assert few > 4 * later, "a variance from three trials is hardly known"


def test_nothing_is_stopped_before_it_is_known_what_a_rung_foretells_or_how_much_seeds_differ() -> None:
    worst = rung(1, 90, 80, 70, gap=89)
    assert verdict(worst, RULE).stop
    assert not verdict(replace(worst, drift=None), RULE).stop
    assert not verdict(replace(worst, several_seeds=True), RULE).stop
    assert not verdict(replace(worst, exempt=True), RULE).stop
    assert not verdict(replace(worst, first=2), RULE).stop


def test_watching_stops_nothing_and_notes_what_plain_asha_would_have_stopped() -> None:
    watched = [verdict(rung(own, 90, 80, 70, gap=89), Stopping(rule="watch")) for own in (1, 95)]
    assert [(each.stop, each.plain) for each in watched] == [(False, True), (False, False)]
    assert Stopping(rule="watch").first_rung(5) == 1


def test_with_two_objectives_a_rival_must_be_clearly_better_at_both() -> None:
    near, far = (Gap(value=v, images=Spread(variance=1.0, dof=200)) for v in (2.0, 30.0))
    scores = {"me": (50.0, 20.0), "a": (80.0, 22.0), "b": (81.0, 50.0), "c": (82.0, 40.0)}
    at = Rung(cell="me", number=1, scores=scores, gaps={"a": (far, near)}, drift=SURE * 2)
    assert not verdict(at, RULE).stop
    stopped = verdict(replace(at, gaps={"a": (far, near), "b": (far, far)}), RULE)
    assert (stopped.stop, stopped.rival) == (True, "b")


def test_the_order_goes_by_fronts_and_within_one_the_most_isolated_come_first() -> None:
    points = {"worst": (0, 0), "mid": (5.0, 5.0), "left": (1, 9), "right": (9, 1), "near": (5.5, 4.8), "low": (4, 4)}
    assert dominates((1, 2), (1, 1))
    assert not dominates((1, 1), (1, 1))
    assert [set(front) for front in fronts(points)] == [{"mid", "left", "right", "near"}, {"low"}, {"worst"}]
    assert order(points)[:2] == ["left", "right"]
    assert order({"a": (1,), "b": (3,), "c": (2,)}) == ["b", "c", "a"]


def test_a_shared_shift_is_no_drift_and_a_private_one_counts_twice() -> None:
    (spread,) = drift([[10], [20], [30]], [[15], [25], [35]]) or ()
    assert spread == Spread(variance=0.0, dof=2)
    (spread,) = drift([[10], [20], [30]], [[11], [20], [29]]) or ()
    assert spread == Spread(variance=2.0, dof=2)
    assert drift([[1], [2]], [[1], [2]]) is None


def test_the_spread_of_seeds_is_what_cells_and_seeds_do_not_explain() -> None:
    additive = [[[10.0 * cell + seed] for seed in range(2)] for cell in range(4)]
    (spread,) = seed_spread(additive, 2) or ()
    assert spread == Spread(variance=0.0, dof=3)
    additive[0][0][0] += 8.0  # rest of +-3 and +-1: squares 9+9+3*2*1 = 24, over 3, twice, over 2 seeds
    (spread,) = seed_spread(additive, 2) or ()
    assert spread.variance == pytest.approx(8.0)
    assert seed_spread(additive[:2], 2) is None


def outcomes(rng: np.random.Generator, clean: float, robust: float, hard: Mapping[str, Any]) -> dict[str, Outcomes]:
    """Images of each task are right where they are easier than the trial is good, up to a little noise of its own."""
    found = {}
    for task, difficulty in hard.items():
        own = np.clip(difficulty + rng.normal(0, 0.1, len(difficulty)), 0, 1)
        ids = np.array([f"{i:03d}" for i in range(len(difficulty))])
        right = [(own < share).astype(float) for share in (clean, min(clean, robust))]
        found[task] = Outcomes(ids=ids, clean=right[0], robust=right[1])
    return found


def tasks(rng: np.random.Generator, n: int = 32, count: int = 6) -> dict[str, Any]:
    return {f"task{t}": rng.uniform(0, 1, n) for t in range(count)}


def test_the_interval_over_images_covers_the_true_difference() -> None:
    rng, inside, tries = np.random.default_rng(3), dict.fromkeys(("clean", "robust", "harmonic"), 0), 80
    for _ in range(tries):
        hard = tasks(rng)
        a, b = ({0: outcomes(rng, clean, robust, hard)} for clean, robust in ((0.7, 0.4), (0.6, 0.3)))
        for name, gap in zip(inside, gaps(a, b, tuple(inside)), strict=True):
            true = {"clean": 10.0, "robust": 10.0, "harmonic": 100 * (2 * 0.28 / 1.1 - 2 * 0.18 / 0.9)}[name]
            inside[name] += abs(gap.value - true) < 1.96 * math.sqrt(gap.images.variance)
    assert all(0.9 <= hits / tries <= 1.0 for hits in inside.values()), inside


def test_a_single_image_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    hard = tasks(rng, n=1)
    (gap,) = gaps({0: outcomes(rng, 0.9, 0.5, hard)}, {0: outcomes(rng, 0.1, 0.1, hard)}, ["clean"])
    assert math.isinf(gap.images.variance)


@dataclass(frozen=True)
class Replayed:
    wrong: bool  # a point of the true front (with one objective: the best) was stopped
    plain_wrong: bool
    share: float  # of all training steps that were taken


def replay(seed: int, objectives: tuple[str, ...], rule: Stopping = RULE, cells: int = 24) -> Replayed:
    """One search over planted curves: each cell's accuracy at a rung is what it ends with, less what it has to learn.

    What is left to learn varies by cell, so that curves cross. Cells come in turn, as with one worker.
    """
    rng = np.random.default_rng(seed)
    hard = tasks(rng)
    ends = np.column_stack([rng.uniform(0.2, 0.8, cells), rng.uniform(0.05, 0.5, cells)])
    known, true, shown = Known(), {}, {}
    stopped, plain, taken = set(), set(), 0.0
    for cell in range(cells):
        name = f"cell{cell}"
        true[name] = _scores(*ends[cell], objectives)
        slow = abs(rng.normal(0, 0.04, 2))
        position = 0.0
        for number, share in enumerate((*rule.shares, 1.0), start=1):
            taken += share - position
            position = share
            clean, robust = ends[cell] - (1 - share) * slow
            images = outcomes(rng, clean, robust, hard)
            shares = np.mean([[o.clean.mean(), o.robust.mean()] for o in images.values()], axis=0)
            scores = dict(zip(("clean", "robust"), 100 * shares, strict=True))
            if share == 1.0:
                known = replace(known, finals={**known.finals, name: scores})
                break
            arrival = Arrival(trial_id=name, cell=name, seed=0, rung=number, scores=scores)
            shown[name, number] = images
            met = meet(known, arrival, rule, objectives, (0,), lambda a: shown[a.cell, a.rung], index=cell)
            known = replace(known, arrivals=(*known.arrivals, arrival))
            judged = verdict(met, rule)
            if judged.plain:
                plain.add(name)
            if judged.stop:
                stopped.add(name)
                break
    front = set(fronts(true)[0])
    return Replayed(bool(front & stopped), bool(front & plain), taken / cells)


def _scores(clean: float, robust: float, objectives: tuple[str, ...]) -> tuple[float, ...]:
    values = {"clean": clean, "robust": min(clean, robust)}
    return tuple(100 * values[name] for name in objectives)


@pytest.mark.parametrize("objectives", [("robust",), ("clean", "robust")])
def test_on_planted_curves_the_best_is_not_stopped_where_plain_asha_stops_it(objectives: tuple[str, ...]) -> None:
    found = [replay(seed, objectives) for seed in range(8)]
    assert not any(each.wrong for each in found)
    assert np.mean([each.share for each in found]) < 0.95, "and clearly worse ones are stopped"
    if len(objectives) > 1:
        assert any(each.plain_wrong for each in found)


@pytest.mark.slow
@pytest.mark.parametrize(("objectives", "most"), [(("robust",), 0.85), (("clean", "robust"), 0.95)])
def test_at_most_one_replay_in_a_hundred_stops_a_point_of_the_front(objectives: tuple[str, ...], most: float) -> None:
    found = [replay(seed, objectives) for seed in range(150)]
    assert np.mean([each.wrong for each in found]) <= 0.01
    assert np.mean([each.plain_wrong for each in found]) > np.mean([each.wrong for each in found])
    assert np.mean([each.share for each in found]) < most


def planted(seed: int, side: int = 4) -> Table:
    """A grid whose score is highest at (2, 1) and falls slowly around it; four cells are far worse.

    An accuracy at a rung is that of the end, less what the cell has yet to learn, on few images: so noisy that rungs
    hardly rank the good cells.
    """
    rng = np.random.default_rng(seed)
    hard, cells, shown = tasks(rng, n=24), {}, {}
    for x, y in itertools.product(range(side), range(side)):
        end = 0.2 if (x + 2 * y) % 4 == 3 else 0.7 - 0.004 * ((x - 2) ** 2 + (y - 1) ** 2)
        slow = abs(rng.normal(0, 0.1))
        rungs = []
        for number, share in enumerate(RULE.shares, 1):
            images = outcomes(rng, end - (1 - share) * slow, 0.3, hard)
            rungs.append((share, {"clean": 100 * float(np.mean([each.clean.mean() for each in images.values()]))}))
            shown[f"{x}{y}", number] = images
        trial = Trained(trial_id=f"{x}{y}", seed=0, train=9.0, evaluate=1.0, rungs=tuple(rungs),
                        final={"clean": 100 * end})  # fmt: skip
        cells[x, y] = Cell(name=f"{x} {y}", trials=(trial,), values=(100 * end,), decides=100 * end)
    return Table(
        study="planted", axes={"x": side, "y": side}, ordered=(True, True), cells=cells, objectives=("clean",),
        score="clean accuracy", seeds=(0,), read=lambda arrival: shown[arrival.trial_id, arrival.rung],
    )  # fmt: skip


def noisy(count: int) -> tuple[float, float, float]:
    """Return the shares of replays in which the best cell was stopped: by our rule, by plain ASHA; and of cells."""
    found = [search_replay(planted(seed), "random", seed=seed, stop=RULE) for seed in range(count)]
    wrong, plain = (float(np.mean([getattr(each, name) for each in found])) for name in ("wrong", "plain_wrong"))
    return wrong, plain, float(np.mean([each.stopped / each.cells for each in found]))


def test_a_search_over_a_noisy_surrogate_keeps_the_best_cell_that_plain_asha_stops() -> None:
    wrong, plain, stopped = noisy(6)
    assert (wrong, plain > 0.1, stopped > 0.1) == (0, True, True), (plain, stopped)


@pytest.mark.slow
def test_at_most_one_noisy_search_in_a_hundred_stops_the_best_cell() -> None:
    wrong, plain, stopped = noisy(100)
    assert (wrong <= 0.01, plain >= 0.25, stopped > 0.1) == (True, True, True), (wrong, plain, stopped)


def test_hyperband_spares_the_same_cells_the_same_rungs_in_its_own_shares() -> None:
    rule = Stopping(rule="hyperband")
    firsts = [rule.first_rung(index) for index in range(340)]
    assert [firsts.count(first) / 340 for first in (1, 2, 3)] == pytest.approx(
        [9 / 16.5, 4.5 / 16.5, 3 / 16.5], abs=0.01
    )
    assert {Stopping().first_rung(index) for index in range(20)} == {1}


def test_plain_asha_takes_a_quarter_of_the_steps() -> None:
    assert RULE.plain_share() == pytest.approx(1 / 9 + 2 / 9 / 3 + 2 / 3 / 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "median"}, "stop.rule"),
        ({"keep": 1}, "stop.keep"),
        ({"error": 0.0}, "stop.error"),
        ({"images": 1}, "stop.images"),
        ({"shares": (0.5, 0.1)}, "shares"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Stopping(**changes)


def test_a_name_means_a_rule_with_its_defaults_and_none_means_no_rule() -> None:
    assert stopping("asha") == Stopping()
    assert stopping("hyperband") == Stopping(rule="hyperband")
    assert stopping("none") is None
    assert stopping(Stopping(keep=4)) == Stopping(keep=4)
    with pytest.raises(ConfigError, match="did you mean 'asha'"):
        stopping("ashaa", "--stop")
    with pytest.raises(ConfigError, match="--stop: got 'ece'"):
        check_stoppable(("clean", "ece"), "--stop")
