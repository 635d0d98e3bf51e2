"""The flags of every sweep script: each mistake is one line that names the flag, the value and what was expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.engine import Sweep, launch
from sweeps.engine.running.here import check_gpus
from sweeps.engine.running.jobs import processes_of
from sweeps.engine.running.options import command_again, default_results, read_options
from zsr_core.codec import ConfigError
from zsr_core.methods import TgaZsr
from zsr_core.space import Real, Variant
from zsr_core.trial.config import TrialConfig

BASE = TrialConfig(method=TgaZsr())
SWEEP = Sweep(
    name="s",
    question="?",
    base={"miniature": BASE, "paper": BASE},
    space={"method.alpha": Real(low=0.01, high=1.0, log=True)},
)
OVER_TWO = Sweep(
    name="s",
    question="?",
    base={"miniature": BASE},
    space=dict.fromkeys(("method.alpha", "method.beta"), Real(low=0.01, high=1.0, log=True)),
    surfaces=(("method.alpha", "method.beta"),),
)
LISTED = Sweep(name="s", question="?", base={"miniature": BASE}, variants=(Variant(label="full"),))


def test_without_flags_a_sweep_decides() -> None:
    options = read_options(SWEEP, [])
    assert (options.preset, options.search, options.samples, options.seeds) == ("miniature", None, 25, (0,))
    assert options.objectives == ("clean", "robust")
    assert options.results == Path.cwd() / "results"
    assert (options.plan, options.local, options.fresh) == (False, False, False)


def test_flags_say_otherwise() -> None:
    flags = "--search gp --samples 7 --seeds 3 --objectives harmonic --limit 2 --gpus-per-trial 0.25 --max-concurrent 4"
    options = read_options(SWEEP, flags.split())
    assert (options.search, options.samples, options.seeds) == ("gp", 7, (0, 1, 2))
    assert (options.objectives, options.limit) == (("harmonic",), 2)
    assert (options.gpus_per_trial, options.max_concurrent) == (0.25, 4)


def test_refining_is_one_round_unless_a_number_says_otherwise() -> None:
    assert [read_options(OVER_TWO, flags).refine for flags in ([], ["--refine"], ["--refine", "3"])] == [0, 1, 3]


def test_going_on_with_a_study_is_what_happens_anyway() -> None:
    assert read_options(SWEEP, ["--resume"]) == read_options(SWEEP, [])


def test_seeds_extend_the_sweeps_own() -> None:
    own = Sweep(name="s", question="?", base={"miniature": BASE}, variants=LISTED.variants, seeds=(5, 1))
    assert read_options(own, ["--seeds", "1"]).seeds == (5,)
    assert read_options(own, ["--seeds", "4"]).seeds == (5, 1, 0, 2)


BAD: list[tuple[Any, list[str], str]] = [
    (SWEEP, ["--search", "tpe", "--samples", "0"], "--samples: got '0', expected a whole number, at least 1"),
    (SWEEP, ["--search", "tpe", "--samples", "-3"], "--samples: got '-3', expected a whole number"),
    (SWEEP, ["--search", "tpe", "--samples", "many"], "--samples: got 'many', expected a whole number"),
    (SWEEP, ["--samples", "0"], "--samples: got '0', expected a whole number"),
    (SWEEP, ["--samples", "9"], "got '9', expected --search with it: the grid has 5 cells"),
    (SWEEP, ["--search", "tep"], "did you mean 'tpe'?"),
    (SWEEP, ["--search", "tep"], "--search: unknown value 'tep' (did you mean 'tpe'?); expected one of: tpe, gp"),
    (SWEEP, ["--preset", "papr"], "unknown value 'papr' (did you mean 'paper'?); expected one of: miniature, paper"),
    (SWEEP, ["--objectives", "robst"], "objectives: unknown value 'robst'"),
    (SWEEP, ["--objectives", "clean,clean"], "none twice"),
    (SWEEP, ["--seeds", "0"], "--seeds: got '0'"),
    (SWEEP, ["--local", "--gpus-per-trial", "0.25"], "got '0.25', expected 0, or a whole number of GPUs"),
    (SWEEP, ["--local", "--max-concurrent", "2"], "--max-concurrent: got '2', expected 1: --local runs one trial"),
    (SWEEP, ["--limit", "1.5"], "--limit: got '1.5'"),
    (SWEEP, ["--max-concurrent", "0"], "--max-concurrent: got '0'"),
    (SWEEP, ["--gpus-per-trial", "1.5"], "--gpus-per-trial: got '1.5', expected a share of one GPU"),
    (SWEEP, ["--gpus-per-trial", "4.2"], "--gpus-per-trial: got '4.2', expected a share of one GPU"),
    (SWEEP, ["--gpus-per-trial", "-1"], "--gpus-per-trial: got '-1'"),
    (SWEEP, ["--gpus-per-trial", "nan"], "--gpus-per-trial: got 'nan'"),
    (SWEEP, ["--gpus-per-trial", "half"], "--gpus-per-trial: got 'half'"),
    (SWEEP, ["--results", ""], "--results: got '', expected a folder"),
    (SWEEP, ["--sampels", "3"], "flag: unknown value '--sampels' (did you mean '--samples'?); expected one of:"),
    (SWEEP, ["--sampels=3"], "did you mean '--samples'?"),
    (SWEEP, ["--search"], "--search"),
    (LISTED, ["--search", "tpe"], "--search: got 'tpe', expected a sweep with a space"),
    (SWEEP, ["--resume", "--fresh"], "--fresh: got True, expected --resume or --fresh, not both"),
    (SWEEP, ["--refine"], "--refine: got '1', expected a sweep with a surface"),
    (OVER_TWO, ["--refine", "0"], "--refine: got '0', expected a whole number, at least 1"),
    (OVER_TWO, ["--refine", "--search", "tpe"], "--refine: got '1', expected a grid"),
    (SWEEP, ["--seeds", "9" * 20], "--seeds: got '99999999999999999999', expected a whole"),
    (SWEEP, ["--seeds", "100000"], "--seeds: got '100000', expected a whole number, at least 1 and at most 1000"),
    (SWEEP, ["--limit", "9" * 5000], "--limit: got '9999"),
    (SWEEP, ["--limit", "nan"], "--limit: got 'nan', expected a whole number"),
    (SWEEP, ["--limit", "٣"], "--limit: got '٣', expected a whole number"),
    (SWEEP, ["--limit", ""], "--limit: got '', expected a whole number"),
    (SWEEP, ["--gpus-per-trial", "inf"], "--gpus-per-trial: got 'inf'"),
    (SWEEP, ["--gpus-per-trial", "1_0"], "--gpus-per-trial: got '1_0'"),
    (SWEEP, ["--gpus-per-trial", ""], "--gpus-per-trial: got ''"),
    (SWEEP, ["--gpus-per-trial", "1e300"], "--gpus-per-trial: got '1e300'"),
    (SWEEP, ["--tracking", ""], "--tracking: got '', expected a URI, or none"),
    (SWEEP, ["--results", __file__], "expected a folder; this is a file"),
    (OVER_TWO, ["--refine", "21"], "--refine: got '21', expected a whole number, at least 1 and at most 20"),
    (LISTED, ["--preset", "paper"], "--preset: unknown value 'paper'; expected one of: miniature"),
]  # fmt: skip


@pytest.mark.parametrize(("sweep", "flags", "message"), BAD)
def test_a_mistaken_flag_is_one_line_on_stderr_and_exit_code_2(
    sweep: Sweep, flags: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert launch(sweep, flags) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(r"error: [^\n]+\n", captured.err)
    assert message in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing may be written before the input is known to be good"


def test_the_results_of_a_submitted_job_leave_the_folder_that_ray_deletes() -> None:
    job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "HOME": "/home/me"}
    unpacked = Path("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_ab12")
    assert default_results(job, unpacked) == Path("/home/me/zsr-results")
    assert default_results(job, Path("/somewhere")) == Path("/somewhere/results")
    assert default_results({}, Path("/somewhere")) == Path("/somewhere/results")


def test_the_command_to_go_on_leaves_fresh_out() -> None:
    assert command_again("sweeps/s.py", ["--fresh", "--seeds", "2"]) == "python sweeps/s.py --seeds 2"


def test_reading_flags_raises_for_callers() -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        read_options(SWEEP, ["--seeds", "x"])


def test_a_trial_with_several_gpus_has_a_process_each_and_any_other_has_one() -> None:
    assert [processes_of(x) for x in (None, 0.0, 0.25, 1.0, 2.0, 4.0)] == [1, 1, 1, 1, 2, 4]
    assert read_options(SWEEP, ["--gpus-per-trial", "4"]).gpus_per_trial == 4.0


def test_without_ray_a_trial_cannot_have_more_gpus_than_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(1)
    check_gpus(2)
    with pytest.raises(ConfigError, match="--gpus-per-trial: got 4, expected at most the 2 GPUs there are"):
        check_gpus(4)
