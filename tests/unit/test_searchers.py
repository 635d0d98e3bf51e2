"""Search mode without Ray or training: what is proposed, what the journal is told, what a new launch repeats."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.engine import Sweep
from sweeps.engine.running.jobs import Job
from sweeps.engine.running.search import Proposals, enqueue
from sweeps.engine.running.warm_start import transfers
from sweeps.engine.study.folder import Study, read_study, trial_folder, write_study
from sweeps.engine.study.optuna_space import distributions
from sweeps.engine.study.plan import new_study, suggestions
from sweeps.engine.study.samplers import SAMPLERS, sampler
from zsr_core.codec import ConfigError, to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.methods import TgaZsr
from zsr_core.space import Choice, Domain, Int, Real
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

BASE = TrialConfig(method=TgaZsr())
SPACE: dict[str, Domain] = {
    "method.alpha": Real(low=0.01, high=1.0, log=True),
    "method.beta": Real(low=0.01, high=1.0, log=True),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def begin(folder: Path, *, space: dict[str, Domain] | None = None, **changes: Any) -> Study:
    sweep = Sweep(name="s", question="?", base={"miniature": BASE}, space=space or SPACE)
    values: dict[str, Any] = {"search": "random", "seeds": (0,), "objectives": ("clean", "robust"), **changes}
    study = new_study(sweep, preset="miniature", **values)
    write_study(folder, study)
    return study


def propose(folder: Path, samples: int = 4, seeds: tuple[int, ...] = (0,), limit: int | None = None) -> Proposals:
    return Proposals(
        folder, read_study(folder), samples=samples, seeds=seeds, limit=limit,
        publish=lambda study: write_study(folder, study),
    )  # fmt: skip


def finish(folder: Path, job: Job, *, status: Any = "done", scale: float = 1.0) -> None:
    """Leave a job's results: clean falls with alpha, robust rises with it, each seed a point above the last."""
    for trial, config in zip(job.trials, job.configs, strict=True):
        assert isinstance(config.method, TgaZsr)
        alpha = scale * (math.log10(config.method.alpha) + 2) / 2
        scores = {"clean": 80 - 20 * alpha + trial.seed, "robust": 40 * alpha + trial.seed}
        rows = tuple(
            Measurement(
                trial_id=trial.trial_id,
                weights_sha="w",
                task=ZERO_SHOT_MEAN,
                split="selection",
                attack="none" if name == "clean" else WORST,
                eps=0.0 if name == "clean" else 1 / 255,
                metric=name,
                value=value,
                n=10,
                low=None,
                high=None,
            )
            for name, value in scores.items()
        )
        result = TrialResult(
            trial_id=trial.trial_id, config=config, status=status, error="" if status == "done" else "loss is NaN",
            measurements=rows if status == "done" else (),
        )  # fmt: skip
        write_text(trial_folder(folder, trial.trial_id) / "result.json", json.dumps(to_plain(result)))


def run(folder: Path, proposals: Proposals) -> list[Job]:
    jobs = []
    while (job := proposals.next()) is not None:
        finish(folder, job)
        proposals.finished(job)
        jobs.append(job)
    return jobs


def journal(folder: Path) -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    return optuna.load_study(study_name="s-random", storage=optuna.storages.JournalStorage(backend)).trials


def points_of(jobs: list[Job]) -> list[dict[str, Any]]:
    return [dict(job.trials[0].overrides) for job in jobs if job.trials[0].role == "cell"]


def test_a_search_runs_the_untouched_model_then_as_many_proposals_as_asked(tmp_path: Path) -> None:
    begin(tmp_path)
    jobs = run(tmp_path, propose(tmp_path))
    assert [job.trials[0].role for job in jobs] == ["baseline"] + ["cell"] * 4
    assert all(SPACE[path].contains(value) for point in points_of(jobs) for path, value in point.items())
    assert [trial.state for trial in journal(tmp_path)] == [TrialState.COMPLETE] * 4


def test_a_proposal_stands_in_the_plan_before_it_runs(tmp_path: Path) -> None:
    begin(tmp_path)
    proposals = propose(tmp_path)
    proposals.next()
    job = proposals.next()
    assert job is not None
    assert read_study(tmp_path).plan[-1] == job.trials[0]


def test_the_same_budget_again_proposes_nothing_and_a_greater_one_goes_on(tmp_path: Path) -> None:
    begin(tmp_path)
    first = run(tmp_path, propose(tmp_path, samples=4))
    assert run(tmp_path, propose(tmp_path, samples=4)) == []
    more = run(tmp_path, propose(tmp_path, samples=7))
    found = points_of(first) + points_of(more)
    assert len(found) == len({json.dumps(point) for point in found}) == 7, "a sampler begun anew must not repeat itself"


def test_a_search_is_the_same_when_it_is_run_again_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        begin(tmp_path / name)
    first, second = (run(tmp_path / name, propose(tmp_path / name)) for name in ("a", "b"))
    assert points_of(first) == points_of(second)


def test_both_scores_are_told_as_the_mean_over_the_paired_seeds(tmp_path: Path) -> None:
    begin(tmp_path, seeds=(0, 1))
    jobs = run(tmp_path, propose(tmp_path, samples=2, seeds=(0, 1)))
    cells = [job for job in jobs if job.trials[0].role == "cell"]
    assert [[t.seed for t in job.trials] for job in cells] == [[0, 1], [0, 1]]
    for job, trial in zip(cells, journal(tmp_path), strict=True):
        alpha = (math.log10(job.trials[0].overrides["method.alpha"]) + 2) / 2
        assert trial.values == pytest.approx([80 - 20 * alpha + 0.5, 40 * alpha + 0.5])


def test_one_objective_is_told_as_one_number(tmp_path: Path) -> None:
    begin(tmp_path, objectives=("robust",))
    run(tmp_path, propose(tmp_path, samples=1))
    (trial,) = journal(tmp_path)
    assert len(trial.values) == 1


@pytest.mark.parametrize(("status", "state"), [("failed", TrialState.FAIL), ("pruned", TrialState.PRUNED)])
def test_failed_trials_are_told_fail_and_stopped_ones_pruned(tmp_path: Path, status: str, state: TrialState) -> None:
    begin(tmp_path)
    proposals = propose(tmp_path, samples=1)
    while (job := proposals.next()) is not None:
        finish(tmp_path, job, status=status if job.trials[0].role == "cell" else "done")
        proposals.finished(job)
    assert [trial.state for trial in journal(tmp_path)] == [state]


def test_a_score_that_is_absent_is_told_fail_and_leaves_no_trial_running(tmp_path: Path) -> None:
    begin(tmp_path, objectives=("harmonic",))  # the made-up results have no harmonic mean
    run(tmp_path, propose(tmp_path, samples=1))
    assert [trial.state for trial in journal(tmp_path)] == [TrialState.FAIL]


def test_a_failed_proposal_is_run_again_by_the_next_launch_with_the_same_values(tmp_path: Path) -> None:
    begin(tmp_path)
    proposals = propose(tmp_path, samples=1)
    jobs = []
    while (job := proposals.next()) is not None:
        finish(tmp_path, job, status="failed" if job.trials[0].role == "cell" else "done")
        proposals.finished(job)
        jobs.append(job)
    again = run(tmp_path, propose(tmp_path, samples=1))
    assert points_of(again) == points_of(jobs)
    assert [trial.state for trial in journal(tmp_path)] == [TrialState.FAIL, TrialState.COMPLETE]
    assert run(tmp_path, propose(tmp_path, samples=1)) == []


def test_proposals_cut_off_by_a_kill_are_run_again_with_the_same_values(tmp_path: Path) -> None:
    begin(tmp_path)
    killed = propose(tmp_path, samples=3)
    baseline, first, second = killed.next(), killed.next(), killed.next()
    assert baseline is not None
    assert first is not None
    assert second is not None
    finish(tmp_path, baseline)
    finish(tmp_path, first)  # it ended, but nobody was left to tell the journal
    jobs = run(tmp_path, propose(tmp_path, samples=3))
    assert points_of(jobs)[0] == points_of([second])[0], "the one that was cut off"
    assert len(jobs) == 2
    trials = journal(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert [trial.params for trial in trials[:2]] == points_of([first, second])


def test_a_proposal_killed_before_it_was_planned_is_planned_by_the_next_launch(tmp_path: Path) -> None:
    before = begin(tmp_path)
    killed = propose(tmp_path, samples=2)
    killed.next()
    job = killed.next()
    assert job is not None
    write_study(tmp_path, before)  # as if the kill had come between the journal and the plan
    jobs = run(tmp_path, propose(tmp_path, samples=2))
    assert points_of(jobs)[0] == points_of([job])[0]
    assert len(points_of(jobs)) == 2


def test_a_lost_journal_is_written_again_from_the_folders(tmp_path: Path) -> None:
    begin(tmp_path)
    jobs = run(tmp_path, propose(tmp_path, samples=3))
    told = [trial.values for trial in journal(tmp_path)]
    (tmp_path / "optuna.journal").unlink()
    assert run(tmp_path, propose(tmp_path, samples=3)) == []
    assert [trial.params for trial in journal(tmp_path)] == points_of(jobs)
    assert [trial.values for trial in journal(tmp_path)] == told


def test_a_line_torn_by_a_kill_and_a_lock_left_behind_do_not_stop_the_next_launch(tmp_path: Path) -> None:
    begin(tmp_path)
    run(tmp_path, propose(tmp_path, samples=2))
    with (tmp_path / "optuna.journal").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    (tmp_path / "optuna.journal.lock").symlink_to("optuna.journal")
    assert len(points_of(run(tmp_path, propose(tmp_path, samples=3)))) == 1
    assert [trial.state for trial in journal(tmp_path)] == [TrialState.COMPLETE] * 3


def test_a_limit_cuts_seeds_short_and_the_next_launch_runs_the_rest(tmp_path: Path) -> None:
    begin(tmp_path, seeds=(0, 1))
    first = run(tmp_path, propose(tmp_path, samples=1, seeds=(0, 1), limit=3))
    assert [[t.seed for t in job.trials] for job in first] == [[0, 1], [0]]
    assert [trial.state for trial in journal(tmp_path)] == [TrialState.RUNNING], "half a cell is not told"
    rest = run(tmp_path, propose(tmp_path, samples=1, seeds=(0, 1)))
    assert [[t.seed for t in job.trials] for job in rest] == [[1]]
    assert [trial.state for trial in journal(tmp_path)] == [TrialState.COMPLETE]


def test_a_finite_space_is_covered_once_and_never_run_twice(tmp_path: Path) -> None:
    space: dict[str, Domain] = {
        "method.alpha": Choice(values=(0.01, 0.1)),
        "batch_size": Int(low=1, high=3),
    }
    begin(tmp_path, space=space)
    points = points_of(run(tmp_path, propose(tmp_path, samples=50)))
    assert len(points) == len({json.dumps(point, sort_keys=True) for point in points}) == 6
    assert TrialState.RUNNING not in {trial.state for trial in journal(tmp_path)}


def test_the_published_optimum_is_proposed_first_when_it_is_known(tmp_path: Path) -> None:
    study = begin(tmp_path)
    published = {"method.alpha": 0.08, "method.beta": 0.05}
    write_study(tmp_path, Study(**{**vars(study), "published": published}))
    assert points_of(run(tmp_path, propose(tmp_path, samples=2)))[0] == published


def test_a_point_outside_the_space_is_refused_rather_than_run(tmp_path: Path) -> None:
    study = begin(tmp_path)
    journal = optuna.create_study(directions=["maximize"] * 2)
    with pytest.raises(ConfigError, match=r"method\.alpha: got 3\.25, expected a value inside"):
        enqueue(journal, study, {"method.alpha": 3.25})
    with pytest.raises(ConfigError, match=r"point: unknown value 'method.gamma'"):
        enqueue(journal, study, {"method.gamma": 0.5})
    assert journal.trials == []


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "cmaes"])  # which is for one objective
def test_every_sampler_proposes_inside_the_space_for_two_objectives(name: str) -> None:
    study = optuna.create_study(directions=["maximize"] * 2, sampler=sampler(name, 3))
    for _ in range(3):
        trial = study.ask(distributions(SPACE))
        assert all(SPACE[path].contains(value) for path, value in trial.params.items())
        study.tell(trial, [1.0, 2.0])


def test_an_unknown_sampler_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"search: unknown value 'tpee'.*did you mean 'tpe'"):
        sampler("tpee", 0)


def test_bounds_stay_inclusive_through_translation() -> None:
    space: dict[str, Domain] = {
        "r": Real(low=0.25, high=4.0), "l": Real(low=0.01, high=1.0, log=True), "i": Int(low=2, high=5),
        "n": Int(low=1, high=64, log=True), "c": Choice(values=("l2", None, 3)),
    }  # fmt: skip
    found = distributions(space)
    for path, domain in space.items():
        ends = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
        for value in ends:
            kept = found[path].to_external_repr(found[path].to_internal_repr(value))
            assert kept == value
            study = optuna.create_study()
            study.enqueue_trial({path: value})
            assert study.ask({path: found[path]}).params == {path: value}
    assert (found["l"].log, found["r"].log, found["n"].log) == (True, False, True)
    study = optuna.create_study(sampler=sampler("random", 0))
    drawn = {study.ask({"i": found["i"]}).params["i"] for _ in range(60)}
    assert drawn == {2, 3, 4, 5}, "both ends are drawn, and nothing beyond"


def test_a_choice_among_values_that_are_not_plain_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.x: got \(1, 2\), expected a number, a text"):
        distributions({"method.x": Choice(values=((1, 2), (3, 4)))})


def test_a_studys_proposals_are_its_plan(tmp_path: Path) -> None:
    begin(tmp_path)
    jobs = run(tmp_path, propose(tmp_path, samples=3))
    assert list(suggestions(read_study(tmp_path)).values()) == points_of(jobs)


class TestWarmStart:
    @pytest.fixture
    def earlier(self, tmp_path: Path) -> Path:
        """A search of three points, of which the second failed."""
        folder = tmp_path / "earlier"
        begin(folder)
        proposals = propose(folder, samples=3)
        for number in range(4):
            job = proposals.next()
            assert job is not None
            finish(folder, job, status="failed" if number == 2 else "done")
            proposals.finished(job)
        return folder

    def test_a_new_search_knows_what_an_earlier_one_scored_and_still_runs_its_own_budget(
        self, tmp_path: Path, earlier: Path
    ) -> None:
        study = begin(tmp_path / "new")
        (taken,) = transfers(study, [earlier])
        started = Proposals(
            tmp_path / "new", study, samples=2, seeds=(0,), known=taken.known, first=taken.starts,
            publish=lambda study: write_study(tmp_path / "new", study),
        )  # fmt: skip
        scored = [trial for trial in journal(earlier) if trial.state == TrialState.COMPLETE]
        told = journal(tmp_path / "new")
        assert [(t.params, t.values, t.state) for t in told] == [(t.params, t.values, t.state) for t in scored]
        assert len(told) == 2, "the failed point has no score to tell"
        assert {trial.user_attrs["warm_start"].split(":")[0] for trial in told} == {str(earlier)}
        assert len(points_of(run(tmp_path / "new", started))) == 2
        assert len(read_study(tmp_path / "new").plan) == 3

    def test_a_point_is_told_once_however_often_the_search_is_launched(self, tmp_path: Path, earlier: Path) -> None:
        study = begin(tmp_path / "new")
        for _ in range(2):
            Proposals(
                tmp_path / "new", study, samples=2, seeds=(0,), known=transfers(study, [earlier])[0].known,
                publish=lambda study: write_study(tmp_path / "new", study),
            )  # fmt: skip
        assert len(journal(tmp_path / "new")) == 2


def test_another_process_opens_the_journal_through_optunas_storage_while_the_search_runs(tmp_path: Path) -> None:
    begin(tmp_path)
    proposals = propose(tmp_path, samples=3)
    proposals.next()
    job = proposals.next()
    assert job is not None
    finish(tmp_path, job)
    proposals.finished(job)
    proposals.next()
    code = (
        "import sys, optuna\n"
        "from optuna.storages import JournalStorage\n"
        "from optuna.storages.journal import JournalFileBackend\n"
        "study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(sys.argv[1])))\n"
        "print(study.study_name, study.metric_names, [trial.state.name for trial in study.trials])"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "optuna.journal")], capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "s-random ['clean', 'robust'] ['COMPLETE', 'RUNNING']"
    assert len(run(tmp_path, proposals)) == 1, "the search goes on undisturbed"


def test_a_journal_whose_last_line_a_kill_cut_off_goes_on(tmp_path: Path) -> None:
    begin(tmp_path)
    first = run(tmp_path, propose(tmp_path, samples=2))
    with (tmp_path / "optuna.journal").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    more = run(tmp_path, propose(tmp_path, samples=3))
    assert len(points_of([*first, *more])) == 3
    assert [trial.state for trial in journal(tmp_path)] == [TrialState.COMPLETE] * 3


def test_a_broken_journal_is_set_aside_and_filled_anew_from_the_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path
    begin(folder)
    first = run(folder, propose(folder, samples=2))
    (folder / "optuna.journal").write_bytes(b"\0\0\n" * 3)
    more = run(folder, propose(folder, samples=4))
    assert (folder / "optuna.journal.torn").is_file()
    assert "is broken and was set aside as optuna.journal.torn" in capsys.readouterr().err
    assert [trial.params for trial in journal(folder)] == points_of([*first, *more])
    assert len({str(point) for point in points_of([*first, *more])}) == 4, "no point is proposed a second time"
