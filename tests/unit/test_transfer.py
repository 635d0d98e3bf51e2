"""``--warm-start``: scores of the same trials are told; of anything else the best points run first, as a guess."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces.branches import by_method
from sweeps.engine import Sweep
from sweeps.engine.running.search import Proposals
from sweeps.engine.running.warm_start import Transfer, transfers
from sweeps.engine.study.folder import Study, read_study, trial_folder, write_study
from sweeps.engine.study.plan import new_study, suggestions
from zsr_core.codec import ConfigError, to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.methods import Caw, TeCoA, TgaZsr
from zsr_core.space import Domain, Int, Real, Variant, grid
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import shared
from zsr_core.trial.result import TrialResult

BASE = TrialConfig(method=TgaZsr())
ALPHA, BETA = Real(low=0.01, high=1.0, log=True), Real(low=0.01, high=1.0, log=True)
SPACE: dict[str, Domain] = {"method.alpha": ALPHA, "method.beta": BETA}
ALPHAS, BETAS = (0.01, 0.1, 1.0), (0.01, 0.1, 1.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def asked(folder: Path, space: Mapping[str, Domain], *, base: TrialConfig = BASE, **changes: Any) -> Study:
    """Return a new search over ``space``, written to ``folder``."""
    sweep = Sweep(name="s", question="?", base={"miniature": base}, space=dict(space), **changes)
    study = new_study(sweep, preset="miniature", search="random", seeds=(0,), objectives=("clean", "robust"))
    write_study(folder, study)
    return study


def gridded(folder: Path, *, base: TrialConfig = BASE, unfinished: tuple[str, ...] = (), **levels: Any) -> Path:
    """Return the folder of a finished grid over alpha and beta; robust accuracy is best at the smallest values."""
    values = {"method.alpha": ALPHAS, "method.beta": BETAS, **levels}
    sweep = Sweep(name="earlier", question="?", base={"miniature": base}, variants=grid(values))
    return finished(folder, sweep, unfinished)


def finished(folder: Path, sweep: Sweep, unfinished: tuple[str, ...] = ()) -> Path:
    study = new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=("clean", "robust"))
    write_study(folder, study)
    for trial in study.plan:
        config = study.config(trial)
        alpha = getattr(config.method, "alpha", 0.0)
        score = 40 - 10 * math.log10(alpha + 0.001) - getattr(config.method, "beta", 0.0)
        rows = tuple(
            Measurement(
                trial_id=trial.trial_id, weights_sha="w", task=ZERO_SHOT_MEAN, split="selection",
                attack="none" if name == "clean" else WORST, eps=0.0 if name == "clean" else config.eval_suite.eps[0],
                metric=name, value=score, n=10, low=None, high=None,
            )
            for name in ("clean", "robust", "harmonic")
        )  # fmt: skip
        if trial.label.split(" seed")[0] not in unfinished:
            result = TrialResult(trial_id=trial.trial_id, config=config, status="done", measurements=rows)
            write_text(trial_folder(folder, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    return folder


def proposed(folder: Path, taken: Transfer, samples: int) -> list[dict[str, Any]]:
    """Return the first proposals of a search that takes ``taken``; nothing of it ends."""
    proposals = Proposals(
        folder, read_study(folder), samples=samples, seeds=(0,), known=taken.known, first=taken.starts,
        publish=lambda study: write_study(folder, study),
    )  # fmt: skip
    while proposals.next() is not None:
        pass
    return [dict(overrides) for overrides in suggestions(read_study(folder)).values()]


def test_the_same_trials_are_told_with_their_scores(tmp_path: Path) -> None:
    earlier = gridded(tmp_path / "e", unfinished=("alpha=0.1 beta=0.1",))
    (taken,) = transfers(asked(tmp_path / "new", SPACE), [earlier])
    assert [dict(point.params) for point in taken.known] == [
        {"method.alpha": a, "method.beta": b} for a in ALPHAS for b in BETAS if (a, b) != (0.1, 0.1)
    ]
    assert taken.starts == ()
    assert taken.text == (
        f"{earlier} has 9 cells. The sampler is told the scores of 8, which would be the same trials here. Dropped: "
        "1 that have not finished."
    )


def test_of_a_wider_space_the_points_inside_are_told_and_the_others_are_counted(tmp_path: Path) -> None:
    (taken,) = transfers(asked(tmp_path / "new", {**SPACE, "method.beta": Real(low=0.05, high=1.0)}),
                         [gridded(tmp_path / "e")])  # fmt: skip
    assert {point.params["method.beta"] for point in taken.known} == {0.1, 1.0}
    assert taken.text.endswith("Dropped: 3 that are outside the range of beta.")


def test_of_another_training_the_best_points_run_first_and_no_score_is_told(tmp_path: Path) -> None:
    earlier = gridded(tmp_path / "e", base=BASE.with_({"epochs": 1 + BASE.epochs}))
    (taken,) = transfers(asked(tmp_path / "new", SPACE), [earlier])
    assert taken.known == ()
    best = [{"method.alpha": a, "method.beta": b} for a, b in
            ((0.01, 0.01), (0.01, 0.1), (0.01, 1.0), (0.1, 0.01), (0.1, 0.1))]  # fmt: skip
    assert [dict(start.params) for start in taken.starts] == best
    assert taken.text == (
        f"{earlier} has 9 cells. 5 points of another space, model, training or evaluation run first here, and their "
        "scores there are not told (alpha, beta taken). Dropped: 4 that are not among its best 5."
    )
    assert proposed(tmp_path / "new", taken, 6)[:5] == best
    journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "new" / "optuna.journal"))
    trials = optuna.load_study(study_name="s-random", storage=optuna.storages.JournalStorage(journal)).trials
    assert all(trial.values is None for trial in trials)
    assert [trial.user_attrs["prior"] for trial in trials[:5]] == [start.origin for start in taken.starts]


def test_a_start_is_made_once_however_often_the_search_is_launched(tmp_path: Path) -> None:
    (taken,) = transfers(
        asked(tmp_path / "new", SPACE), [gridded(tmp_path / "e", base=BASE.with_({"epochs": 1 + BASE.epochs}))]
    )
    assert len(proposed(tmp_path / "new", taken, 3)) == 3
    points = proposed(tmp_path / "new", taken, 7)
    assert len({json.dumps(point) for point in points}) == 7
    assert points[:5] == [dict(start.params) for start in taken.starts]


def test_an_axis_that_the_earlier_study_lacks_has_its_value_there_or_is_drawn_anew(tmp_path: Path) -> None:
    earlier = gridded(tmp_path / "e", base=BASE.with_({"epochs": 1 + BASE.epochs}))
    wide = {**SPACE, "optim.lr": Real(low=BASE.optim.lr / 2, high=1.0, log=True)}
    (taken,) = transfers(asked(tmp_path / "held", wide), [earlier])
    assert {start.params["optim.lr"] for start in taken.starts} == {BASE.optim.lr}
    other = BASE.with_({"method": Caw()})
    lrs = {"optim.lr": Real(low=1e-6, high=1.0, log=True), "method.alpha": Real(low=0.1, high=30.0, log=True)}
    varied = gridded(tmp_path / "lrs", **{"optim.lr": (1e-4, 1e-3)})
    (taken,) = transfers(asked(tmp_path / "drawn", lrs, base=other), [varied])
    assert [dict(start.params) for start in taken.starts] == [{"optim.lr": 1e-4}, {"optim.lr": 1e-3}]
    assert "(lr taken; alpha drawn anew)" in taken.text
    assert "16 that are at the place of a better one" in taken.text
    points = proposed(tmp_path / "drawn", taken, 2)
    assert [point["optim.lr"] for point in points] == [1e-4, 1e-3]
    assert all(0.1 <= point["method.alpha"] <= 30 for point in points)


def test_a_conditional_study_gives_its_branch_and_takes_from_a_plain_one(tmp_path: Path) -> None:
    base = shared()["miniature"]
    branches = by_method((TeCoA(), TgaZsr(), Caw()))["miniature"]
    sweep = Sweep(name="c", question="?", base={"miniature": base}, branches={"miniature": branches})
    conditional = finished(tmp_path / "c", sweep)
    own = base.with_(branches[1].overrides)
    axes = {"method.alpha": Real(low=0.001, high=1.0, log=True), "method.beta": Real(low=0.001, high=1.0, log=True)}
    (taken,) = transfers(asked(tmp_path / "plain", axes, base=own), [conditional])
    assert len(taken.known) == 25, "the grid of TGA-ZSR; its cell with both weights off has no place on the axes"
    assert taken.starts == ()
    assert taken.text.endswith("Dropped: 21 that are of another method; 1 that are outside the range of alpha, beta.")
    study = new_study(sweep, preset="miniature", search="tpe", seeds=(0,), objectives=("clean", "robust"))
    (back,) = transfers(study, [gridded(tmp_path / "e", base=own.with_({"epochs": 1 + own.epochs}))])
    assert dict(back.starts[0].params) == {
        "method": "TGA-ZSR", "TGA-ZSR: method.alpha": 0.01, "TGA-ZSR: method.beta": 0.01
    }  # fmt: skip
    write_study(tmp_path / "s", study)
    points = proposed(tmp_path / "s", back, 8)  # after the three recipes; beta 1 is outside
    assert [(p["method.alpha"], p["method.beta"]) for p in points[3:6]] == [(0.01, 0.01), (0.01, 0.1), (0.1, 0.01)]


def test_a_study_without_a_common_axis_is_refused_by_name(tmp_path: Path) -> None:
    earlier = gridded(tmp_path / "e")
    study = asked(tmp_path / "new", {"method.alpha": Real(low=0.1, high=30.0)}, base=BASE.with_({"method": Caw()}))
    with pytest.raises(ConfigError, match=rf"--warm-start: got '{earlier}', expected a study that varies an axis"):
        transfers(study, [earlier])
    listed = Sweep(name="l", question="?", base={"miniature": BASE}, variants=(
        Variant(label="a", overrides={"epochs": 1}), Variant(label="b", overrides={"epochs": 2})))  # fmt: skip
    (taken,) = transfers(asked(tmp_path / "epochs", {"epochs": Int(low=1, high=4)}), [finished(tmp_path / "l", listed)])
    assert sorted(point.params["epochs"] for point in taken.known) == [1, 2]


def test_scores_that_are_read_at_another_budget_are_not_told(tmp_path: Path) -> None:
    study = asked(tmp_path / "new", SPACE)
    (taken,) = transfers(replace(study, score_eps=study.score_eps * 2), [gridded(tmp_path / "e")])
    assert (len(taken.known), len(taken.starts)) == (0, 5)
