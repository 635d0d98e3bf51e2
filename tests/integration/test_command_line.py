"""``python -m zsr_core``: one trial on a bare box; what cannot be used is one line and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from zsr_core.cli.main import main
from zsr_core.cli.options import parse_override
from zsr_core.codec import ConfigError, to_plain
from zsr_core.methods import TeCoA
from zsr_core.trial.presets import miniature

ROOT = Path(__file__).parents[2]
QUICK = [
    "--set", "train_data.limit=16", "--set", "eval_suite.n=4", "--set", "batch_size=8",
    "--set", 'eval_suite.tasks=[{"type": "DataRef"}, {"type": "DataRef", "name": "hearts"}]',
]  # fmt: skip


def test_train_leaves_a_result_and_prints_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "--method", "TeCoA", "--out", str(tmp_path), "--device", "cpu", *QUICK])
    said = capsys.readouterr().out
    assert code == 0
    (result,) = tmp_path.glob("*/result.json")
    plain = json.loads(result.read_text())
    assert plain["status"] == "done"
    assert plain["config"]["method"]["type"] == "TeCoA"
    assert said.startswith(f"trial {plain['trial_id']} (TeCoA) in {result.parent}\n")
    accuracies = [m for m in plain["measurements"] if m["metric"] in ("clean", "robust", "harmonic")]
    assert {m["metric"] for m in accuracies} == {"clean", "robust", "harmonic"}
    for m in accuracies:
        assert any(line.startswith(m["task"]) and f"{m['value']:.2f} %" in line for line in said.splitlines())


def test_evaluate_measures_the_untouched_model_on_the_reporting_split(tmp_path: Path) -> None:
    assert main(["evaluate", "--out", str(tmp_path), "--device", "cpu", *QUICK]) == 0
    plain = json.loads(next(tmp_path.glob("*/result.json")).read_text())
    assert (plain["config"]["epochs"], plain["history"]) == (0, [])
    assert {m["split"] for m in plain["measurements"]} == {"report"}


def test_a_saved_config_can_be_run_again(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    config = miniature(TeCoA()).with_({"epochs": 0, "eval_suite.tasks": [{"type": "DataRef"}], "eval_suite.n": 4})
    file.write_text(json.dumps(to_plain(config)))
    assert main(["train", "--config", str(file), "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert (tmp_path / config.trial_id / "result.json").is_file()


def test_a_failed_trial_is_exit_code_one_and_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["--set", "optim.lr=1e30", "--set", "optim.warmup_share=0", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["train", *wild, *QUICK]) == 1
    assert "failed: step 2 of 2: " in capsys.readouterr().out


BAD = {
    "method": (["train", "--method", "TgaZs"], "--method: unknown value 'TgaZs'"),
    "method's neighbour": (["train", "--method", "TgaZs"], "did you mean 'TgaZsr'?"),
    "preset": (["train", "--preset", "papers"], "--preset: unknown value 'papers'"),
    "field": (["train", "--set", "method.alhpa=1"], "config.method: TgaZsr has no field 'alhpa'"),
    "no value": (["train", "--set", "method.alpha"], "--set: got 'method.alpha', expected PATH=VALUE"),
    "negative weight": (["train", "--set", "method.alpha=-1"], "config.method.alpha: got -1"),
    "not a number": (["train", "--set", "method.alpha=NaN"], "config.method.alpha: got nan"),
    "infinite": (["train", "--set", "method.alpha=Infinity"], "config.method.alpha: got inf"),
    "eps in levels": (["train", "--set", "threat.eps=4"], "write 4/255"),
    "model": (["evaluate", "--set", "model.name=ViT-B-23"], "--model: unknown model 'ViT-B-23'"),
    "size": (["evaluate", "--set", "model.name=ViT-B-32"], "expected a model of 48 or 96 px, not 224 px"),
    "weights": (["evaluate", "--weights", "gone.safetensors"], "--weights: got 'gone.safetensors'"),
    "task": (["train", "--set", 'eval_suite.tasks=[{"name": "harts"}]'], "did you mean 'hearts'?"),
    "config file": (["train", "--config", "gone.json"], "--config: got 'gone.json', expected a file that exists"),
    "train on a test set": (["train", "--set", "train_data.name=hearts"], "config.train_data.split: got 'train'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_exit_code_two(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, says = BAD[kind]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("zsr_core: ")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b'{"metod": {}}'])
def test_a_config_file_that_cannot_be_used_is_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    assert main(["train", "--config", str(file), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["evaluate", "--out", str(tmp_path / "file" / "results")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"zsr_core: --out: {tmp_path / 'file' / 'results'}")
    assert said.count("\n") == 1


def test_a_result_that_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / miniature(TeCoA()).trial_id
    folder.mkdir()
    (folder / "result.json").write_text("{")
    assert main(["train", "--method", "TeCoA", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{folder / 'result.json'} is not JSON" in said
    assert said.count("\n") == 1


def test_a_device_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["evaluate", "--device", "cuda", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "zsr_core: --device: got 'cuda', expected 'cpu': torch finds no CUDA here\n"


def test_values_are_json_fractions_or_text() -> None:
    assert parse_override("a.b=0.1") == ("a.b", 0.1)
    assert parse_override("eps=4/255") == ("eps", 4 / 255)
    assert parse_override("name=x=y") == ("name", "x=y")
    assert parse_override("root=data/pets") == ("root", "data/pets")
    assert parse_override("x=1/0") == ("x", "1/0")
    assert parse_override("none=null") == ("none", None)
    with pytest.raises(ConfigError, match="expected PATH=VALUE"):
        parse_override("=1")


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zsr_core", "train", "--method", "Nothing"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("zsr_core: --method: unknown value 'Nothing'")
    assert "Traceback" not in done.stderr
