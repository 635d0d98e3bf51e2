from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.commands.cli import COMMANDS, main
from sweeps.engine.study.folder import Study, trial_folder

MakeStudy = Callable[..., Study]


@pytest.mark.parametrize(
    ("command", "made"),
    [
        ("export", ["study.parquet"]),
        ("table", ["table.md"]),
        (
            "plot",
            [
                f"figures/{name}.{kind}"
                for name in ("surface_alpha_beta", "clean_vs_robust")
                for kind in ("png", "svg", "pdf")
            ],
        ),
    ],
)
def test_a_command_makes_its_files_and_says_which(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], command: str, made: list[str]
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    assert main([command, "--study", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in made]
    assert all((tmp_path / name).is_file() for name in made)


@pytest.mark.parametrize("command", [name for name, _, _ in COMMANDS])
def test_a_folder_that_is_no_study_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--study", str(tmp_path / "nope")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"zsr {command}: ")
    assert str(tmp_path / "nope") in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["export", "table", "plot"])
def test_a_result_that_cannot_be_read_is_one_line(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    broken = trial_folder(tmp_path, study.plan[1].trial_id) / "result.json"
    broken.write_text(broken.read_text()[:100])
    assert main([command, "--study", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert str(broken) in err
    assert err.count("\n") == 1


def test_records_that_cannot_be_read_are_one_line(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    broken = trial_folder(tmp_path, study.plan[1].trial_id) / "samples.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    assert main(["table", "--study", str(tmp_path)]) == 2
    assert str(broken) in capsys.readouterr().err


def test_recording_nowhere_is_refused(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    assert main(["record", "--study", str(tmp_path), "--tracking", "none"]) == 2
    assert "tracking: got 'none', expected a URI" in capsys.readouterr().err


def test_help_brings_no_heavy_library() -> None:
    heavy = ("pandas", "matplotlib", "mlflow", "optuna", "ray", "scipy")
    script = (
        "import runpy, sys\nsys.argv = ['zsr', '--help']\n"
        "try:\n    runpy.run_module('sweeps.engine', run_name='__main__')\n"
        "except SystemExit as end:\n    code = end.code\n"
        f"print('loaded', [name for name in {heavy!r} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded [] 0"
    assert all(name in done.stdout for name, _, _ in COMMANDS)


@pytest.mark.parametrize(
    ("form", "begins"),
    [
        ("terminal", "Where should the weights stand? Selection split."),
        ("md", "## Where should the weights stand?"),
        ("latex", "% needs \\usepackage{booktabs}"),
        ("csv", "study,split,configuration,baseline,metric,eps,over,"),
        ("html", "<style>"),
    ],
)
def test_the_matrix_is_printed_in_any_form_and_writes_nothing(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], form: str, begins: str
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    before = sorted(tmp_path.rglob("*"))
    assert main(["table", "--study", str(tmp_path), "--format", form, "--per-set", "--metric", "robust"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(begins)
    assert "alpha=0.1 beta=0.1" in out
    assert "sport" in out
    assert "harmonic," not in out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_baseline_that_is_no_row_is_one_line(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    assert main(["table", "--study", str(tmp_path), "--format", "md", "--baseline", "untuched"]) == 2
    assert capsys.readouterr().err == (
        "zsr table: --baseline: unknown value 'untuched'; expected one of: untouched, alpha=0.1 beta=0.1; "
        "did you mean 'untouched'?\n"
    )


def test_a_table_can_have_the_papers_numbers_below_it(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    for form in (["--format", "md"], []):
        assert main(["table", "--study", str(tmp_path), *form, "--published"]) == 0
        assert "# Published and measured" in capsys.readouterr().out
    assert main(["table", "--study", str(tmp_path), "--format", "csv", "--published"]) == 2
    assert "--published: got 'csv', expected --format terminal or md" in capsys.readouterr().err


def test_a_reader_that_has_had_enough_breaks_nothing() -> None:
    """`zsr table | head -1`: the pipe is closed while the rest is written."""
    many = "(('many', lambda *_: ['line'] * 200_000, 'x'),)"
    script = f"import sys; from sweeps.engine.commands import cli; cli.COMMANDS = {many};"
    line = [sys.executable, "-c", f"{script} sys.exit(cli.main(['many', '--study', '.']))"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "line\n"
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 0
