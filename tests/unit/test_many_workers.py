"""Proposals for many workers: no repeats in flight, and little time of the driver for each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from sweeps.engine import Sweep
from sweeps.engine.analysis.searching.duplicates import repeated
from sweeps.engine.running.jobs import Job
from sweeps.engine.running.launch_flags import SEARCHES
from sweeps.engine.running.search import Proposals
from sweeps.engine.study.folder import trial_folder, write_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.samplers import SAMPLERS
from zsr_core.codec import to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.methods import TgaZsr
from zsr_core.space import Domain, Real
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

SPACE: dict[str, Domain] = {
    "method.alpha": Real(low=0.01, high=1.0, log=True),
    "method.beta": Real(low=0.01, high=1.0, log=True),
}
WORKERS = 64
DUPLICATES = 0.02  # share of proposals that may repeat another one in flight


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def search(folder: Path, name: str, samples: int) -> Proposals:
    sweep = Sweep(name="s", question="?", base={"miniature": TrialConfig(method=TgaZsr())}, space=SPACE)
    objectives = ("clean",) if name == "cmaes" else ("clean", "robust")
    study = new_study(sweep, preset="miniature", search=name, seeds=(0,), objectives=objectives)
    write_study(folder, study)
    return Proposals(folder, study, samples=samples, seeds=(0,), publish=lambda study: None)


def finish(folder: Path, job: Job) -> None:
    """Leave a job's result: both scores are best at alpha = beta = 0.1."""
    for trial, config in zip(job.trials, job.configs, strict=True):
        method = config.method
        assert isinstance(method, TgaZsr)
        off = (math.log10(method.alpha) + 1) ** 2 + (math.log10(method.beta) + 1) ** 2
        rows = tuple(
            Measurement(
                trial_id=trial.trial_id, weights_sha="w", task=ZERO_SHOT_MEAN, split="selection", attack=attack,
                eps=eps, metric=metric, value=value - 20 * off, n=10, low=None, high=None,
            )
            for metric, attack, eps, value in (("clean", "none", 0.0, 80.0), ("robust", WORST, 1 / 255, 50.0))
        )  # fmt: skip
        result = TrialResult(trial_id=trial.trial_id, config=config, status="done", measurements=rows)
        write_text(trial_folder(folder, trial.trial_id) / "result.json", json.dumps(to_plain(result)))


def ended(folder: Path, proposals: Proposals, count: int) -> None:
    for _ in range(count):
        job = proposals.next()
        assert isinstance(job, Job)
        finish(folder, job)
        proposals.finished(job)


def test_every_search_of_the_command_line_has_its_sampler() -> None:
    assert tuple(SAMPLERS) == SEARCHES


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("gp", "cmaes")]


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3", "random", "qmc", *SLOW])
def test_sixty_four_proposals_in_flight_do_not_repeat_each_other(tmp_path: Path, name: str) -> None:
    proposals = search(tmp_path, name, samples=40 + WORKERS)
    ended(tmp_path, proposals, 31)  # the untouched model and thirty proposals, so that a sampler has learnt something
    flying = [job for _ in range(WORKERS) if isinstance(job := proposals.next(), Job)]
    assert len(flying) == WORKERS
    points = [dict(job.trials[0].overrides) for job in flying]
    assert repeated(points, SPACE) <= DUPLICATES * WORKERS


def test_a_quasi_random_sequence_goes_on_in_the_next_launch(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", "qmc", samples=12)
    ended(tmp_path / "whole", whole, 13)
    first = search(tmp_path / "cut", "qmc", samples=12)
    ended(tmp_path / "cut", first, 6)
    again = Proposals(tmp_path / "cut", first.study, samples=12, seeds=(0,), publish=lambda study: None)
    ended(tmp_path / "cut", again, 7)
    runs = [[t.overrides for t in each.study.plan if t.role == "cell"] for each in (whole, again)]
    assert runs[0] == runs[1]
