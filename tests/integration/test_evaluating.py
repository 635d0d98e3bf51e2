"""``evaluate``: any model's weights under named attacks; planned, sharded, killed and gone on with."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sweeps.engine.commands.main import main as zsr
from sweeps.engine.running import shards
from zsr_core.cli.evaluate import config_of
from zsr_core.cli.main import main
from zsr_core.cli.options import add_evaluate_options
from zsr_core.cli.table import table
from zsr_core.codec import to_plain
from zsr_core.data import miniature, open_data
from zsr_core.data.open import taken
from zsr_core.data.ref import DataRef
from zsr_core.evaluation.suite import merged
from zsr_core.model.load import Clip, ModelRef, load_clip
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.cost import evaluation_parts
from zsr_core.trial.deploy import restored
from zsr_core.trial.run import evaluate_shard, run_trial

QUICK = ["--tasks", "source,hearts", "--n", "7", "--attacks", "pgd10", "--batch-size", "3", "--device", "cpu"]


def _records(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(next(folder.glob("*/samples.parquet"))).to_pylist()
    return rows


def test_weights_of_others_are_scored_with_records_table_and_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = load_clip(ModelRef(name="miniature-96"), "cpu")
    weights = tmp_path / "tower.safetensors"
    state = {name: tensor.contiguous().clone() for name, tensor in clip.tower.visual.state_dict().items()}
    save_file(state, weights)
    assert main(["evaluate", "--weights", str(weights), *QUICK, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    result = json.loads(next((tmp_path / "out").glob("*/result.json")).read_text())
    assert result["provenance"]["weights_sha"] == clip.sha
    assert {m["split"] for m in result["measurements"]} == {"report"}
    rows = _records(tmp_path / "out")
    clean = [r["correct"] for r in rows if r["task"] == "hearts" and r["condition"] == "none"]
    assert len(clean) == 7
    assert f"| hearts | 7 | {100 * sum(map(bool, clean)) / 7:.1f} [" in said
    assert (
        f"; miniature-96, weights {clip.sha} ({weights}), report split, seed 0. Measured on the built-in mini" in said
    )
    assert result["audit"]["G25"] == "PASS"
    assert "rules hold" in said
    written = next((tmp_path / "out").glob("*/table.md")).read_text()
    assert written in said
    assert not list((tmp_path / "out").glob("*/parts"))
    assert main(["evaluate", "--weights", str(weights), *QUICK, "--out", str(tmp_path / "out")]) == 0
    assert "nothing to run" in capsys.readouterr().out


def test_a_number_that_the_audit_fails_is_marked(tmp_path: Path) -> None:
    config = _config()
    result = run_trial(config, tmp_path, RunContext(device="cpu"))
    parts = evaluation_parts(config)
    assert "Not audited." in table(result, parts)
    said = table(replace(result, audit={"G03": "FAIL", "G01": "PASS", "G06": "SKIP"}), parts)
    assert (
        "† robustness unverified. Audit: FAIL G03; 1 rule holds; 1 not tested, because only `--audit full` runs" in said
    )
    row = next(line for line in said.splitlines() if line.startswith("| hearts"))
    assert row.count("†") == 2  # the attack's and the worst case's, not the clean one


def test_a_plan_counts_passes_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert zsr(["evaluate", *QUICK, "--out", str(tmp_path / "out"), "--plan"]) == 0
    said = capsys.readouterr().out
    assert "| hearts | pgd10 | 2/255 | pgd10 | 7 | 22 |" in said
    assert f"At most {2 * 7 * (1 + 22)} passes" in said
    assert not (tmp_path / "out").exists()


def test_a_plan_needs_no_data_where_its_size_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "ViT-B-32", "--root", str(tmp_path), "--tasks", "cifar10", "--n", "50", "--attacks", "aa-tecoa"]
    assert zsr(["evaluate", *words, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "| cifar10 | aa-tecoa | 1/255 | apgd-ce+apgd-dlr | 50 |" in said
    assert "counted by their published sizes: cifar10." in said
    assert zsr(["evaluate", *words, "--out", str(tmp_path / "out")]) == 2
    assert "holds no cifar10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--attacks", "pgd1O"], "--attacks: attack: unknown value 'pgd1O'"),
        (["--tasks", "heart"], "did you mean 'hearts'"),
        (["--eps", "4"], "write 4/255"),
        (["--eps", "a/b"], "--eps: got 'a/b', expected a number or a fraction"),
        (["--model", "ViT-B-99"], "--model: unknown model 'ViT-B-99'"),
        (["--model", "ViT-B-32", "--tasks", ""], "--tasks: got '', expected at least one set"),
        (["--weights", "nowhere.pt"], "--weights: got 'nowhere.pt'"),
        (["--tasks", "hearts,hearts"], "every task once"),
        (["--n", "-1"], "--n: got -1"),
        (["--attacks", ""], "--attacks: got '', expected at least one attack"),
        (["--workers", "0"], "--workers: got '0', expected a whole number, at least 1"),
    ],
)
def test_input_that_cannot_be_used_is_one_line_that_names_it(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zsr(["evaluate", *QUICK, *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def _pictures(folder: Path, n: int) -> None:
    folder.mkdir(parents=True)
    for i in range(n):
        Image.new("RGB", (50, 50), (20 * i, 100, 255 - 20 * i)).save(folder / f"{i}.png")


def _saved_tower(file: Path, scale: float = 1.0) -> Clip:
    """Write the miniature's image tower, its last layer times ``scale``, and return the miniature."""
    clip = load_clip(ModelRef(name="miniature-96"), "cpu")
    state = {name: tensor.contiguous().clone() for name, tensor in clip.tower.visual.state_dict().items()}
    state["proj"] *= scale
    save_file(state, file)
    return clip


def test_a_file_that_has_changed_does_not_get_the_numbers_of_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "whole.pt"
    words = ["evaluate", "--weights", str(file), *QUICK, "--audit", "none", "--out", str(tmp_path / "out")]
    state = miniature.load_model(miniature.FINE).state_dict()
    torch.save(state, file)
    assert zsr(words) == 0
    assert zsr(words) == 0, "the same file again"
    state["logit_scale"] = state["logit_scale"] + 1  # no weight of the image tower, which gives the records their hash
    torch.save(state, file)
    capsys.readouterr()
    assert zsr(words) == 0
    printed = capsys.readouterr()
    assert "changed since it was measured: weights" in printed.out + printed.err
    folders = sorted((tmp_path / "out").iterdir())
    assert [".old-" in folder.name for folder in folders] == [False, True], "the old numbers are kept, beside the new"
    fresh, old = (json.loads((folder / "result.json").read_text()) for folder in folders)
    assert fresh["provenance"] != old["provenance"]


def test_weights_of_others_have_the_clip_of_their_texts_to_transfer_from(tmp_path: Path) -> None:
    file = tmp_path / "tower.safetensors"
    clip = _saved_tower(file, scale=2.0)
    whole = tmp_path / "whole.safetensors"
    save_file(
        {name: tensor.clone() for name, tensor in miniature.load_model(miniature.FINE).state_dict().items()}, whole
    )
    config = _config().with_({"model.pretrained": str(file), "model.text_from": str(whole)})
    victim = restored(config, tmp_path, torch.device("cpu")).victim
    assert victim.sha != clip.sha
    assert victim.others["untouched"].sha == clip.sha


def test_the_table_says_what_ran_where_classes_are_too_few(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        _pictures(tmp_path / "two" / name, 6)
    words = ["--tasks", f"hearts,{tmp_path / 'two'}", "--n", "2", "--attacks", "aa-tecoa,pgd10", "--audit", "none"]
    assert zsr(["evaluate", *words, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    said = next((tmp_path / "out").glob("*/table.md")).read_text()
    assert "aa-tecoa ran apgd-ce on two: too few classes for apgd-ce+apgd-dlr." in said
    assert said.count(" ran ") == 1


@pytest.mark.parametrize(("folders", "says"), [(["cat"], "at least two"), (["cat", "Cat "], "every class name once")])
def test_classes_that_no_text_tells_apart_are_refused_before_anything_runs(
    folders: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in folders:
        _pictures(tmp_path / "set" / name, 12)
    for more in ([], ["--plan"] if len(folders) == 1 else []):
        words = [*QUICK, "--tasks", str(tmp_path / "set"), "--out", str(tmp_path / "out")]
        assert zsr(["evaluate", *words, *more]) == 2
        said = capsys.readouterr()
        assert says in said.err
        assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_splits_is_measured_whole_and_counts_as_zero_shot_whatever_it_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("a/source", "b/source"):
        for name in ("cat", "dog"):
            _pictures(tmp_path / place / name, 6)
    (tmp_path / "b/source/dog/more.jfif").write_bytes(b"x")
    folders = f"{tmp_path}/a/source,other={tmp_path}/b/source"
    words = ["--attacks", "pgd2", "--audit", "none", "--device", "cpu", "--out", str(tmp_path / "out")]
    Image.new("RGB", (40, 40)).save(tmp_path / "b/source/dog/7.png")
    assert zsr(["evaluate", "--tasks", folders, "--n", "0", *words]) == 0
    said = capsys.readouterr().out
    assert "note: other: 1 files are not read as images: 1 of .jfif" in said
    rows = {line.split(" | ")[0]: line.split(" | ")[1] for line in said.splitlines() if line.startswith("| ")}
    assert rows == {"| set": "n", "| source": "12", "| other": "13", "| mean of the zero-shot sets": "25"}
    result = json.loads(next((tmp_path / "out").glob("*/result.json")).read_text())
    assert result["provenance"]["data_notes"].startswith("other: 1 files are not read")


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zsr_core.trial.run.evaluate", interrupted)
    assert zsr(["evaluate", *QUICK, "--out", str(tmp_path / "out")]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_an_l2_budget_is_said_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert zsr(["evaluate", *QUICK, "--norm", "l2", "--eps", "0.5", "--plan"]) == 0
    assert "| hearts | pgd10 | 0.5 (l2) |" in capsys.readouterr().out


def _config(*more: str) -> TrialConfig:
    parser = argparse.ArgumentParser()
    add_evaluate_options(parser)
    return config_of(parser.parse_args([*QUICK, *more]))


def test_lists_of_attacks_and_budgets_may_have_spaces_after_their_commas() -> None:
    suite = _config("--attacks", "pgd10, cw100", "--eps", "1/255, 2/255").eval_suite
    assert suite == _config("--attacks", "pgd10,cw100", "--eps", "1/255,2/255").eval_suite


@pytest.mark.parametrize("of", [2, 3, 9])
def test_shards_together_are_the_records_of_one_process(of: int, tmp_path: Path) -> None:
    config = _config()
    whole = evaluate_shard(config, tmp_path / "whole", (0, 1), RunContext(device="cpu"))
    parts = [evaluate_shard(config, tmp_path / "parts", (k, of), RunContext(device="cpu")) for k in range(of)]
    together = merged(parts)
    assert [(r.task, r.sample_id, r.condition) for r in together] == [(r.task, r.sample_id, r.condition) for r in whole]
    assert [r.correct for r in together] == [r.correct for r in whole]
    for a, b in zip(together, whole, strict=True):
        assert a.margin == pytest.approx(b.margin, rel=1e-3, abs=1e-2)


def test_shards_say_together_how_far_they_are_and_how_long_it_takes(tmp_path: Path) -> None:
    config = _config()
    assert shards._standing(tmp_path, 2, ()) == "  0.0 %  0 of 2 shards done"
    meters = [shards._meter(config, tmp_path, k, 2) for k in (0, 1)]
    for k, meter in enumerate(meters):
        meter._every = 0.0
        evaluate_shard(config, tmp_path, (k, 2), RunContext(device="cpu", on_event=meter))
    assert shards._standing(tmp_path, 2, ()).startswith("100.0 %  0 of 2 shards done, about 0 s left")
    assert shards._standing(tmp_path, 2, {0, 1}) == "100.0 %  2 of 2 shards done"
    (tmp_path / "shard-1-of-2.txt").write_text("0.5 120.0")
    assert shards._standing(tmp_path, 2, {0}) == " 75.0 %  1 of 2 shards done, about 2 min left"
    (tmp_path / "shard-1-of-2.txt").write_text("0.5 ")  # all of it was read from the journal so far
    assert shards._standing(tmp_path, 2, {0}) == " 75.0 %  1 of 2 shards done"


def test_a_part_of_a_set_has_its_images_ids_and_labels() -> None:
    images = open_data(DataRef(name="hearts"), "report", 48)
    part = taken(images, range(1, 10, 4))
    assert list(part.ids) == [images.ids[i] for i in (1, 5, 9)]
    assert part.labels.tolist() == images.labels[[1, 5, 9]].tolist()
    assert part.pixels([2, 0]).equal(images.pixels([9, 1]))


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was_and_ends_with_the_same_records(tmp_path: Path) -> None:
    # Batches long enough to be worth keeping: PGD would end early, where images go round in circles.
    words = ["--tasks", "source,hearts", "--n", "24", "--attacks", "apgd-t", "--batch-size", "12", "--eps", "1/2550"]
    command = [sys.executable, "-m", "zsr_core", "evaluate", *words, "--out"]
    done = subprocess.run([*command, str(tmp_path / "whole")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    running = subprocess.Popen([*command, str(tmp_path / "cut")], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while running.poll() is None and len(list((tmp_path / "cut").glob("*/parts/*.parquet"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    kept = len(list((tmp_path / "cut").glob("*/parts/*.parquet")))
    assert kept >= 2
    assert not list((tmp_path / "cut").glob("*/result.json"))
    again = subprocess.run([*command, str(tmp_path / "cut")], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert _records(tmp_path / "cut") == _records(tmp_path / "whole")


@pytest.mark.ray
def test_two_ray_workers_leave_the_records_of_one_process(tmp_path: Path) -> None:
    assert zsr(["evaluate", *QUICK, "--out", str(tmp_path / "one")]) == 0
    assert zsr(["evaluate", *QUICK, "--out", str(tmp_path / "two"), "--workers", "2"]) == 0
    facts = ("task", "sample_id", "condition", "correct", "label")
    one, two = ([tuple(r[f] for f in facts) for r in _records(tmp_path / name)] for name in ("one", "two"))
    assert one == two


def test_a_suite_survives_the_way_through_text() -> None:
    config = _config()
    assert config.with_({}) == config
    assert json.loads(json.dumps(to_plain(config)))["eval_suite"]["attacks"][0]["type"] == "Pgd"
