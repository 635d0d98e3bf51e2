"""A study refined at its cliffs, trained for real, in this process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.commands.main import main
from sweeps.engine.study.folder import read_results, read_study

Write = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--search", "random", "--samples", "4")])
def test_what_is_proposed_is_run_and_belongs_to_the_study(
    write: Write, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    script = write(
        **{'"optim.lr": 1e-3': '"optim.lr": 1e-2', '"eval_suite.n": 8': '"eval_suite.n": 32'}
    )  # so that scores differ
    assert run(script, "--local", *flags).returncode == 0
    (folder,) = [path.parent for path in tmp_path.glob("results/*/study.json")]
    before = read_study(folder)
    ask = ["refine", "--study", str(folder), "--z", "robust", "--cliff", "0"]
    assert main(ask) == 0
    said = capfd.readouterr().out
    assert "To run them: the same command with --run." in said
    assert read_study(folder) == before, "proposing changes nothing"
    assert main([*ask, "--run", "--local", "--tracking", "none"]) == 0
    after = read_study(folder)
    old = {trial.cell for trial in before.plan}
    new = [trial for trial in after.plan if trial.role == "cell" and trial.cell not in old]
    assert f"{len(new)} configurations, {len(new)} trials." in said
    assert new
    results = read_results(folder, after)
    assert all(results[trial.trial_id].status == "done" for trial in after.plan)
    again = run(script, "--local", *flags)
    assert again.returncode == 0, again.stderr
    assert {t.trial_id for t in read_study(folder).plan} == {t.trial_id for t in after.plan}


@pytest.mark.slow
def test_a_sweep_that_refines_runs_its_rounds_before_it_chooses_and_asks_for_nothing_twice(
    write: Write, run: Run, tmp_path: Path
) -> None:
    # some steps at a high rate, few images: a score's grain is over 5 points
    script = write(**{'"batch_size": 64': '"batch_size": 16', '"optim.lr": 1e-3': '"optim.lr": 1e-2'})
    early = run(script, "--local", "--plan", "--refine")
    assert "--refine adds trials between these cells after all of them have a score." in early.stdout
    whole = run(script, "--local", "--refine")
    assert whole.returncode == 0, whole.stderr
    (folder,) = [path.parent for path in tmp_path.glob("results/*/study.json")]
    study = read_study(folder)
    results = read_results(folder, study)
    new = [trial for trial in study.plan if trial.role == "cell"][4:]
    assert new
    assert all(results[trial.trial_id].status == "done" for trial in study.plan)
    assert f"Best of {4 + len(new)} cells" in whole.stdout
    planned = run(script, "--local", "--plan", "--refine")
    assert "No neighbours of tiny differ by more than 5 points" in planned.stdout
    again = run(script, "--local", "--refine")
    assert again.returncode == 0, again.stderr
    assert read_study(folder).plan == study.plan
