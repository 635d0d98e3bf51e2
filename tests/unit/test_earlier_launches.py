"""What earlier launches left in a study is kept, and said: seeds, report rows, cells that the sweep no longer lists."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine import Sweep, launch
from sweeps.engine.analysis.matrix import matrix
from sweeps.engine.commands.main import main
from sweeps.engine.documents.table import table_lines
from sweeps.engine.figures.kinds import draw_into
from sweeps.engine.figures.scene import Request
from sweeps.engine.running.course import Course
from sweeps.engine.running.execute import choose
from sweeps.engine.study.folder import Study, StudyFolder, open_study, read_study, trial_folder, write_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.wording.answer import answer
from sweeps.engine.wording.matrix import described
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.space import Choice, Real, grid
from zsr_core.trial.config import TrialConfig

MakeStudy = Callable[..., Study]
WIDE, NARROW = (0.1, 0.3, 1.0), (0.1, 0.3)


def report_seeds(study: Study) -> list[tuple[str, int]]:
    return sorted((t.role, t.seed) for t in study.plan if t.is_report)


def test_a_rerun_with_fewer_seeds_keeps_the_report_rows_that_have_a_result(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study(tmp_path, seeds=(0, 1, 2))
    before = report_seeds(study)
    unrun = next(t for t in study.plan if t.role == "final" and t.seed == 2)
    shutil.rmtree(trial_folder(tmp_path, unrun.trial_id))
    course = Course(open_study(tmp_path), samples=0, seeds=1)
    choose(course, seeds=(0,))
    assert report_seeds(read_study(tmp_path)) == [row for row in before if row != ("final", 2)]
    assert len([trial for trial in course.study.plan if trial.is_report and course.folder.is_done(trial)]) == 5


def sweep_of(levels: tuple[float, ...]) -> Sweep:
    suite = EvalSuite(tasks=(DataRef(limit=8), DataRef(name="sport", limit=8)))
    base = TrialConfig(method=TgaZsr(), epochs=1, train_data=DataRef(limit=16), eval_suite=suite)
    return Sweep(name="n", question="?", variants=grid({"method.alpha": levels}), base={"miniature": base})


def test_cells_that_a_narrowed_grid_drops_are_said_and_can_still_win(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = new_study(sweep_of(WIDE), preset="miniature", search=None, seeds=(0, 1), objectives=("clean", "robust"))
    make_study(tmp_path / "made", levels=(0.1, 0.3, 1.0), report=False)  # for its results
    write_study(tmp_path / "n", wide)
    some = next((tmp_path / "made" / "trials").iterdir())
    for trial in wide.plan:
        target = trial_folder(tmp_path / "n", trial.trial_id)
        target.mkdir(parents=True)
        text = (
            (some / "result.json")
            .read_text()
            .replace(some.name, trial.trial_id)
            .replace("seconds_train", "seconds_total")
        )
        (target / "result.json").write_text(text)
    argv = ["--plan", "--results", str(tmp_path)]
    assert launch(sweep_of(WIDE), [*argv, "--seeds", "2"]) == 0
    assert "Kept from earlier" not in capsys.readouterr().out
    assert launch(sweep_of(NARROW), argv) == 0
    kept = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Kept from earlier launches")]
    assert [line.partition(": ")[2] for line in kept] == [
        "1 cell that this launch does not list: alpha=1. --fresh begins without.",
        "the finished trials of seed 1. --fresh begins without.",
    ]
    assert "part of the choice" in kept[0]
    assert "part of every mean" in kept[1]


@pytest.fixture
def one_gone(tmp_path: Path, make_study: MakeStudy) -> StudyFolder:
    """A study of two seeds of which one trial was deleted."""
    study = make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1))
    gone = next(t for t in study.plan if t.cell == "alpha=0.1 beta=0.1" and t.role == "cell" and t.seed == 1)
    shutil.rmtree(trial_folder(tmp_path, gone.trial_id))
    return open_study(tmp_path)


WORDS = "Means over fewer seeds than others on the selection split: alpha=0.1 beta=0.1 (1 of 2)."


def test_a_mean_over_fewer_seeds_is_marked_in_table_matrix_answer_figure_and_report(one_gone: StudyFolder) -> None:
    assert WORDS in table_lines(one_gone)
    assert any("alpha" in line or "missing 1 of 2 seeds" in line for line in table_lines(one_gone))
    assert WORDS in described(one_gone, matrix(one_gone)).legend
    assert WORDS in answer(one_gone)
    shown: list[str] = []
    for kind in ("heatmap", "clean_vs_robust", "slices", "parallel"):
        draw_into(one_gone, Request(kinds=(kind,)), lambda figure, _: shown.append(" ".join(
            " ".join(text.get_text().split()) for text in figure.texts)))  # fmt: skip
    assert [WORDS in text for text in shown] == [True] * 4
    assert main(["report", "--study", str(one_gone.path)]) == 0
    assert WORDS in (one_gone.path / "report.html").read_text()


def test_nothing_is_said_where_all_rows_have_their_seeds(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), seeds=(0, 1))
    assert "fewer seeds" not in "\n".join(table_lines(open_study(tmp_path)))


SPACE = {"method.alpha": Real(low=0.1, high=1)}
LISTED = grid({"method.alpha": NARROW})
UNREAD = [
    ({"variants": LISTED, "levels": 4}, "levels: got 4, expected none: the sweep lists its variants"),
    ({"space": {"method.distance": Choice(values=("l2", "cos"))}, "levels": 4}, "levels: got 4, expected none"),
    ({"variants": LISTED, "samples": 9}, "samples: got 9, expected none: there is no space to search"),
    ({"space": SPACE, "score_eps": {"papr": 1 / 255}}, "score_eps: unknown value 'papr'"),
    ({"variants": {"miniature": LISTED, "papr": LISTED}}, "variants: unknown value 'papr'"),
]


@pytest.mark.parametrize(("fields", "message"), UNREAD, ids=[message for _, message in UNREAD])
def test_a_field_of_a_sweep_that_nothing_would_read_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        replace(sweep_of(WIDE), **{"variants": (), **fields})
    assert str(refused.value).startswith(message)
