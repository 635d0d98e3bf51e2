"""One trial in several processes gives what one process gives, and says what broke when one breaks."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.events import EpochEnded, Event
from zsr_core.methods import TgaZsr
from zsr_core.model.distributed import ALONE, World
from zsr_core.model.processes import Broken, together
from zsr_core.records import read_samples
from zsr_core.training.optim import Optim
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.result import read_result
from zsr_core.trial.run import run_trial, run_trial_together

sys.path.append(str(Path(__file__).parent))  # so that the processes find it by its name
two: Any = importlib.import_module("two_processes")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """Where two processes left what they found, and what they reported."""
    folder, events = tmp_path_factory.mktemp("two"), []
    together(2, two.work, (folder,), cuda=False, on_event=events.append)
    return folder, events


@pytest.fixture(scope="module")
def found(ran: tuple[Path, list[Event]]) -> list[dict[str, Any]]:
    return [torch.load(ran[0] / f"found-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", two.METHODS)
def test_two_processes_train_to_the_loss_and_the_weights_of_one(
    name: str, found: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone = two.train(ALONE, tmp_path, name)
    loose = 0.05 if name == "half precision" else 1e-4
    for one in found:
        assert one[name]["cost"] == alone["cost"]
        for mine, theirs in zip(alone["history"], one[name]["history"], strict=True):
            assert theirs == pytest.approx(mine, rel=loose, abs=1e-5)
        for key, tensor in alone["weights"].items():
            torch.testing.assert_close(
                one[name]["weights"][key], tensor, rtol=loose, atol=loose / 10, msg=f"{name}: {key}"
            )
    assert all(torch.equal(t, found[1][name]["weights"][k]) for k, t in found[0][name]["weights"].items())


def test_rows_are_shared_out_and_gathered_with_their_derivatives(found: list[dict[str, Any]]) -> None:
    alone = two.operations(ALONE)
    for one in found:
        for key in ("y", "first", "second", "weight"):
            torch.testing.assert_close(one["operations"][key], alone[key])
        assert all(t.tolist() == list(range(7)) for t in one["operations"]["whole"].values())
        assert one["operations"]["told"] == "said by 0"
        assert one["apart"] == "the rank: the 2 processes differ, with 0, 1"


def test_shares_cover_every_row_once_and_are_padded_with_zeros() -> None:
    x = torch.arange(1.0, 6.0)
    assert [World(rank=r, size=2).share(x).tolist() for r in (0, 1)] == [[1, 2, 3], [4, 5, 0]]
    assert [World(rank=r, size=4).share(x).tolist() for r in range(4)] == [[1, 2], [3, 4], [5, 0], [0, 0]]
    assert [World(rank=r, size=3).share(x[:1]).tolist() for r in range(3)] == [[1], [0], [0]]


def test_the_leading_process_sends_its_events(ran: tuple[Path, list[Event]]) -> None:
    assert ran[1] == [EpochEnded(row={"epoch": 1.0})]


@pytest.mark.slow
def test_a_failing_process_is_named_though_another_waits_for_it() -> None:
    with pytest.raises(Broken, match=r"^one of us has lost count$") as error:
        together(2, two.fail, (), cuda=False)
    assert "in fail" in error.value.trace
    assert not error.value.killed


# Whole trials.


def config(**changes: Any) -> TrialConfig:
    attack = Pgd(steps=1, step_ratio=1.0, keep="last")
    tasks = DataRef(limit=24), DataRef(name="fruitveg", limit=13)
    suite = EvalSuite(tasks=tasks, attacks=(Pgd(steps=2),), batch_size=10)
    whole = TrialConfig(
        method=TgaZsr(distance="cos"), train_attack=attack, train_data=DataRef(limit=24), epochs=2, batch_size=10,
        optim=Optim(lr=1e-3, warmup_steps=0), eval_suite=suite,
    )  # fmt: skip
    return whole.with_(changes)


@pytest.mark.slow
def test_a_trial_in_two_processes_survives_the_death_of_one_and_measures_what_one_process_does(tmp_path: Path) -> None:
    events: list[Event] = []

    def kill_one(event: Event) -> None:
        if not events:
            child = max(multiprocessing.active_children(), key=lambda process: process.pid or 0)
            os.kill(child.pid or 0, signal.SIGKILL)
        events.append(event)

    alone = run_trial(config(), tmp_path / "one", RunContext(cache=tmp_path / "cache-one", device="cpu"))
    context = RunContext(on_event=kill_one, cache=tmp_path / "cache", device="cpu")
    result = run_trial_together(config(), tmp_path / "two", 2, context)
    assert result.status == "done", result.error
    assert result == read_result(tmp_path / "two")
    assert [e.row["epoch"] for e in events if isinstance(e, EpochEnded)] == [
        1,
        2,
    ]  # the second went on from the first's end
    assert result.provenance["processes"] == "2"
    assert result.provenance["initial_weights_sha"] == alone.provenance["initial_weights_sha"]
    for mine, theirs in zip(alone.history, result.history, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
    for ours, theirs in zip(result.measurements, alone.measurements, strict=True):
        assert (ours.task, ours.attack, ours.metric, ours.n) == (theirs.task, theirs.attack, theirs.metric, theirs.n)
        # The weights differ in their last digits, because the sums over the batch have another order.
        assert ours.value == pytest.approx(theirs.value, rel=1e-4, nan_ok=True), (ours.task, ours.metric)
    kept = [read_samples(tmp_path / n / "samples.parquet") for n in ("one", "two")]
    images = [list(zip(table["sample_id"].to_pylist(), table["condition"].to_pylist(), strict=True)) for table in kept]
    assert images[0] == images[1]
    assert not list((tmp_path / "cache" / "weights").glob("*.checkpoint"))


@pytest.mark.slow
def test_a_trial_that_fails_in_its_processes_is_a_row_with_its_reason(tmp_path: Path) -> None:
    result = run_trial_together(config(**{"optim.lr": 1e30}), tmp_path / "t", 2, RunContext(device="cpu"))
    assert result.status == "failed"
    assert result.error.startswith("step 2 of 6: ")
    assert "NonFinite" in (tmp_path / "t" / "traceback.txt").read_text()
    assert read_result(tmp_path / "t") == result


def test_one_process_is_no_second_process(tmp_path: Path) -> None:
    result = run_trial_together(config(epochs=0), tmp_path / "t", 1, RunContext(device="cpu"))
    assert result.status == "done"
    assert result.provenance["processes"] == "1"
    for processes in (1, 2):
        with pytest.raises(ConfigError, match="holds trial"):
            run_trial_together(config(epochs=1), tmp_path / "t", processes, RunContext(device="cpu"))
        assert run_trial_together(config(epochs=0), tmp_path / "t", processes, RunContext(device="cpu")) == result
