"""``zsr measure``: from what a trial left on disk, without an attack, into its result and the study's Parquet."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sweeps.engine.commands.main import main
from sweeps.engine.running.jobs import job
from sweeps.engine.study.folder import Study, open_study, trial_folder
from sweeps.engine.study.objectives import AWAITED, read_by, shown_headline
from zsr_core.attacks import Pgd
from zsr_core.data import DataRef
from zsr_core.evaluation.embeddings import read_evaluated
from zsr_core.evaluation.metrics import METRICS, metric_named
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.records import from_table, read_samples
from zsr_core.trial import numbers
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.cost import estimate
from zsr_core.trial.numbers import measure_again, source_name
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import run_trial

MakeStudy = Callable[..., Study]
REPORT = TrialConfig(
    epochs=0,
    eval_suite=EvalSuite(
        tasks=(DataRef(name="source"), DataRef(name="hearts")), split="report", n=12, attacks=(Pgd(steps=2),),
        eps=(1 / 255,),
    ),
)  # fmt: skip
CPU = RunContext(device="cpu", metrics=("mce", "ece_source_t"))


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrialResult]:
    folder = tmp_path_factory.mktemp("trial")
    return folder, run_trial(REPORT, folder, CPU)


def test_a_report_trial_keeps_its_embeddings_of_the_size_that_the_plan_says(trial: tuple[Path, TrialResult]) -> None:
    folder, result = trial
    assert result.status == "done", result.error
    kept, texts = pq.read_table(folder / "embeddings.parquet"), pq.read_table(folder / "texts.parquet")
    assert len(kept) == 2 * 12 * 2 + 12, "two sets, clean and attacked; and the images to fit a temperature on"
    width = kept.schema.field("embedding").type.list_size
    assert estimate(REPORT).embedding_bytes == 4 * width * (len(kept) + len(texts))
    assert estimate(REPORT.with_({"eval_suite.embeddings": "none"})).embedding_bytes == 0
    assert (
        estimate(REPORT).passes_forward == estimate(REPORT.with_({"eval_suite.embeddings": "none"})).passes_forward + 12
    )


def test_a_trial_measures_the_usual_metrics_and_those_asked_for(trial: tuple[Path, TrialResult]) -> None:
    _, result = trial
    usual = {m.name for m in METRICS if m.always and m.reads in ("records", "embeddings")}
    assert usual >= {"clean", "robust", "harmonic", "ece", "nll", "brier", "aurc", "auroc_adv"}
    assert {m.metric for m in result.measurements} == {*usual, "mce", "ece_source_t"}
    assert {m.split for m in result.measurements} == {"report"}


def test_measured_again_from_disk_every_number_is_the_same(
    trial: tuple[Path, TrialResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result = trial
    monkeypatch.setattr(numbers, "open_data", None)  # neither images nor weights are read
    names = list(dict.fromkeys(m.metric for m in result.measurements))
    again = measure_again(result, folder, [metric_named(name) for name in names])

    def by_place(of: TrialResult) -> dict[tuple[str, str, float, str], object]:
        return {(m.task, m.attack, m.eps, m.metric): m for m in of.measurements}

    assert by_place(again) == by_place(result)
    more = measure_again(result, folder, [metric_named("ece30")])
    assert more.measurements[: len(result.measurements)] == result.measurements
    assert {m.metric for m in more.measurements[len(result.measurements) :]} == {"ece30"}
    assert read_result(folder) == more


def test_logits_made_of_the_files_by_hand_give_the_records_numbers(trial: tuple[Path, TrialResult]) -> None:
    folder, _ = trial
    kept, texts = pq.read_table(folder / "embeddings.parquet").to_pandas(), pq.read_table(folder / "texts.parquet")
    texts, samples = texts.to_pandas(), pq.read_table(folder / "samples.parquet").to_pandas()
    for task, rows in samples.groupby("task"):
        own = texts[texts.task == task]
        unit = np.stack(kept.iloc[rows.index].embedding.to_list()).astype(np.float64)
        logits = own.logit_scale.iloc[0] * unit @ np.stack(own.embedding.to_list()).T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose((p / p.sum(axis=1, keepdims=True)).max(axis=1), rows.p_max, atol=1e-5)
        assert (logits.argmax(axis=1) == rows.pred).all()


def test_the_images_to_fit_on_are_clean_ones_of_the_training_set_to_select_by(trial: tuple[Path, TrialResult]) -> None:
    folder, _ = trial
    evaluated = read_evaluated(folder, source_name(REPORT))
    assert [r.embedding != b"" for r in evaluated.records] == [True] * 48
    assert {(r.task, r.split, r.condition) for r in evaluated.source} == {("source", "selection", "none")}
    assert not {r.sample_id for r in evaluated.source} & {r.sample_id for r in evaluated.records}
    assert from_table(read_samples(folder / "samples.parquet")) == [
        dataclasses.replace(r, embedding=b"") for r in evaluated.records
    ]


def test_the_command_adds_a_metric_to_results_and_parquet(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path, levels=(0.1,), fails=lambda t: t.role == "final")
    assert main(["measure", "--study", str(tmp_path), "--metrics", "ece,nll"]) == 0
    printed = capsys.readouterr().out
    folder = open_study(tmp_path)
    trial = study.plan[0]
    records = from_table(read_samples(trial_folder(tmp_path, trial.trial_id) / "samples.parquet"))
    for task in ("animals", "dishes"):
        right = [r.correct for r in records if r.task == task and r.condition == "none"]
        by_hand = 100 * abs(sum(right) / len(right) - 0.5)  # every image has a confidence of 0.5, so there is one bin
        (found,) = [m for m in folder.results[trial.trial_id].measurements
                    if (m.task, m.attack, m.metric) == (task, "none", "ece")]  # fmt: skip
        assert found.value == pytest.approx(by_hand, abs=1e-9)
    frame = pq.read_table(tmp_path / "study.parquet").to_pandas()
    assert len(frame[(frame.metric == "ece") & (frame.attack == "worst")]) > 0
    assert set(frame[frame.metric == "nll"].reason) >= {"the embeddings were not kept"}
    assert "ece" in printed
    assert "in the results of 3 trials" in printed


def test_the_command_without_metrics_lists_them(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1,))
    assert main(["measure", "--study", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [metric.name for metric in METRICS]


@pytest.mark.parametrize(
    ("args", "message"),
    [(["--metrics", "eec"], "--metrics: metric: unknown value 'eec'.*did you mean 'ece'"),
     (["--metrics", ","], "--metrics: got ','"), (["--metrics", ""], "--metrics: got ''")],
)  # fmt: skip
def test_a_metric_that_does_not_exist_is_refused_before_anything_is_read(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    make_study(tmp_path, levels=(0.1,))
    assert main(["measure", "--study", str(tmp_path), *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_a_trial_whose_records_are_gone_is_named_and_the_others_are_measured(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path, levels=(0.1,))
    gone = study.plan[-1]
    (trial_folder(tmp_path, gone.trial_id) / "samples.parquet").unlink()
    assert main(["measure", "--study", str(tmp_path), "--metrics", "ece"]) == 0
    assert f"{gone.trial_id}  {gone.label} (report): not measured: samples: " in capsys.readouterr().out


def test_a_studys_tables_and_jobs_know_its_objectives_only(tmp_path: Path, make_study: MakeStudy) -> None:
    study = dataclasses.replace(make_study(tmp_path, levels=(0.1,)), objectives=("robust", "mce"))
    assert job(study, study.plan[:1]).metrics == ("robust", "mce")
    result = next(iter(open_study(tmp_path).results.values()))
    assert list(shown_headline(result, 1 / 255, study.objectives)) == ["clean", "robust", "harmonic"]
    assert read_by(("clean", "nll")) == {"records", "embeddings"}
    assert read_by(("clean", "ece")) == {"records"}
    assert read_by(("clean", "soft_iou_text")) == {"records", "attention"}
    assert AWAITED == ("clean", "robust", "harmonic")
