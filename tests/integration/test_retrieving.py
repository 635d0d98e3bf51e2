"""Retrieval of a real model: from the command line to numbers that another computation gives, resumable, measurable."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sweeps.engine.study.objectives import headline, score_named
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from tests.support.captioned import captioned_folder
from zsr_core.attacks import Pgd
from zsr_core.cli.main import main
from zsr_core.codec import ConfigError
from zsr_core.data.captions import CaptionRef, open_captions
from zsr_core.evaluation.metrics import CORRUPTED_RETRIEVAL, RETRIEVAL
from zsr_core.evaluation.retrieval.gather import Asked, Retrieved, caption_bank, retrieve
from zsr_core.evaluation.retrieval.measure import measure_retrieval
from zsr_core.evaluation.retrieval.store import read_retrieved, write_retrieved
from zsr_core.evaluation.retrieval.suite import RetrievalSuite, TokenAttack
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.events import BatchJudged
from zsr_core.methods import TeCoA
from zsr_core.model.load import Clip, ModelRef, load_clip
from zsr_core.space import grid
from zsr_core.threat import ThreatModel
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.numbers import measure_again
from zsr_core.trial.presets import scales
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.retrieving import retrieval_parts

SUITE = RetrievalSuite(attack=Pgd(steps=3), tokens=TokenAttack(block=1, budgets=(0.05,), steps=4), distractors=2)
EIGHT = ThreatModel(eps=8 / 255)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(ModelRef(name="miniature"), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return captioned_folder(tmp_path_factory.mktemp("captioned") / "sports")


@pytest.fixture
def ask(clip: Clip, folder: Path) -> Callable[..., Asked]:
    captions = open_captions(CaptionRef(source="folder", root=str(folder)), "all", 48)

    def asked(**changed: Any) -> Asked:
        own = Asked(
            victim=Victim(embed=clip.tower, scale=clip.scale, sha=clip.sha), captions=captions,
            bank=caption_bank(clip.encode_text, captions), suite=SUITE, seed=0, batch_size=12,
            device=torch.device("cpu"),
        )  # fmt: skip
        return replace(own, **changed)

    return asked


def _numbers(one: Retrieved, suite: RetrievalSuite = SUITE) -> dict[tuple[str, str, float], float | None]:
    rows = measure_retrieval([one], suite, RETRIEVAL)
    return {(m.metric, m.attack, m.eps): m.value for m in rows if m.task == one.name}


def test_the_command_measures_retrieval_beside_accuracy(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--model", "miniature", "--tasks", "sport", "--n", "8", "--attacks", "pgd10",
               "--audit", "none", "--device", "cpu", "--out", str(tmp_path), "--retrieval", f"mine={folder}",
               "--set", "eval_suite.retrieval.attack.steps=3"]  # fmt: skip
    assert main([*command, "--plan"]) == 0
    assert "| mine | query | 4/255 | query |" in capsys.readouterr().out
    assert main(command) == 0
    said = capsys.readouterr().out
    place = next(tmp_path.glob("*/result.json")).parent
    result = read_result(place)
    assert result is not None
    _agrees_with_its_file(result, place)
    own = {(m.metric, m.attack): m for m in result.measurements if m.task == "mine"}
    assert own["i2t_r1", "none"].n == 8  # of all twelve images, because nothing is chosen here
    assert f"| clean | {own['i2t_r1', 'none'].value:.1f}" in said
    assert "| sport | 8 |" in said
    assert "| mine | 8 |" not in said
    assert main(command) == 0
    assert "nothing to run" in capsys.readouterr().out
    again = measure_again(result, place, RETRIEVAL)
    assert {_key(m): m.value for m in again.measurements} == {_key(m): m.value for m in result.measurements}
    (place / "retrieval.parquet").unlink()
    kept = measure_again(result, place, RETRIEVAL)
    assert {_key(m): m.value for m in kept.measurements} == {_key(m): m.value for m in result.measurements}
    _reads_scores(result)


def _key(m: Any) -> tuple[Any, ...]:
    return m.task, m.metric, m.attack, m.eps


def _agrees_with_its_file(result: TrialResult, place: Path) -> None:
    """Another computation from the Parquet file gives R@1 clean and with hidden images."""
    rows = pq.read_table(place / "retrieval.parquet").to_pandas()
    unit = {name: np.stack(rows[rows.condition == name].embedding) for name in ("caption", "none", "hiding")}
    owner = rows[rows.condition == "caption"].image.to_numpy()
    clean = unit["caption"].astype(float) @ unit["none"].astype(float).T
    hidden = clean.copy()
    at = np.arange(len(owner))
    hidden[at, owner] = (unit["caption"].astype(float) * unit["hiding"][owner].astype(float)).sum(axis=1)
    for scores, metric, attack in ((clean, "t2i_r1", "none"), (hidden, "t2i_r1_hiding", "hiding")):
        own = scores[at, owner].copy()
        others = scores.copy()
        others[at, owner] = -np.inf
        expected = 100 * np.mean(own > others.max(axis=1))
        found = next(m for m in result.measurements if (m.task, m.metric, m.attack) == ("mine", metric, attack))
        assert found.value == pytest.approx(expected, abs=1e-9)


def _reads_scores(result: TrialResult) -> None:
    means = headline(result, 4 / 255)
    value = {(m.metric, m.attack, m.eps): m.value for m in result.measurements if m.task == "mine"}
    assert means["t2i_r1"].value == value["t2i_r1", "none", 0.0]
    assert means["t2i_r1_hiding"].value == value["t2i_r1_hiding", "hiding", 4 / 255]
    assert means["i2t_r1_embedding"].value == value["i2t_r1_embedding", "embedding", 0.05]
    assert means["clean"].task == "zero_shot_mean"
    assert means["clean"].n == 8


def test_attacks_hurt_and_no_condition_is_merged_with_another(ask: Callable[..., Asked]) -> None:
    one = retrieve(ask(), [EIGHT, ThreatModel(eps=1 / 255)])
    numbers = _numbers(one)
    for metric in ("i2t_r1_query", "t2i_r1_hiding", "t2i_r1_gallery"):
        condition = metric.rpartition("_")[2]
        strong, weak = numbers[metric, condition, 8 / 255], numbers[metric, condition, 1 / 255]
        assert strong is not None
        assert weak is not None
        assert strong < weak <= (numbers[metric[:6], "none", 0.0] or 0)
    assert {attack for _, attack, _ in numbers} == {
        "none", "query", "hiding", "gallery", "distractor", "embedding", "noise", "token_query", "token_hiding"
    }  # fmt: skip
    assert (numbers["t2i_distracted", "distractor", 8 / 255] or 0) > (
        numbers["t2i_distracted", "distractor", 1 / 255] or 0
    )


def test_what_was_finished_before_a_kill_is_not_computed_again(ask: Callable[..., Asked], tmp_path: Path) -> None:
    whole = retrieve(ask(parts=tmp_path), [EIGHT])
    seen: list[str] = []
    again = retrieve(ask(parts=tmp_path, on_event=lambda event: seen.append(event.condition)), [EIGHT])
    assert not seen
    assert all(np.array_equal(unit, again.copies[place]) for place, unit in whole.copies.items())
    other = replace(SUITE, attack=Pgd(steps=2))
    retrieve(ask(parts=tmp_path, suite=other, on_event=lambda event: seen.append(event.condition)), [EIGHT])
    assert "query" in seen  # another attack answers another question


def test_corrupted_images_are_encoded_once_counted_as_planned_and_read_back(
    ask: Callable[..., Asked], folder: Path, tmp_path: Path
) -> None:
    suite = replace(SUITE, pixel=(), tokens=None, corruptions=("contrast:5", "brightness:1"), radii=())
    seen: list[BatchJudged] = []
    one = retrieve(ask(suite=suite, parts=tmp_path, batch_size=5, on_event=seen.append), [EIGHT])
    whole = EvalSuite(split="all", retrieval=replace(suite, sets=(CaptionRef(source="folder", root=str(folder)),)))
    planned = TrialConfig(model=ModelRef(name="miniature"), epochs=0, eval_suite=whole)
    part = next(part for part in retrieval_parts(planned) if part.condition == "corruption")
    corrupted = [event for event in seen if event.condition == "corruption"]
    assert {event.of for event in corrupted} == {part.images} == {2 * len(one.ids)}
    assert [event.done for event in corrupted] == [5, 10, 12, 17, 22, 24]
    write_retrieved(tmp_path, [one])
    rows = measure_retrieval(read_retrieved(tmp_path), suite, CORRUPTED_RETRIEVAL)
    numbers = {(m.metric, m.attack): m.value or 0 for m in rows if m.task == one.name}
    assert numbers["i2t_r1_corrupted", "corruption-contrast-5"] < numbers["i2t_r1_corrupted", "corruption-brightness-1"]
    seen.clear()
    other = retrieve(
        ask(suite=replace(suite, corruptions=("contrast:5",)), parts=tmp_path, on_event=seen.append), [EIGHT]
    )
    assert not seen  # what is kept of a corruption does not depend on which others are asked for
    assert list(other.copies) == [("corruption-contrast-5", 0.0)]


def test_numbers_do_not_depend_on_the_batch_size(ask: Callable[..., Asked]) -> None:
    suite = replace(SUITE, pixel=("query", "distractor"), tokens=None)
    one, other = (retrieve(ask(batch_size=size, suite=suite), [EIGHT]) for size in (12, 5))
    for place, unit in one.copies.items():
        assert unit == pytest.approx(other.copies[place], abs=2e-4)
    assert one.distractors is not None
    assert other.distractors is not None
    assert np.array_equal(one.distractors, other.distractors)


def test_what_is_kept_is_read_back_whole(ask: Callable[..., Asked], tmp_path: Path) -> None:
    one = retrieve(ask(), [EIGHT], "trial")
    write_retrieved(tmp_path, [one, replace(one, name="second")])
    first, second = read_retrieved(tmp_path)
    assert (first.name, second.name) == ("sports", "second")
    assert (first.ids, first.captions, first.trial_id) == (one.ids, one.captions, "trial")
    assert np.array_equal(first.owner, one.owner)
    assert first.copies.keys() == one.copies.keys()
    assert _numbers(first) == _numbers(one)
    assert read_retrieved(tmp_path / "nowhere") == []


def test_means_are_over_sets_and_undefined_if_one_is(ask: Callable[..., Asked]) -> None:
    suite = replace(SUITE, pixel=(), tokens=None, radii=())
    one = retrieve(ask(suite=suite), [EIGHT])
    few = replace(one, name="few", ids=one.ids[:3], images=one.images[:3], texts=one.texts[:6], owner=one.owner[:6],
                  captions=one.captions[:6])  # fmt: skip
    rows = {(m.task, m.metric): m for m in measure_retrieval([one, few], suite, RETRIEVAL)}
    parts = [rows[name, "t2i_r1"].value or 0 for name in ("sports", "few")]
    assert rows["zero_shot_mean", "t2i_r1"].value == pytest.approx(sum(parts) / 2)
    assert rows["zero_shot_mean", "t2i_r10"].value is None
    assert "few (2 images of others" in rows["zero_shot_mean", "t2i_r10"].reason


def test_tokens_behind_a_test_time_defence_are_refused(ask: Callable[..., Asked], clip: Clip) -> None:
    victim = Victim(embed=clip.tower, scale=clip.scale, sha=clip.sha, defended=lambda x, draws: clip.tower(x))
    with pytest.raises(ConfigError, match=r"retrieval\.tokens"):
        retrieve(ask(victim=victim, suite=replace(SUITE, pixel=())), [EIGHT])


def test_an_objective_of_retrieval_asks_for_it_on_the_miniature_and_for_a_set_elsewhere() -> None:
    sweep = Sweep(
        name="asks", question="Does it?", variants=grid({"optim.lr": (1e-4, 1e-3)}), base=scales(TeCoA()),
        objectives=("t2i_r1", "robust"),
    )  # fmt: skip
    study = new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=sweep.objectives)
    assert study.base.eval_suite.retrieval == RetrievalSuite()
    with pytest.raises(ConfigError, match=r"eval_suite\.retrieval\.corruptions names some"):
        new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=("t2i_r1_corrupted",))
    with pytest.raises(ConfigError, match=r"eval_suite\.retrieval names no set of captions"):
        new_study(sweep, preset="paper", search=None, seeds=(0,), objectives=sweep.objectives)


def test_a_suite_without_retrieval_writes_nothing_of_it() -> None:
    assert "retrieval" not in json.dumps(scales(TeCoA())["miniature"].trial_id)
    with pytest.raises(ConfigError, match=r"retrieval\.sets: got \['source'\]"):
        EvalSuite(retrieval=RetrievalSuite(sets=(CaptionRef(name="source"),)))
    assert score_named("i2t_r1_query").condition == "query"
    assert score_named("i2t_r1_query").attacked
    assert not score_named("i2t_radius").attacked
