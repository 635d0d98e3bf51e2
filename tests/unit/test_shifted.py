"""A model under corruptions and visual factors: its records, and that no clean or robust number counts them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sweeps.engine.study.plan import new_study
from sweeps.tga_alpha_beta import SWEEP
from zsr_core.attacks import Pgd
from zsr_core.cli.evaluate import evaluate_model
from zsr_core.cli.options import add_evaluate_options
from zsr_core.cli.shifts import corruption_lines, factor_lines
from zsr_core.codec import ConfigError, fingerprint, to_plain
from zsr_core.data import DataRef, open_data
from zsr_core.data.miniature.factors import render_factor
from zsr_core.data.shifts.factored import factor_set
from zsr_core.data.shifts.names import UNCHANGED, is_shift
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, Measurement, measure
from zsr_core.evaluation.metrics import ACCURACY, METRICS, metric_named
from zsr_core.evaluation.shifted import How, Model, check_shifts, shifted_images, shifted_records
from zsr_core.evaluation.suite import EvalSuite, evaluate, merged
from zsr_core.evaluation.victim import Victim
from zsr_core.events import BatchJudged, Event
from zsr_core.records import SampleRecord
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.cost import evaluation_parts
from zsr_core.trial.numbers import measure_again
from zsr_core.trial.run import run_trial

CELLS = ("fog:1", "near_focus:3")


def _folders(root: Path) -> DataRef:
    """Three classes of four images, and their corrupted images under two kinds."""
    for c, name in enumerate(("cat", "dog", "owl")):
        for i in range(4):
            colours = [(60 * c, 20 * i, 90), (60 * c, 20 * i, 250), (250 - 60 * c, 20 * i, 90)]
            for below, colour in zip(("clean", "made/fog/1", "made/near_focus/3"), colours, strict=True):
                file = root / below / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), colour).save(file)
    return DataRef(source="imagefolder", root=str(root / "clean"), corrupted=str(root / "made"))


def _suite(root: Path, **fields: Any) -> EvalSuite:
    return EvalSuite(tasks=(_folders(root),), split="all", eps=(4 / 255,), attacks=(Pgd(steps=2),), **fields)


def _model(tiny: Any, seed: int) -> Model:
    clip = tiny.clip(seed=seed)
    return Model(victim=Victim(embed=clip.tower, scale=clip.scale, sha=clip.sha), banks=lambda images: tiny.bank())


def _how(**fields: Any) -> How:
    return How(image_size=32, trial_id="t", trained_on=DataRef(), **fields)


def _clean(model: Model, suite: EvalSuite, **fields: Any) -> list[SampleRecord]:
    return evaluate(model.victim, suite, model.banks, 32, trial_id="t", trained_on=DataRef(), **fields)


def test_each_corruption_is_a_condition_of_its_own_for_the_model_and_the_untouched_one(
    tmp_path: Path, tiny: Any
) -> None:
    model, untouched, suite = _model(tiny, 0), _model(tiny, 1), _suite(tmp_path, corruptions=CELLS)
    records = shifted_records(model, untouched, suite, (), _how())
    assert {r.condition for r in records} == {
        f"{who}corruption-{name}" for who in ("", "untouched-") for name in ("fog-1", "near_focus-3")
    }
    assert len(records) == 12 * 4
    assert all(is_shift(r.condition) and r.eps == r.linf == 0 for r in records)
    assert {r.weights_sha for r in records} == {model.victim.sha, untouched.victim.sha}
    itself = shifted_records(model, model, suite, (), _how())
    assert itself == [r for r in records if not r.condition.startswith("untouched")]


def test_shards_put_together_are_the_records_of_one_process(tmp_path: Path, tiny: Any) -> None:
    model, untouched, suite = _model(tiny, 0), _model(tiny, 1), _suite(tmp_path, corruptions=CELLS)
    whole = shifted_records(model, untouched, suite, (), _how())
    shards = [shifted_records(model, untouched, suite, (), _how(shard=(k, 3))) for k in range(3)]
    together = merged(shards)
    assert [(r.condition, r.sample_id, r.pred) for r in together] == [(r.condition, r.sample_id, r.pred) for r in whole]
    assert [r.p_max for r in together] == pytest.approx([r.p_max for r in whole], rel=1e-5)


def test_progress_counts_every_image_of_every_corruption_once(tmp_path: Path, tiny: Any) -> None:
    said: list[Event] = []
    suite = dataclasses.replace(_suite(tmp_path, corruptions=CELLS), batch_size=5)
    shifted_records(_model(tiny, 0), _model(tiny, 1), suite, (), _how(on_event=said.append))
    judged = [event for event in said if isinstance(event, BatchJudged)]
    assert {(e.condition, e.of) for e in judged} == {("corruption", 48)}
    assert [e.done for e in judged] == sorted(e.done for e in judged)
    assert judged[-1].done == 48


def test_no_clean_or_robust_number_counts_a_corrupted_image(tmp_path: Path, tiny: Any) -> None:
    model, suite = _model(tiny, 0), _suite(tmp_path, corruptions=CELLS)
    records = _clean(model, suite)
    shifted = shifted_records(model, _model(tiny, 1), suite, (), _how())
    plain = measure(records, ("clean",), ACCURACY)
    assert [
        m for m in measure(records, ("clean",), METRICS, shifted=shifted) if m.metric in ("clean", "robust", "harmonic")
    ] == plain
    own = measure(records, ("clean",), [metric_named("corrupted_accuracy")], shifted=shifted)
    assert {m.attack for m in own if m.task == ZERO_SHOT_MEAN} == {
        "none",
        "corruption-fog-1",
        "corruption-near_focus-3",
    }
    right = [r.correct for r in shifted if r.condition == "corruption-fog-1"]
    at = next(m for m in own if m.attack == "corruption-fog-1")
    assert at.value == pytest.approx(100 * sum(right) / 12)
    assert at.n == 12


def test_a_suite_without_corruptions_has_none_and_says_so(tmp_path: Path, tiny: Any) -> None:
    records = _clean(_model(tiny, 0), _suite(tmp_path))
    for name, reason in (
        ("corruption_error", "no corruption was evaluated"),
        ("factor_gap", "no visual factor was evaluated"),
    ):
        (own, mean) = measure(records, ("clean",), [metric_named(name)])
        assert (own.attack, own.value, own.reason) == ("none", None, reason)
        assert reason in mean.reason


def test_annotations_copy_the_clean_records_of_the_images_that_show_a_factor(tmp_path: Path, tiny: Any) -> None:
    table = pa.table(
        {
            "file_name": ["cat/0.png", "cat/1.png", "dog/2.png", "elsewhere.png"],
            "dark": [1, 0, 1, 1],
            "wet": [0, 0, 0, 1],
        }
    )
    pq.write_table(table, tmp_path / "mine.parquet")
    model, suite = _model(tiny, 0), _suite(tmp_path, annotations=str(tmp_path / "mine.parquet"))
    check_shifts(suite, 32, DataRef())
    records = _clean(model, suite)
    clean = [r for r in records if r.condition == "none"]
    shifted = shifted_records(model, model, suite, clean, _how())
    assert [(r.condition, r.sample_id) for r in shifted] == [
        (UNCHANGED, "cat/0.png"), (UNCHANGED, "cat/1.png"), (UNCHANGED, "dog/2.png"),
        ("factor-dark", "cat/0.png"), ("factor-dark", "dog/2.png"),
    ]  # fmt: skip
    rows = {
        m.metric: m
        for m in measure(records, ("clean",), [m for m in METRICS if m.reads == "factors"], shifted=shifted)
        if m.attack == "factor-dark" and m.task == "clean"
    }
    right = {r.sample_id: r.correct for r in clean}
    own = (right["cat/0.png"] + right["dog/2.png"]) / 2
    every = (right["cat/0.png"] + right["cat/1.png"] + right["dog/2.png"]) / 3
    assert rows["factor_accuracy"].value == pytest.approx(100 * own)
    assert rows["factor_gap"].value == pytest.approx(100 * (own - every))
    assert rows["factor_gap"].n == 2


def test_annotations_of_other_images_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["elsewhere.png"], "dark": [1]}), tmp_path / "mine.parquet")
    suite = _suite(tmp_path, annotations=str(tmp_path / "mine.parquet"))
    with pytest.raises(
        ConfigError, match=r"expected images of the suite, such as cat/0.png; it names others, such as else"
    ):
        check_shifts(suite, 32, DataRef())


def test_a_folder_that_lacks_a_kind_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"snow/2"):
        check_shifts(_suite(tmp_path, corruptions=("fog:1", "snow:2")), 32, DataRef())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"corruptions": ("flash",)}, "corruptions: got ['flash'], expected 'corrupted'"),
        ({"corruptions": ("fogg",)}, "did you mean 'fog'"),
        ({"factors": ("color",)}, "did you mean 'colour'"),
        ({"factors": ("all",), "annotations": "x.jsonl"}, "none where factors are named"),
        ({"factors": ("all",), "tasks": (DataRef(source="imagefolder", root="x"),)}, "a task of the miniature"),
    ],
)
def test_a_suite_that_cannot_be_measured_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        EvalSuite(**fields)
    assert expected in str(error.value)


def test_a_suite_without_shifts_is_written_as_before_they_existed() -> None:
    plain = to_plain(EvalSuite())
    assert not {"corruptions", "factors", "annotations"} & plain.keys()
    assert "corrupted" not in to_plain(DataRef())
    assert fingerprint(to_plain(EvalSuite(factors=("all",)))) != fingerprint(plain)


@pytest.mark.parametrize("objective", ["corrupted_accuracy", "factor_gap"])
def test_an_objective_that_no_trial_would_measure_is_refused(objective: str) -> None:
    with pytest.raises(ConfigError, match=r"objectives: got .*expected a sweep whose eval_suite\."):
        new_study(SWEEP, preset="miniature", search=None, seeds=(0,), objectives=(objective,))


def test_the_plan_counts_corrupted_images_for_both_models() -> None:
    suite = EvalSuite(tasks=(DataRef(name="animals"),), n=8, corruptions=("common:3",), factors=("colour",))
    assert shifted_images(suite, 8, suite.tasks[0]) == {"corruption": 15 * 8, "factor": 6 * 8}
    untouched, tuned = (evaluation_parts(TrialConfig(epochs=epochs, eval_suite=suite)) for epochs in (0, 1))
    assert [p.images for p in untouched if p.condition == "corruption"] == [120]
    assert [p.images for p in tuned if p.condition == "corruption"] == [240]


@pytest.fixture(scope="module")
def factored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("factored") / "trial"
    suite = EvalSuite(tasks=(DataRef(name="sport"),), n=6, attacks=(Pgd(steps=1),), factors=("occlusion", "colour"))
    return run_trial(TrialConfig(epochs=0, eval_suite=suite), folder), folder


def _of(measurements: tuple[Measurement, ...], metric: str) -> dict[str, Measurement]:
    return {m.attack: m for m in measurements if (m.metric, m.task) == (metric, "sport")}


def test_a_trial_of_the_miniature_measures_every_factor_at_five_levels(factored: tuple[Any, Path]) -> None:
    result, folder = factored
    assert result.status == "done", result.error
    accuracy = _of(result.measurements, "factor_accuracy")
    levels = [f"factor-{f}-{k}" for f in ("colour", "occlusion") for k in range(1, 6)]
    assert set(accuracy) == {"none", "factor-colour", "factor-occlusion", *levels}
    assert (accuracy["factor-colour-1"].n, accuracy["factor-colour"].n, accuracy["none"].n) == (6, 30, 60)
    gaps = _of(result.measurements, "factor_gap")
    assert gaps["factor-colour-1"].value == 0, "the first level of colour is the scene as it was drawn"
    means = [accuracy[f"factor-colour-{k}"].value for k in range(1, 6)]
    assert accuracy["factor-colour"].value == pytest.approx(sum(means) / 5)
    table = pq.read_table(folder / "shifted.parquet").to_pandas()
    assert len(table) == 11 * 6
    assert set(pq.read_table(folder / "samples.parquet")["condition"].to_pylist()) == {"none", "pgd1"}


def test_its_numbers_can_be_measured_again_from_disk(factored: tuple[Any, Path]) -> None:
    result, folder = factored
    again = measure_again(result, folder, [metric_named("factor_error_ratio")])
    assert _of(again.measurements, "factor_error_ratio") == _of(result.measurements, "factor_error_ratio")


def test_its_table_shows_each_factor_with_its_levels(factored: tuple[Any, Path]) -> None:
    lines = factor_lines(factored[0])
    assert any(line.startswith("| colour | ") and line.count("|") == 10 for line in lines)
    assert corruption_lines(factored[0]) == []


def test_factors_of_one_set_are_shown_as_its_own_though_all_sets_have_corruptions(factored: tuple[Any, Path]) -> None:
    result, _ = factored
    task = next(m.task for m in result.measurements if m.metric == "factor_gap" and m.task != ZERO_SHOT_MEAN)
    own = tuple(m for m in result.measurements if m.task == task)
    fog = next(m for m in own if m.metric == "clean")
    fog = dataclasses.replace(fog, metric="corrupted_accuracy", attack="corruption-fog-3")
    both = tuple(dataclasses.replace(fog, task=name) for name in (task, "photos", ZERO_SHOT_MEAN))
    photos = tuple(dataclasses.replace(m, task="photos") for m in own if m.metric == "clean")
    mixed = dataclasses.replace(result, measurements=(*own, *photos, *both))
    assert any(f"without attack, {task};" in line for line in factor_lines(mixed))
    assert any("without attack, mean of the zero-shot sets." in line for line in corruption_lines(mixed))


def test_the_page_says_why_several_sets_that_are_not_all_have_no_mean(factored: tuple[Any, Path]) -> None:
    result, _ = factored
    fog = next(m for m in result.measurements if m.metric == "clean")
    fog = dataclasses.replace(fog, metric="corrupted_accuracy", attack="corruption-fog-3")
    own = tuple(dataclasses.replace(fog, task=name) for name in ("photos", "sketches"))
    clean = tuple(dataclasses.replace(fog, task=name, metric="clean", attack="none") for name in ("a", ZERO_SHOT_MEAN))
    lines = corruption_lines(dataclasses.replace(result, measurements=(*own, *clean)))
    assert any("for photos, sketches alone, so there is no mean" in line for line in lines)


def test_scenes_of_one_brightness_but_other_pixels_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_data(DataRef(name="sport"), "report", 96, 2)
    drawn = render_factor("sport", "size", 1, 4, 96)
    keys = []
    for images in (drawn.images, drawn.images.flip(3)):
        mirrored = dataclasses.replace(drawn, images=images)
        monkeypatch.setattr("zsr_core.data.shifts.factored.render_factor", lambda *_, mirrored=mirrored, **__: mirrored)
        keys.append(factor_set(opened, "size", 2, 4, 96).key)
    assert drawn.images.sum() == drawn.images.flip(3).sum()
    assert keys[0] != keys[1]


def test_selection_and_report_show_other_scenes() -> None:
    sets = [
        factor_set(open_data(DataRef(name="sport"), split, 96, 2), "size", 2, 4, 96)
        for split in ("selection", "report")
    ]
    assert not set(sets[0].ids) & set(sets[1].ids)
    assert not any(torch.equal(a, b) for a in sets[0].pixels([0, 1, 2, 3]) for b in sets[1].pixels([0, 1, 2, 3]))


def _evaluate(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_evaluate_options(parser)
    return evaluate_model(parser.parse_args(["--attacks", "pgd1", "--audit", "none", *arguments]))


def test_a_command_reads_corrupted_images_and_annotations_and_prints_their_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _folders(tmp_path)
    rows = [{"file_name": f"{name}/{i}.png", "dark": int(i > 1)} for name in ("cat", "dog", "owl") for i in range(4)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = ["--tasks", str(tmp_path / "clean"), "--corrupted", f"clean={tmp_path / 'made'}", "--out", str(tmp_path)]
    given += ["--corruptions", "fog:1,near_focus:3", "--annotations", str(tmp_path / "x.jsonl")]
    assert _evaluate(*given) == 0
    out = capsys.readouterr().out
    assert "| corruption | severity 1 | severity 3 | corruption error |" in out
    assert re.search(r"^\| near_focus \| – \| \d+\.\d \[", out, re.MULTILINE)
    assert "the model is itself the untouched one" in out
    assert re.search(r"^\| dark \| \d+\.\d \[", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--corruptions", "fogg"], "--corruptions: unknown value 'fogg'"),
        (["--corruptions", "flash"], "--corruptions: got ['flash'], expected 'corrupted'"),
        (["--factors", "color"], "--factors: unknown value 'color'"),
        (["--annotations", "missing.jsonl"], "--annotations: got 'missing.jsonl', expected a file"),
        (["--corrupted", "animals=nowhere"], "--corrupted: got 'animals=nowhere', expected SET=DIR"),
    ],
)
def test_a_command_names_the_flag_that_cannot_be_used(
    given: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _evaluate("--tasks", "animals", "--n", "4", "--out", str(tmp_path), *given) == 2
    assert expected in capsys.readouterr().err
