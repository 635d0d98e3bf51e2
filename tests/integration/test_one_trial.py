"""One trial from configuration to result on disk, on the built-in miniature."""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError, from_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.events import BatchJudged, EpochEnded, Event, TaskEnded
from zsr_core.methods import FtClean, TeCoA, TgaZsr
from zsr_core.model.load import weights_sha
from zsr_core.records import read_samples
from zsr_core.training.optim import Optim
from zsr_core.trial import deploy
from zsr_core.trial import run as module
from zsr_core.trial.check import check
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.cost import estimate
from zsr_core.trial.deploy import untouched_clip
from zsr_core.trial.result import read_result
from zsr_core.trial.run import run_trial

CPU = RunContext(device="cpu")
SMALL = TrialConfig(
    method=TgaZsr(),
    optim=Optim(name="adamw", lr=1e-4, warmup_steps=1),
    train_attack=Pgd(steps=1, step_ratio=1.0, keep="last"),
    train_data=DataRef(limit=24),
    epochs=2,
    batch_size=16,
    eval_suite=EvalSuite(tasks=(DataRef(), DataRef(name="hearts")), n=6, attacks=(Pgd(steps=2),), eps=(1 / 255,)),
)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The training steps taken, as they are."""
    taken: list[int] = []
    real = deploy.fit

    def counted(*args: Any, **named: Any) -> Any:
        fitted = real(*args, **named)
        taken.append(int(fitted.cost["passes_full_backward"]))
        return fitted

    monkeypatch.setattr(deploy, "fit", counted)
    return taken


def test_a_trial_leaves_its_config_its_records_and_its_result(tmp_path: Path) -> None:
    events: list[Event] = []
    result = run_trial(SMALL, tmp_path / "t", replace(CPU, on_event=events.append))
    assert result.status == "done", result.error
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["config.json", "result.json", "samples.parquet"]
    assert from_plain(TrialConfig, json.loads((tmp_path / "t" / "config.json").read_text())) == SMALL
    assert read_result(tmp_path / "t") == result
    assert result.trial_id == SMALL.trial_id

    rows = read_samples(tmp_path / "t" / "samples.parquet").to_pylist()
    assert len(rows) == 2 * 6 * 2
    assert {r["trial_id"] for r in rows} == {SMALL.trial_id}
    assert {r["weights_sha"] for r in rows} == {result.provenance["weights_sha"]}
    by = {(m.task, m.attack, m.metric): m for m in result.measurements}
    for task in ("source", "hearts"):
        right = [r["correct"] for r in rows if r["task"] == task and r["condition"] == "pgd2"]
        assert by[task, "pgd2", "robust"].value == pytest.approx(100 * sum(right) / 6)
        assert by["zero_shot_mean", "none", "clean"].value == by["hearts", "none", "clean"].value

    assert [row["epoch"] for row in result.history] == [1, 2]
    accuracies = {"clean_accuracy", "robust_accuracy"}
    assert set(result.history[0]) == {"epoch", "loss", "ce", "larm", "gacm", "grad_norm", "seconds", *accuracies}
    assert all(0 <= row[name] <= 100 for row in result.history for name in accuracies)
    assert result.cost["passes_forward"] == 4 * 3  # four steps: one for the attack, adversarial and clean
    assert result.provenance["initial_weights_sha"] != result.provenance["weights_sha"]
    assert result.provenance["started"] <= result.provenance["finished"]
    assert [e.row["epoch"] for e in events if isinstance(e, EpochEnded)] == [1, 2]
    assert [(e.task, e.done, e.of) for e in events if isinstance(e, TaskEnded)] == [("source", 1, 2), ("hearts", 2, 2)]
    assert {(e.task, e.condition) for e in events if isinstance(e, BatchJudged)} == {
        (task, condition) for task in ("source", "hearts") for condition in ("none", "pgd2")
    }


def test_a_second_call_does_no_work_and_another_configs_folder_is_refused(tmp_path: Path, steps: list[int]) -> None:
    first = run_trial(SMALL, tmp_path, CPU)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert run_trial(SMALL, tmp_path, CPU) == first
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    assert len(steps) == 1
    with pytest.raises(ConfigError, match=f"holds trial {SMALL.trial_id}"):
        run_trial(SMALL.with_({"seed": 1}), tmp_path, CPU)


def test_the_same_trial_gives_the_same_numbers_wherever_it_runs(tmp_path: Path) -> None:
    contexts = {name: replace(CPU, cache=tmp_path / cache) for name, cache in ("ax", "by")}
    results = [run_trial(SMALL, tmp_path / name, context) for name, context in contexts.items()]
    one, two = ((r.measurements, r.provenance["weights_sha"]) for r in results)
    assert one == two


def test_a_loss_that_is_not_finite_makes_a_failed_result_that_names_step_and_term(tmp_path: Path) -> None:
    broken = SMALL.with_({"optim.lr": 1e30, "optim.warmup_steps": 0})
    result = run_trial(broken, tmp_path, CPU)
    assert result.status == "failed"
    assert result.error.startswith("step 2 of 4: ")
    assert "loss term" in result.error or "gradient" in result.error
    assert result.measurements == ()
    assert read_result(tmp_path) == result
    assert "NonFinite" in (tmp_path / "traceback.txt").read_text()
    assert not (tmp_path / "samples.parquet").exists()


def test_weights_that_break_in_the_very_last_step_make_a_failed_result_too(tmp_path: Path) -> None:
    broken = SMALL.with_({"optim.lr": 1e38, "optim.warmup_steps": 0, "epochs": 1, "batch_size": 24})
    result = run_trial(broken, tmp_path, CPU)
    assert result.status == "failed"
    assert "the logits of source/" in result.error


def test_a_failed_trial_is_run_again_when_it_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(deploy, "fit", no_memory)
        failed = run_trial(SMALL, tmp_path, CPU)
    assert (failed.status, failed.error) == ("failed", "RuntimeError: out of memory")
    assert run_trial(SMALL, tmp_path, CPU).status == "done"


def test_an_interrupt_passes_through_and_leaves_no_result(tmp_path: Path) -> None:
    def stop(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(SMALL, tmp_path, RunContext(on_event=stop, device="cpu"))
    assert read_result(tmp_path) is None


def test_scoring_again_on_the_reporting_split_trains_nothing(tmp_path: Path, steps: list[int]) -> None:
    chosen = run_trial(SMALL, tmp_path / "a", RunContext(cache=tmp_path / "cache", device="cpu"))
    final = SMALL.with_({"eval_suite.split": "report", "eval_suite.n": 8})
    scored = run_trial(final, tmp_path / "b", RunContext(cache=tmp_path / "cache", device="cpu"))
    assert len(steps) == 1
    assert scored.provenance["weights_sha"] == chosen.provenance["weights_sha"]
    assert scored.trial_id != chosen.trial_id
    assert scored.history == chosen.history
    assert {m.split for m in scored.measurements} == {"report"}
    assert {m.n for m in scored.measurements if m.task == "hearts"} == {8}


def test_a_trial_killed_between_training_and_evaluation_keeps_its_weights(
    tmp_path: Path, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, "evaluate", killed)
        with pytest.raises(Killed):
            run_trial(SMALL, tmp_path / "t", RunContext(cache=tmp_path / "cache", device="cpu"))
    assert read_result(tmp_path / "t") is None
    resumed = run_trial(SMALL, tmp_path / "t", RunContext(cache=tmp_path / "cache", device="cpu"))
    assert len(steps) == 1
    whole = run_trial(SMALL, tmp_path / "whole", RunContext(cache=tmp_path / "another", device="cpu"))
    assert resumed.measurements == whole.measurements
    assert not list((tmp_path / "cache").rglob("*.checkpoint"))


def test_a_trial_killed_between_epochs_goes_on_where_it_stopped(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.row["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        run_trial(SMALL, tmp_path / "t", RunContext(cache=tmp_path / "cache", on_event=kill, device="cpu"))
    seen: list[Event] = []
    resumed = run_trial(SMALL, tmp_path / "t", RunContext(cache=tmp_path / "cache", on_event=seen.append, device="cpu"))
    assert [e.row["epoch"] for e in seen if isinstance(e, EpochEnded)] == [2]
    whole = run_trial(SMALL, tmp_path / "whole", RunContext(cache=tmp_path / "another", device="cpu"))
    assert resumed.measurements == whole.measurements
    assert resumed.provenance["weights_sha"] == whole.provenance["weights_sha"]


def test_the_untouched_model_is_measured_without_training(tmp_path: Path, steps: list[int]) -> None:
    result = run_trial(SMALL.with_({"epochs": 0}), tmp_path, CPU)
    assert result.status == "done"
    assert steps == []
    assert result.history == ()
    assert result.provenance["weights_sha"] == result.provenance["initial_weights_sha"]


def test_the_result_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the result is written: no result, no remnant; the next run writes it."""
    real = os.fsync
    done: list[str] = []

    def full(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if "result.json" in name:
            done.append(name)
            raise OSError(28, "No space left on device")
        real(handle)

    config = SMALL.with_({"epochs": 0, "eval_suite.tasks": [{"name": "hearts", "type": "DataRef"}]})
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run_trial(config, tmp_path, CPU)
    assert done
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "samples.parquet"]
    assert run_trial(config, tmp_path, CPU).status == "done"
    assert stat.S_IMODE((tmp_path / "result.json").stat().st_mode) == 0o644


def test_a_result_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"trial_id": ')
    with pytest.raises(ConfigError, match=r"result\.json is not JSON"):
        read_result(tmp_path)


def test_no_image_and_no_weight_of_the_teacher_is_touched(tmp_path: Path) -> None:
    before = untouched_clip(SMALL.model, "cpu").sha
    run_trial(SMALL, tmp_path, CPU)
    clip = untouched_clip(SMALL.model, "cpu")
    assert weights_sha(clip.tower) == before == clip.sha


@pytest.mark.parametrize(
    ("method", "once", "per_image"),
    [(TgaZsr(), 1, 3), (TeCoA(), 0, 2), (FtClean(), 0, 1), (TgaZsr(attention="visual"), 0, 4)],
    ids=lambda value: getattr(value, "title", value),
)
def test_the_estimate_counts_the_passes_that_a_trial_makes(method: Any, once: int, per_image: int) -> None:
    """24 images, 2 epochs, an attack of one step; evaluation of 2 sets of 6 images by an attack of 3 forwards, 2
    backwards and one judgement. A teacher that cannot be cached runs in every step."""
    config = SMALL.with_({"method": method})
    cost = estimate(config)
    assert cost.passes_forward == 24 * 2 * per_image + 24 * once + 12 * (1 + 3 + 1)
    attacked = 0 if isinstance(method, FtClean) else 1
    assert cost.passes_input_backward == 24 * 2 * attacked + 12 * 2
    assert (cost.images, cost.steps) == (24, 4)
    assert cost.seconds > 0
    assert math.isfinite(cost.seconds)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"model.name": "ViT-B-32"}, "config.train_data.source: got 'miniature', expected a model of 48 or 96 px, not"),
        ({"model.name": "ViT-B-32", "epochs": 0}, "config.eval_suite.tasks[0].source: got 'miniature'"),
        ({"model.name": "vit"}, "config.model.name: unknown model 'vit'"),
        ({"model.pretrained": "gone.pt"}, "config.model.pretrained: got 'gone.pt', expected a file that exists"),
        ({"train_data": DataRef(name="hearts")}, "config.train_data.split: got 'train'"),
        (
            {"eval_suite.tasks": (DataRef(source="imagefolder", root="/gone"),)},
            "config.eval_suite.tasks[0].root: got '/gone', expected a folder that exists",
        ),
    ],
)
def test_what_cannot_start_here_is_refused_before_anything_starts(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(SMALL.with_(overrides))
    assert says in str(error.value)


def test_the_global_generator_does_not_matter(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = run_trial(SMALL, tmp_path / "one", CPU)
    torch.manual_seed(2)
    assert run_trial(SMALL, tmp_path / "two", CPU).measurements == one.measurements
