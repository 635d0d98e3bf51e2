"""A sweep end to end in one process: results, resuming, failures, mistakes, stopping."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.engine.commands.main import main
from sweeps.engine.study.folder import read_results, read_study
from sweeps.engine.study.lock import only_launch
from zsr_core.audit.report import read_report
from zsr_core.codec import ConfigError
from zsr_core.trial.result import read_result

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
SCRIPTS = sorted([*SWEEPS.glob("[!_]*.py"), *SWEEPS.glob("reproductions/[!_]*.py"), *SWEEPS.glob("replays/[!_]*.py")])
Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]
EXPLODES = 'variants=(Variant(label="sound"), Variant(label="explodes", overrides={"optim.lr": 1e30}))'
ONE = 'variants=(Variant(label="sound"),)'


def written(folder: Path) -> dict[str, int]:
    """Return when each trial's result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.05)


def test_a_grid_runs_to_an_answer_and_the_same_command_again_starts_nothing(
    write: Write, run: Run, tmp_path: Path
) -> None:
    script, folder = write(), tmp_path / "results" / "tiny"
    told = tmp_path / "told.json"
    told_by = ("--notify", f"sh -c 'printenv ZSR_NOTICE > {told}'")
    first = run(script, "--local", "--limit", "2", *told_by)
    assert first.returncode == 1, first.stderr
    assert {**json.loads(told.read_text()), "text": "", "best": ""} == {
        "event": "incomplete", "study": "tiny", "folder": str(folder), "done": 2, "planned": 7, "failed": 0,
        "text": "", "best": "",
    }  # fmt: skip
    assert "3 planned trials have not run" in first.stderr
    early = written(folder)
    assert len(early) == 2
    second = run(script, "--local", *told_by)
    assert (second.returncode, second.stderr) == (0, "")
    assert json.loads(told.read_text())["text"].startswith("tiny has ended: 7 of 7 trials done.\nBest: alpha=")
    late = written(folder)
    assert late.items() >= early.items(), "what was done must not run again"
    study = read_study(folder)
    assert set(late) == {trial.trial_id for trial in study.plan}
    assert [trial.role for trial in study.plan] == ["baseline", *["cell"] * 4, "baseline", "final"]
    assert "Best of 4 cells on the selection split: alpha=" in second.stdout
    assert "On the report split, the untouched model: clean" in second.stdout
    results = read_results(folder, study)
    final, cell = results[study.plan[-1].trial_id], next(t for t in study.plan if t.cell == study.plan[-1].cell)
    assert {m.split for m in final.measurements} == {"report"}
    assert final.provenance["weights_sha"] == results[cell.trial_id].provenance["weights_sha"], (
        "re-scored, not re-trained"
    )
    audited = [t.trial_id for t in study.plan if results[t.trial_id].audit]
    assert audited == [t.trial_id for t in study.plan[-2:]], "what is scored on the report split is audited"
    assert results[study.plan[-1].trial_id].audit["G25"] == "PASS"
    for name in ("study.parquet", "table.md", "figures/surface_alpha_beta.png"):
        assert str(folder / name) in second.stdout
        assert (folder / name).is_file()
    third = run(script, "--local", "--notify", "false never-shown")
    assert (third.returncode, third.stderr) == (0, "--notify: false did not take the message (exit code 1)\n")
    assert "All 7 trials of tiny are done: nothing to run." in third.stdout
    assert written(folder) == late


@pytest.mark.slow
def test_an_audit_takes_the_weights_that_the_study_kept(
    write: Write, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results" / "tiny"
    assert run(write(ONE), "--local").returncode == 0
    study = read_study(folder)
    final = study.plan[-1].trial_id
    asked = ["audit", "--study", str(folder), "--trial", final, "--tier", "full", "--images", "6"]
    assert main([*asked, "--plan"]) == 0
    assert "pgd50 x 5" in capfd.readouterr().out
    assert main([*asked, "--rules", "G03", "G08", "G24", "G25"]) == 0
    out = capfd.readouterr().out
    found = read_report(folder / "trials" / final)
    assert found is not None
    assert found.tier == "full"
    assert {rule: found.statuses[rule] for rule in ("G03", "G08", "G25")} == dict.fromkeys(
        ("G03", "G08", "G25"), "PASS"
    )
    assert f"weights {found.weights_sha}" in out
    assert read_results(folder, study)[final].audit == found.statuses
    assert len(pq.read_table(folder / "trials" / final / "surface.parquet")) == 6 * 441


@pytest.mark.slow
def test_a_search_counts_its_samples_over_launches(write: Write, run: Run, tmp_path: Path) -> None:
    script, folder = write(), tmp_path / "results" / "tiny-random"
    flags = ("--local", "--search", "random", "--objectives", "harmonic")
    assert run(script, *flags, "--samples", "2").returncode == 0
    early = written(folder)
    assert len([t for t in read_study(folder).plan if t.role == "cell"]) == 2
    assert "nothing to run" in run(script, *flags, "--samples", "2").stdout
    assert run(script, *flags, "--samples", "3").returncode == 0
    assert written(folder).items() >= early.items()
    assert len([t for t in read_study(folder).plan if t.role == "cell"]) == 3
    refused = run(script, "--local", "--search", "random", "--samples", "3")
    assert refused.returncode == 2
    assert "was searched for harmonic, not clean, robust" in refused.stderr


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_a_row_with_its_reason_and_the_others_go_on(
    write: Write, run: Run, tmp_path: Path
) -> None:
    done = run(write(EXPLODES, **{'"train_data.limit": 64': '"train_data.limit": 256'}), "--local")
    folder = tmp_path / "results" / "tiny"
    assert done.returncode == 1
    assert "failed: explodes seed=0: step 2 of 4: loss term 'ce' is nan" in done.stderr
    assert "Best of 1 cell on the selection split: sound" in done.stdout
    rows = pq.read_table(folder / "study.parquet").to_pylist()
    (reason,) = {row["error"] for row in rows if row["label"] == "explodes seed=0"}
    assert "loss term 'ce' is nan" in reason
    before = written(folder)
    again = run(write(EXPLODES, **{'"train_data.limit": 64': '"train_data.limit": 256'}), "--local")
    assert again.returncode == 1
    changed = {trial for trial, at in written(folder).items() if before.get(trial) != at}
    assert len(changed) == 1, "only the failed trial has another try"


MISTAKES = [
    ({}, ("--results", "FILE/sub"), "--results: got"),
    ({}, ("--tracking", "mlruns"), "--tracking: got 'mlruns'"),
    ({}, ("--tracking", "http://127.0.0.1:9"), "--tracking: got 'http://127.0.0.1:9'"),
    ({"AXES, levels=2": '{"method.alpha": Real(low=0.3, high=0.1)}'}, (), "low: got 0.3, expected a number below"),
    ({"AXES, levels=2": '{"method.alpha": Real(low=-0.3, high=0.1)}'}, (), "method.alpha: got -0.3"),
    ({"AXES, levels=2": "()"}, (), "space: got (), expected at least one axis"),
    ({'"epochs": 1': '"threat.eps": 4'}, (), "expected a budget in [0, 1] pixel units (write 4/255)"),
    ({'"epochs": 1': '"method.alpha": -1'}, (), "method.alpha: got -1"),
    ({'"epochs": 1': '"method.alhpa": 1'}, (), "did you mean 'alpha'"),
    ({'"epochs": 1': '"model.name": "minature"'}, (), "did you mean 'miniature'"),
    ({'"epochs": 1': '"model.pretrained": "/no/such.safetensors"'}, (), "/no/such.safetensors"),
    ({'"sport")': '"spork")'}, (), "did you mean 'sport'"),
    ({'"miniature").with_': '"minature").with_'}, (), "did you mean 'miniature'"),
]  # fmt: skip


@pytest.mark.parametrize(("replaced", "flags", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_before_anything_starts(
    write: Write, run: Run, tmp_path: Path, replaced: dict[str, str], flags: tuple[str, ...], message: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    given = [flag.replace("FILE", str(tmp_path / "file")) for flag in flags]
    done = run(write(**{'surfaces=(("method.alpha", "method.beta"),)': "", **replaced}), *given)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert not list(tmp_path.glob("results/*/trials"))


@pytest.mark.slow
def test_a_folder_that_holds_another_study_is_refused_and_fresh_sets_it_aside(
    write: Write, run: Run, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert run(write(ONE), "--local", "--limit", "1").returncode == 1
    other = write(ONE, **{'"optim.lr": 1e-3': '"optim.lr": 0.5'})
    refused = run(other, "--local", "--limit", "1")
    assert refused.returncode == 2
    assert "holds another study (base.optim.lr is 0.001 there, 0.5 here)" in refused.stderr
    assert run(other, "--local", "--limit", "1", "--fresh").returncode == 1
    (old,) = results.glob("tiny.old-*")
    assert read_study(old).base.optim.lr == 0.001
    assert read_study(results / "tiny").base.optim.lr == 0.5
    (results / "tiny" / "study.json").unlink()
    assert "holds no study.json; planned again, with 1 trials that have ended" in run(other, "--local").stderr
    (results / "strange").mkdir()
    (results / "strange" / "thesis.tex").write_text("not a study")
    strange = write(ONE, **{'name="tiny"': 'name="strange"'})
    assert "holds something else" in run(strange, "--local").stderr


def test_the_plan_is_printed_and_nothing_is_written(write: Write, run: Run, tmp_path: Path) -> None:
    done = run(write(), "--plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("missing") == 5
    assert "5 of 5 trials to run" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_launch_says_how_to_go_on_and_keeps_what_has_finished(
    write: Write, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    script, folder = write(), tmp_path / "results" / "tiny"
    process = start(script, "--local")
    wait_for(lambda: bool(written(folder)), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert f"To go on:\n  python {script} --local --tracking none" in err
    assert "Traceback" not in err
    assert 1 <= len(written(folder)) < 7


def test_a_second_launch_of_one_study_is_refused_while_the_first_lives(write: Write, run: Run, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with only_launch(tmp_path / "results" / "tiny"):
        refused = run(write(ONE), "--local")
    assert refused.returncode == 2
    assert f"another launch is running tiny (process {os.getpid()} on " in refused.stderr


def test_a_lock_left_by_a_dead_launch_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / ".s.lock").write_text("process 1 on elsewhere")
    with only_launch(tmp_path / "s"), pytest.raises(ConfigError, match="another launch"), only_launch(tmp_path / "s"):
        pass
    with only_launch(tmp_path / "s"):
        pass


@pytest.mark.slow
def test_a_torn_result_is_named_and_its_trial_runs_again(write: Write, run: Run, tmp_path: Path) -> None:
    assert run(write(ONE), "--local", "--limit", "1").returncode == 1
    (result,) = (tmp_path / "results").glob("tiny/trials/*/result.json")
    result.write_text(json.dumps({"trial_id": "x"}))
    again = run(write(ONE), "--local")
    assert again.returncode == 0
    assert str(result) in again.stderr
    assert read_result(result.parent) is not None


def test_every_shipped_script_is_short_and_leaves_ray_loops_and_flags_to_the_engine() -> None:
    assert SCRIPTS
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert 16 <= len(text.splitlines()) <= 40, path
        nodes = list(ast.walk(ast.parse(text)))
        assert not [n for n in nodes if isinstance(n, (ast.For, ast.While, ast.comprehension, ast.FunctionDef))], path
        names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
        names |= {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}
        assert names.isdisjoint({"ray", "argparse", "sys", "click", "optuna", "mlflow"}), path
        assert (ast.get_docstring(ast.parse(text)) or "").splitlines()[0].endswith("?"), "a script asks one question"


def test_an_ablation_ends_with_its_matrix_within_a_hundred_columns(write: Write, run: Run, tmp_path: Path) -> None:
    rows = "Variant(label='with', reference=True), Variant(label='without', overrides={'method.alpha': 0.0})"
    done = run(write(f"variants=({rows})"), "--local")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Winner's curse: of 2 equally good cells" in done.stdout
    lines = done.stdout.splitlines()
    assert all(any(line.startswith(f"  {label} ") for line in lines) for label in ("untouched", "with", "without"))
    assert "Δ: points above the row 'with' on the same seeds and images" in done.stdout
    begins = next(i for i, line in enumerate(lines) if line.endswith("Selection split."))
    ends = next(i for i, line in enumerate(lines) if line.startswith("results   "))
    assert max(map(len, lines[begins:ends])) <= 100
    assert "## Ablation matrix" in (tmp_path / "results" / "tiny" / "table.md").read_text(encoding="utf-8")
