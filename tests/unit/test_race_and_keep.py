"""Further seeds only for contenders, and conditions that a chosen cell must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.ranking import ranked
from sweeps.engine.analysis.scores import scores, untouched_score
from sweeps.engine.analysis.searching.keeping import keeping, violations
from sweeps.engine.running.options import read_options
from sweeps.engine.running.race import contenders, next_round
from sweeps.engine.running.search import Proposals
from sweeps.engine.study.folder import Study, StudyFolder, open_study, read_study, write_study
from sweeps.engine.study.keeping import Keep, read_keep
from sweeps.engine.wording.keeping import keep_text
from sweeps.tga_alpha_beta import SWEEP
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]
BEST = "alpha=0.1 beta=0.1"


def test_a_range_of_seeds_is_read_as_first_and_further_ones() -> None:
    options = read_options(SWEEP, ["--seeds", "1-5"])
    assert (options.seeds, options.more_seeds) == ((0,), (1, 2, 3, 4))
    assert read_options(SWEEP, ["--seeds", "3"]).more_seeds == ()


@pytest.mark.parametrize("text", ["5-1", "3-3", "1-", "-5", "1-5-9", "a-b"])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        read_options(SWEEP, [f"--seeds={text}"])


def test_only_contenders_and_the_reference_get_the_next_seed(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.09, 0.1, 0.9), report=False)
    folder = open_study(tmp_path)
    race = contenders(folder)
    best = chosen(folder)
    assert best is not None
    assert race[0] == best.cell
    assert set(race[1:]) == set(ranked(folder).rivals)
    assert 1 < len(race) < 9
    grown = next_round(folder, (0, 1, 2))
    new = [trial for trial in grown.plan if trial.seed == 1]
    assert {trial.cell for trial in new} == {*race, "untouched"}
    assert len(grown.plan) == len(folder.study.plan) + len(new)
    assert {trial.role for trial in new} == {"cell", "baseline"}


def test_the_race_ends_with_the_last_seed_or_a_single_contender(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "all", seeds=(0, 1), report=False)
    folder = open_study(tmp_path / "all")
    assert next_round(folder, (0, 1)) == folder.study
    make_study(tmp_path / "one", levels=(0.1,), report=False)
    alone = open_study(tmp_path / "one")
    assert next_round(alone, (0, 1, 2)) == alone.study


@pytest.mark.parametrize(
    ("text", "keep"),
    [("clean >= untouched - 2", Keep(score="clean", relation=">=", offset=-2.0, of_untouched=True)),
     ("clean>=untouched", Keep(score="clean", relation=">=", offset=0.0, of_untouched=True)),
     ("ece10 <= untouched + 0.5", Keep(score="ece10", relation="<=", offset=0.5, of_untouched=True)),
     ("robust >= 20", Keep(score="robust", relation=">=", offset=20.0))],
)  # fmt: skip
def test_a_condition_is_read_and_written_the_same(text: str, keep: Keep) -> None:
    assert read_keep(text) == keep
    assert read_keep(keep.text) == keep


@pytest.mark.parametrize("text", ["clean", "clean > 2", "clean >=", "clean >= untouched 2", "clean >= untouched -", ""])
def test_anything_else_is_no_condition(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--keep: got .*, expected a condition such as"):
        read_keep(text)


def test_a_condition_on_no_score_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'clean'"):
        read_keep("clena >= 2")


def test_cma_es_is_refused_for_several_objectives_and_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"--search: got 'cmaes', expected one objective"):
        read_options(SWEEP, ["--search", "cmaes"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'zsr\[search\]'"):
        read_options(SWEEP, ["--search", "cmaes", "--objectives", "harmonic"])


def with_keep(folder: StudyFolder, text: str) -> StudyFolder:
    study = replace(folder.study, keep=(read_keep(text),))
    write_study(folder.path, study)
    return open_study(folder.path)


def test_the_choice_is_the_best_cell_that_keeps_the_condition(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, report=False)
    folder = open_study(tmp_path)
    free = chosen(folder)
    assert free is not None
    best = max(cell.value("robust") or 0.0 for cell in scores(folder) if cell.cell != BEST)
    kept = with_keep(folder, f"robust <= {best:.2f}")
    winner = chosen(kept)
    assert winner is not None
    assert winner.cell != free.cell
    assert (winner.value("robust") or 0.0) <= best + 0.01
    assert keep_text(kept).startswith("Chosen among the 8 of 9 cells that keep robust <= ")


def test_the_bound_may_be_the_untouched_models_score(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, report=False)
    folder = with_keep(open_study(tmp_path), "clean >= untouched - 2")
    untouched = untouched_score(folder)
    assert untouched is not None
    for cell in scores(folder):
        bound = (untouched.value("clean") or 0.0) - 2
        assert violations(folder, cell) == {"clean >= untouched - 2": pytest.approx(bound - (cell.value("clean") or 0))}


def test_if_no_cell_keeps_it_the_nearest_is_chosen_with_a_warning(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, report=False)
    folder = with_keep(open_study(tmp_path), "clean >= 101")
    nearest = max(cell.value("clean") or 0.0 for cell in scores(folder))
    assert {cell.value("clean") for cell in keeping(folder, scores(folder))} == {nearest}
    assert keep_text(folder).startswith("WARNING: none of 9 cells keeps clean >= 101")


def test_the_sampler_is_told_by_how_much_a_condition_is_broken(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, points=[(0.1, 0.1), (1.0, 1.0)], report=False)
    folder = with_keep(open_study(tmp_path), "robust >= 30")
    before = optuna.logging.get_verbosity()
    search = Proposals(tmp_path, read_study(tmp_path), samples=2, seeds=(0,), publish=lambda study: None)
    optuna.logging.set_verbosity(before)
    told = [trial.constraints for trial in search._journal.get_trials(deepcopy=False)]
    expected = [{"robust >= 30": pytest.approx(30 - (cell.value("robust") or 0.0))} for cell in scores(folder)]
    assert told == expected
