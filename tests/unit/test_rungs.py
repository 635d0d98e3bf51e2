"""Rungs of a real trial on the miniature: what they score, what they leave alone, and how a stopped trial goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from zsr_core.codec import ConfigError, to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.methods import TgaZsr
from zsr_core.training.pauses import Place
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.deploy import untouched_clip
from zsr_core.trial.ladder import Ladder
from zsr_core.trial.presets import base
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import run_trial
from zsr_core.trial.rung_score import RungScore, rung_records
from zsr_core.trial.rungs import Rungs

TASKS = tuple(DataRef(source="miniature", name=name) for name in ("source", "sport", "weather"))
CONFIG = base(TgaZsr(), "miniature").with_(
    {
        "train_data.limit": 48, "batch_size": 16, "optim.lr": 1e-3, "eval_suite.tasks": TASKS, "eval_suite.n": 8,
    }
)  # fmt: skip
RUNGS = Rungs(eps=4 / 255, shares=(0.3, 0.6), images=4)


def run(folder: Path, stop_at: int | None = None, rungs: Rungs | None = RUNGS) -> TrialResult:
    def goes_on(score: RungScore) -> str:
        return f"worse at rung {score.rung}" if score.rung == stop_at else ""

    return run_trial(CONFIG, folder / "trial", RunContext(cache=folder / "cache", rungs=rungs, goes_on=goes_on))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrialResult:
    return run(tmp_path_factory.mktemp("whole"), rungs=None)


def same(a: TrialResult, b: TrialResult) -> bool:
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in each.history] for each in (a, b)]
    return a.measurements == b.measurements and rows[0] == rows[1] and _passes(a) == _passes(b)


def _passes(result: TrialResult) -> dict[str, float]:
    return {name: value for name, value in result.cost.items() if name.startswith("passes")}


def test_a_trial_with_rungs_has_the_numbers_of_one_without_to_the_last_bit(tmp_path: Path, whole: TrialResult) -> None:
    scored = run(tmp_path)
    assert same(scored, whole)
    assert scored.trial_id == whole.trial_id
    assert whole.rungs == ()
    assert [(score.rung, score.step) for score in scored.rungs] == [(1, 1), (2, 2)]
    assert {score.images for score in scored.rungs} == {8}, "4 images of each zero-shot task, none of the training set"
    assert read_result(tmp_path / "trial") == scored


def test_a_stopped_trial_says_why_and_goes_on_from_its_checkpoint_to_the_same_numbers(
    tmp_path: Path, whole: TrialResult
) -> None:
    stopped = run(tmp_path, stop_at=2)
    assert (stopped.status, stopped.error, stopped.measurements) == ("pruned", "worse at rung 2", ())
    assert [score.rung for score in stopped.rungs] == [1, 2]
    assert set(stopped.rungs[-1].scores) == {"clean", "robust", "harmonic"}
    before = rung_records(tmp_path / "trial", 1).stat().st_mtime_ns
    again = run(tmp_path)
    assert same(again, whole)
    assert len(again.rungs) == 2
    assert rung_records(tmp_path / "trial", 1).stat().st_mtime_ns == before, "a rung is scored once"


def heard(folder: Path) -> tuple[Ladder, list[RungScore]]:
    """Return the ladder of an untouched model, and the list that its scores go into."""
    scores: list[RungScore] = []

    def goes_on(score: RungScore) -> str:
        scores.append(score)
        return ""

    clip = untouched_clip(CONFIG.model, "cpu")
    where = RunContext().where
    return Ladder(config=CONFIG, clip=clip, folder=folder, rungs=RUNGS, where=where, goes_on=goes_on), scores


def test_a_rung_leaves_the_random_state_as_it_was(tmp_path: Path) -> None:
    ladder, scores = heard(tmp_path)
    state = torch.get_rng_state()
    ladder.pauses().at(Place(number=1, step=1, share=0.3, epoch=0.3), ladder.clip.tower, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert scores == list(ladder.rows())


def test_a_rung_whose_file_is_of_other_weights_is_scored_again(tmp_path: Path) -> None:
    ladder, scores = heard(tmp_path)
    place = Place(number=1, step=1, share=0.3, epoch=0.3)
    ladder.pauses().at(place, ladder.clip.tower, None)
    other = replace(scores[0], weights_sha="other", scores={"clean": 0.0, "robust": 0.0, "harmonic": 0.0})
    (tmp_path / "rung-1.json").write_text(json.dumps(to_plain(other)))
    ladder.pauses().at(place, ladder.clip.tower, None)
    assert replace(scores[1], seconds=0) == replace(scores[0], seconds=0)


@pytest.mark.parametrize(
    ("field", "value"), [("shares", (0.5, 0.2)), ("images", 0), ("eps", 0.0)]
)  # fmt: skip
def test_rungs_that_cannot_be_scored_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        Rungs(**{"eps": 4 / 255, field: value})


def test_a_rung_measures_clean_and_robust_accuracy_alone(tmp_path: Path) -> None:
    photos = DataRef(source="imagefolder", name="photos", root=str(tmp_path))
    asked = {"eval_suite.factors": ("colour",), "eval_suite.corruptions": ("fog:3",), "eval_suite.attention": True}
    config = CONFIG.with_({"eval_suite.tasks": (TASKS[0], photos), "eval_suite.retrieval": RetrievalSuite(), **asked})
    suite = RUNGS.suite(config)
    assert suite.tasks == (photos,), "the factors are of the training set, which no rung is scored on"
    assert (suite.factors, suite.corruptions, suite.retrieval, suite.attention) == ((), (), None, False)


def test_results_of_earlier_versions_have_no_rungs(tmp_path: Path) -> None:
    plain = to_plain(TrialResult(trial_id=TrialConfig().trial_id, config=TrialConfig(), status="done"))
    del plain["rungs"]
    (tmp_path / "result.json").write_text(json.dumps(plain))
    result = read_result(tmp_path)
    assert result is not None
    assert result.rungs == ()
