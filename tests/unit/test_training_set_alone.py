"""A study that evaluates its training set alone: that set is the score, and every page says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.matrix import matrix
from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.scores import scores
from sweeps.engine.commands.main import main
from sweeps.engine.documents.parquet import export_study
from sweeps.engine.study.folder import Study, open_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.wording.study import scoring_text
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig

MakeStudy = Callable[..., Study]


@pytest.fixture
def alone(tmp_path: Path, make_study: MakeStudy) -> Path:
    make_study(tmp_path, sets=())
    return tmp_path


def test_the_training_set_is_the_score(alone: Path) -> None:
    folder = open_study(alone)
    winner = chosen(folder)
    assert winner is not None
    assert winner.cell == "alpha=0.1 beta=0.1"
    trial = next(t for t in folder.study.plan if t.cell == winner.cell and t.role == "cell")
    own = {m.metric: m.value for m in folder.results[trial.trial_id].measurements if m.attack in ("none", "worst")}
    assert {m.task for m in folder.results[trial.trial_id].measurements} == {"source"}
    assert {name: winner.value(name) for name in own} == own
    interval = row_interval(folder, winner)["robust"]
    assert interval.low < own["robust"] < interval.high


def test_no_mean_of_zero_shot_sets_is_written_for_it(alone: Path) -> None:
    rows = pq.read_table(export_study(open_study(alone)), columns=["task"])
    assert set(rows["task"].to_pylist()) == {"source"}
    assert [column.over for column in matrix(open_study(alone)).columns] == ["source"] * 3


def test_every_page_says_that_it_is_not_zero_shot(alone: Path) -> None:
    words = "Not zero-shot, because only the training set source is evaluated: 24 images, selection split"
    assert scoring_text(open_study(alone)).startswith(words)
    for command in ("table", "report"):
        assert main([command, "--study", str(alone)]) == 0
    assert words in (alone / "table.md").read_text()
    assert words in (alone / "report.html").read_text()


@pytest.mark.parametrize("kind", ["heatmap", "clean_vs_robust", "forest", "slices"])
def test_its_figures_are_drawn(alone: Path, kind: str) -> None:
    assert main(["plot", "--study", str(alone), "--kind", kind]) == 0


def test_without_a_score_report_and_plot_end_in_a_sentence(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, fails=lambda trial: True, report=False)
    assert not [score for score in scores(open_study(tmp_path)) if score.n]
    assert main(["report", "--study", str(tmp_path)]) == 0
    assert main(["plot", "--study", str(tmp_path)]) == 2
    assert "has no finished trial to draw" in capsys.readouterr().err


def test_the_training_set_under_two_names_is_refused_in_the_plan(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "val").mkdir(parents=True)
    train = DataRef(source="imagefolder", root=str(tmp_path / "pictures"))
    inner = DataRef(source="imagefolder", root=str(tmp_path / "pictures" / "val"))
    base = TrialConfig(method=TgaZsr(), train_data=train, eval_suite=EvalSuite(tasks=(train, inner)))
    sweep = Sweep(name="own", question="?", space={"method.alpha": Real(low=0.1, high=1)}, base={"miniature": base})
    with pytest.raises(
        ConfigError, match=r"eval_suite\.tasks: got \['pictures', 'val'\], expected a set beside pictures"
    ):
        new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=("clean", "robust"))
