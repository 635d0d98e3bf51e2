"""The method as an axis: each method has its own weights, and a search knows which belong to which."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search_spaces import Axis, Branch
from search_spaces.branches import by_method
from sweeps.engine import Sweep
from sweeps.engine.analysis.curves import slices
from sweeps.engine.analysis.importance import importances
from sweeps.engine.analysis.panels import Source, panels, unseen_axes
from sweeps.engine.analysis.score_query import Reading
from sweeps.engine.analysis.scores import best, scores
from sweeps.engine.analysis.searching.edges import best_on_edge
from sweeps.engine.analysis.searching.grid import grid_of
from sweeps.engine.analysis.searching.health import repeats
from sweeps.engine.running.jobs import Job
from sweeps.engine.running.options import read_options
from sweeps.engine.running.search import Proposals
from sweeps.engine.study.branches import branch_of, overrides_of, point_of, values_text
from sweeps.engine.study.folder import Study, StudyFolder, open_study, read_study, trial_folder, write_study
from sweeps.engine.study.plan import new_study, recovered, suggested, suggestions
from sweeps.engine.wording.answer import answer
from sweeps.engine.wording.study import unseen_text
from zsr_core.codec import ConfigError, to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.methods import Caw, TeCoA, TgaZsr
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import shared
from zsr_core.trial.result import TrialResult

METHODS = (TeCoA(), TgaZsr(), Caw())
SWEEP = Sweep(
    name="s", question="?", base={"miniature": shared()["miniature"]},
    branches={"miniature": by_method(METHODS)["miniature"]},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def begin(folder: Path, search: str | None = "tpe", sweep: Sweep = SWEEP) -> Study:
    study = new_study(sweep, preset="miniature", search=search, seeds=(0,), objectives=("clean", "robust"))
    write_study(folder, study)
    return study


def propose(folder: Path, samples: int) -> Proposals:
    return Proposals(
        folder, read_study(folder), samples=samples, seeds=(0,), publish=lambda study: write_study(folder, study)
    )


def robust_of(config: TrialConfig) -> float:
    """TGA-ZSR is best at alpha 0.03, CAW at alpha 3; TeCoA has no weight."""
    method = config.method
    if isinstance(method, TgaZsr):
        return 40 - 10 * abs(math.log10(max(method.alpha, 0.0001) / 0.03))
    return 30 - 10 * abs(math.log10(method.alpha / 3)) if isinstance(method, Caw) else 20.0


def finish(folder: Path, trial_id: str, config: TrialConfig, split: Any = "selection") -> None:
    robust = robust_of(config)
    harmonic = 2 * 60.0 * robust / (60.0 + robust)
    rows = tuple(
        Measurement(
            trial_id=trial_id, weights_sha="w", task=ZERO_SHOT_MEAN, split=split,
            attack="none" if name == "clean" else WORST, eps=0.0 if name == "clean" else config.eval_suite.eps[0],
            metric=name, value=value, n=10, low=None, high=None,
        )
        for name, value in (("clean", 60.0), ("robust", robust), ("harmonic", harmonic))
    )  # fmt: skip
    result = TrialResult(trial_id=trial_id, config=config, status="done", measurements=rows)
    write_text(trial_folder(folder, trial_id) / "result.json", json.dumps(to_plain(result)))


def run(folder: Path, samples: int) -> list[Job]:
    proposals, jobs = propose(folder, samples), []
    while (job := proposals.next()) is not None:
        for trial, config in zip(job.trials, job.configs, strict=True):
            finish(folder, trial.trial_id, config)
        proposals.finished(job)
        jobs.append(job)
    return jobs


def gridded(folder: Path) -> StudyFolder:
    study = begin(folder, search=None)
    for trial in study.plan:
        finish(folder, trial.trial_id, study.config(trial))
    return open_study(folder)


def journal(folder: Path) -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    return optuna.load_study(study_name="s-tpe", storage=optuna.storages.JournalStorage(backend)).trials


def test_a_search_starts_with_each_methods_own_recipe(tmp_path: Path) -> None:
    study = begin(tmp_path)
    run(tmp_path, 3)
    first = list(suggestions(read_study(tmp_path)).values())
    own = [study.base.with_(branch.overrides) for branch in study.branches]
    assert [study.base.with_(point).method for point in first] == [config.method for config in own]


def test_a_proposal_has_the_weights_of_its_own_method_inside_their_ranges(tmp_path: Path) -> None:
    begin(tmp_path)
    run(tmp_path, 24)
    study = read_study(tmp_path)
    seen = set()
    for overrides in suggestions(study).values():
        branch = branch_of(study, overrides)
        assert branch is not None
        seen.add(branch.label)
        assert all(domain.contains(overrides[path]) for path, domain in branch.domains.items())
        assert overrides_of(study, point_of(study, overrides)) == overrides
    assert seen == {"TeCoA", "TGA-ZSR", "CAW"}
    assert {trial.state for trial in journal(tmp_path)} == {TrialState.COMPLETE}


def test_a_method_without_weights_runs_once(tmp_path: Path) -> None:
    begin(tmp_path)
    run(tmp_path, 20)
    study = read_study(tmp_path)
    labels = [branch_of(study, overrides) for overrides in suggestions(study).values()]
    assert [b.label for b in labels if b is not None].count("TeCoA") == 1
    assert len(labels) == 20


def test_a_search_finds_the_best_method_and_spends_most_proposals_on_it(tmp_path: Path) -> None:
    begin(tmp_path)
    run(tmp_path, 40)
    folder = open_study(tmp_path)
    labels = [b.label for cell in scores(folder) if (b := branch_of(folder.study, cell.overrides)) is not None]
    assert labels.count("TGA-ZSR") > labels.count("CAW")
    lines = answer(folder)
    assert lines[0].startswith("Best of 40 cells on the selection split: TGA-ZSR alpha=")
    assert any(line.startswith("  TeCoA") or line.startswith("  #001 TeCoA") for line in lines)


def test_a_killed_search_goes_on_with_the_proposals_that_it_had(tmp_path: Path) -> None:
    begin(tmp_path)
    proposals = propose(tmp_path, 6)
    started = [proposals.next() for _ in range(4)]  # the untouched model and three proposals, none of which ends
    jobs = run(tmp_path, 6)
    before = [job.trials[0].trial_id for job in started if job is not None]
    assert [job.trials[0].trial_id for job in jobs][:4] == before
    assert len(suggestions(read_study(tmp_path))) == 6


def test_a_journal_that_is_lost_is_filled_from_the_trials(tmp_path: Path) -> None:
    begin(tmp_path)
    run(tmp_path, 8)
    (tmp_path / "optuna.journal").unlink()
    run(tmp_path, 10)
    complete = [trial for trial in journal(tmp_path) if trial.state == TrialState.COMPLETE]
    assert len({json.dumps(trial.params, sort_keys=True) for trial in complete}) == 10


def test_a_study_whose_plan_is_lost_is_planned_again_from_its_trials(tmp_path: Path) -> None:
    asked = begin(tmp_path)
    run(tmp_path, 8)
    study = read_study(tmp_path)
    begun = [study.config(trial) for trial in study.plan if trial.role == "cell"]
    again = recovered(asked, begun)
    assert {trial.trial_id for trial in again.plan} == {trial.trial_id for trial in study.plan}
    assert [values_text(again, o) for o in suggestions(again).values()] == [
        values_text(study, o) for o in suggestions(study).values()
    ]


def test_the_grid_has_each_methods_own_levels(tmp_path: Path) -> None:
    study = begin(tmp_path, search=None)
    cells = [row.cell for row in study.rows(role="cell")]
    assert len(cells) == 1 + 26 + 20  # TeCoA; 5 x 5 and both off; 5 x 4
    assert "TGA-ZSR alpha=0.03 beta=0.1" in cells
    assert "CAW alpha=3 beta=0.1" in cells


def test_figures_keep_weights_of_one_name_apart(tmp_path: Path) -> None:
    folder = gridded(tmp_path)
    best = max(scores(folder), key=lambda cell: cell.value("robust") or 0.0)
    shown = panels(
        [Source(folder=folder, through=best)], Reading(name="robust"), "method.alpha", "method.beta", "method"
    )
    assert [panel.title for panel in shown] == ["TGA-ZSR", "CAW"]
    assert [panel.surface.xs for panel in shown] == [(0.003, 0.01, 0.03, 0.1, 0.3), (0.1, 1.0, 3.0, 10.0, 30.0)]
    assert all(panel.surface.x_log for panel in shown)
    with pytest.raises(ConfigError, match="--facet method: TGA-ZSR, CAW have these axes"):
        panels([Source(folder=folder, through=best)], Reading(name="robust"), "method.alpha", "method.beta")
    paths = [each.path for each in slices(folder, Reading(name="robust"), best)]
    assert paths == ["TGA-ZSR: method.alpha", "TGA-ZSR: method.beta", "CAW: method.alpha", "CAW: method.beta"]


def test_a_branch_of_more_than_two_axes_is_cut_through_its_best_cell(tmp_path: Path) -> None:
    lr = Axis(path="optim.lr", domain=Real(low=1e-4, high=1e-2, log=True), levels=(1e-4, 1e-2))
    tga, caw = (replace(branch, axes=tuple(replace(a, levels=a.levels[1:3]) for a in branch.axes))
                for branch in by_method((TgaZsr(), Caw()))["miniature"])  # fmt: skip
    eps = Axis(path="threat.eps", domain=Real(low=1 / 255, high=4 / 255), levels=(1 / 255, 4 / 255))
    sweep = Sweep(
        name="s", question="?", base={"miniature": shared()["miniature"]}, space=(eps,), score_eps=2 / 255,
        branches={"miniature": (replace(tga, axes=(*tga.axes, lr)), caw)},
    )  # fmt: skip
    study = begin(tmp_path, search=None, sweep=sweep)
    for trial in study.plan:
        finish(tmp_path, trial.trial_id, study.config(trial))
    folder = open_study(tmp_path)
    top = best(scores(folder), "robust")
    assert top is not None
    source = Source(folder=folder, through=top)
    over = ("method.alpha", "method.beta", "method")
    shown = panels([source], Reading(name="robust"), *over)
    assert [panel.title for panel in shown] == ["TGA-ZSR", "CAW"]
    assert [[(p.x, p.y, p.n) for p in panel.surface.points] for panel in shown] == [
        [(x, y, 1) for y in panel.surface.ys for x in panel.surface.xs] for panel in shown
    ]
    assert [len(panel.surface.points) for panel in shown] == [4, 4]
    assert [panel.chosen for panel in shown] == [(top.overrides["method.alpha"], top.overrides["method.beta"]), None]
    unseen = {(each.of, each.path): each.held for each in unseen_axes(source, *over)}
    assert unseen == {
        ("TGA-ZSR", "threat.eps"): top.overrides["threat.eps"], ("TGA-ZSR", "optim.lr"): top.overrides["optim.lr"],
        ("CAW", "threat.eps"): 1 / 255,
    }  # fmt: skip
    words = unseen_text(unseen_axes(source, *over))
    assert words.startswith("Held at the value of each method's best configuration: TGA-ZSR eps = 1/255, ")


def test_an_importance_over_weights_that_cells_lack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="weights that each method has alone"):
        importances(gridded(tmp_path), Reading(name="robust"))


def test_an_edge_is_one_of_the_best_methods_own_axes(tmp_path: Path) -> None:
    folder = gridded(tmp_path)
    (edge,) = best_on_edge(folder)
    assert edge.path == "method.beta"  # ties: the first beta; alpha is inside
    assert edge.beyond is None, "--refine does not extend the axes of one method"


def test_health_counts_repeats_within_one_method_only(tmp_path: Path) -> None:
    study = begin(tmp_path)
    tga, caw = (study.branches[i].overrides for i in (1, 2))
    same = {"method.alpha": 0.2, "method.beta": 0.05}
    for overrides in ({**tga, **same}, {**caw, **same}, {**tga, **same, "method.alpha": 0.2001}):
        study = replace(study, plan=(*study.plan, *suggested(study, overrides, (0,))))
    assert repeats(StudyFolder(path=tmp_path, study=study, results={})) == (1, 3)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--search", "gp"], "--search: got 'gp', expected one of tpe, random"),
        (["--search", "tpe", "--until-certain"], "--until-certain: got True, expected a space whose axes all"),
        (["--refine"], "--refine: got '1', expected a space whose axes all cells share"),
    ],
)  # fmt: skip
def test_what_needs_one_space_for_all_cells_is_refused(argv: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_options(SWEEP, argv)
    assert says in str(refused.value)


def test_a_replay_of_a_conditional_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a grid whose axes all cells share"):
        grid_of(gridded(tmp_path))


def test_branches_that_share_a_name_or_repeat_an_axis_of_the_space_are_refused() -> None:
    axis = Axis(path="method.alpha", domain=Real(low=0.01, high=1.0))
    branch = Branch(label="TGA-ZSR", overrides={"method": TgaZsr()}, axes=(axis,))
    other = Branch(label="TeCoA", overrides={"method": TeCoA()})
    with pytest.raises(ConfigError, match="none twice"):
        replace(SWEEP, branches=(branch, branch))
    with pytest.raises(ConfigError, match="axes that the whole space does not have"):
        replace(SWEEP, base={"miniature": TrialConfig(method=TgaZsr())}, branches=(branch, other), space=(axis,))
