"""``zsr``: each command makes its files, each mistake is one line and exit code 2, and no help text needs torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.commands.main import COMMANDS, main
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


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("data", "evaluate")])
def test_a_folder_that_is_no_study_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--study", str(tmp_path / "nope")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"zsr {command}: ")
    assert str(tmp_path / "nope") in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["export", "table", "plot"])
def test_a_torn_result_is_named_in_one_line_and_set_aside(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    broken = trial_folder(tmp_path, study.plan[1].trial_id) / "result.json"
    broken.write_text(broken.read_text()[:100])
    assert main([command, "--study", str(tmp_path)]) == (2 if command == "plot" else 0), "nothing is left to plot"
    first = capsys.readouterr().err.splitlines()[0]
    assert str(broken) in first
    assert first.endswith("set aside as result.json.torn, the trial counts as missing")
    assert broken.with_name("result.json.torn").is_file()
    assert not broken.exists()


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


HEAVY = ("torch", "open_clip", "numpy", "pyarrow", "pandas", "matplotlib", "mlflow", "optuna", "ray", "scipy", "rich")
LIGHT = ["", *COMMANDS]


@pytest.mark.parametrize("command", LIGHT)
def test_a_help_text_brings_no_heavy_library(command: str) -> None:
    script = (
        "import sys\nfrom sweeps.engine.commands.main import main\n"
        f"try:\n    main([*{command.split()!r}, '--help'])\nexcept SystemExit as end:\n    code = end.code\n"
        f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded [] 0"
    assert command or all(f"\n    {name}" in done.stdout for name in COMMANDS)


def test_reading_a_study_brings_no_open_clip() -> None:
    modules = ", ".join(f"sweeps.engine.{name}" for name in ("study.folder", "documents.table", "commands.plot"))
    script = f"import sys, {modules}\nprint([m for m in ('open_clip', 'torchvision', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_importing_the_engine_brings_no_torch_and_changes_no_hook() -> None:
    script = (
        "import sys\nhook = sys.excepthook\nimport sweeps.engine\nassert 'torch' not in sys.modules\n"
        "from sweeps.engine import Sweep, launch\nassert launch.__name__ == 'launch'\n"
        "assert Sweep.__name__ == 'Sweep'\nassert sys.excepthook is hook"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


MISTAKES = [
    (["nope"], "zsr nope: command: unknown value 'nope'; expected one of: export, table, plot"),
    ([], "zsr: the following arguments are required: COMMAND"),
    (["table"], "zsr table: the following arguments are required: --study"),
    (["table", "--study", ""], "zsr table: --study: got '', expected the folder of a study"),
    (["table", "--study", "STUDY/study.json"], "which a sweep has written; this is a file"),
    (["table", "--study", "STUDY", "--fromat", "md"], "flag: unknown value '--fromat'"),
    (["table", "--study", "STUDY", "--fromat", "md"], "did you mean '--format'?"),
    (["table", "--study", "STUDY", "--format", "word"], "--format: unknown value 'word'; expected one of: terminal"),
    (["table", "--study", "STUDY", "--format", ""], "--format: got '', expected one of terminal, md"),
    (["table", "--study", "STUDY", "--baseline", "nope"], "--baseline: got 'nope', expected --format with it"),
    (["table", "--study", "STUDY", "--baseline", ""], "--baseline: got '', expected --format with it"),
    (["table", "--study", "STUDY", "--per-set"], "--per-set: got True, expected --format with it"),
    (["table", "--study", "STUDY", "--format", "md", "--metric", "robst"], "--metric: unknown value 'robst'"),
    (["plot", "--study", "STUDY", "--kind", "heatmpa"], "--kind: unknown value 'heatmpa'"),
    (["plot", "--study", "STUDY", "--kind", "clean_vs_robust", "--z", "nope"], "score: 'nope' was not measured"),
    (["plot", "--study", "STUDY", "--kind", "clean_vs_robust", "--z", ""], "--z: got '', expected a score"),
    (["plot", "--study", "STUDY", "--kind", "pareto", "--facet", "datset"], "did you mean 'dataset'?"),
    (["plot", "--study", "STUDY", "--kind", "all", "--x", "gamma"], "axis: 'gamma' does not vary"),
    (["plot", "--study", "STUDY", "--baseline", "untouched"], "--baseline: got 'untouched', expected --kind forest"),
    (["plot", "--study", "STUDY", "--kind", "clean_vs_robust", "--beside", "STUDY"], "expected --kind heatmap or"),
    (["plot", "--study", "STUDY", "--kind", "pareto", "slices", "--x", "alpha"], "pareto, slices would ignore it"),
    (["plot", "--study", "STUDY", "--kind", "eps", "--cliff", "2"], "--cliff: got 2.0, expected --kind heatmap"),
    (["refine", "--study", "STUDY", "--local"], "--local: got True, expected --run with it"),
    (["refine", "--study", "STUDY", "--tracking", "none"], "--tracking: got 'none', expected --run with it"),
    (["audit", "--published", "--tier", "full"], "--tier: got 'full', expected --study with it"),
    (["audit", "--published", "--plan"], "--plan: got True, expected --study with it"),
    (["audit", "--study", "STUDY", "--out", "there"], "--out: got 'there', expected --published with it"),
    (["evaluate", "--tasks", "anmals"], "--tasks: unknown value 'anmals' (did you mean 'animals'?); expected one of:"),
    (["evaluate", "--tasks", "animals,animals"], "--tasks: got ['animals', 'animals'], expected every task once"),
    (["evaluate", "--trained-on", "nope"], "--trained-on: unknown value 'nope'; expected one of:"),
    (["evaluate", "--gpus-per-worker", "1"], "--gpus-per-worker: got '1', expected --workers above 1"),
    (["plot", "--study", "STUDY", "--beside", "STUDY/nope"], "--beside: got"),
    (["plot", "--study", "STUDY", "--cliff", "nan"], "--cliff: got 'nan', expected a number of points from 0 to 100"),
    (["sensitivity", "--study", "STUDY", "--cliff", "inf"], "--cliff: got 'inf'"),
    (["refine", "--study", "STUDY", "--cliff", "-1"], "--cliff: got '-1'"),
    (["refine", "--study", "STUDY", "--cliff", ""], "--cliff: got ''"),
    (["refine", "--study", "STUDY", "--tracking", ""], "--tracking: got '', expected a URI, or none"),
    (["report", "--study", "STUDY", "--out", ""], "--out: got '', expected a file to write"),
    (["report", "--study", "STUDY", "--out", "STUDY"], "expected a file to write; this is a folder"),
    (["audit", "--published", "--out", ""], "--out: got '', expected a folder"),
    (["audit", "--published", "--study", "STUDY"], "a study's folder, or --published instead of it"),
    (["audit", "--study", "STUDY", "--images", "9" * 20], "--images: got '99999999999999999999', expected a whole"),
    (["audit", "--study", "STUDY", "--tier", "ful"], "--tier: unknown value 'ful' (did you mean 'full'?)"),
    (["audit", "--study", "STUDY", "--autocast", "fp8"], "--autocast: unknown value 'fp8'"),
    (["data", "check", "--tasks", ","], "--tasks: got ',', expected at least one set"),
    (["data", "check", "--decod"], "did you mean '--decode'?"),
    (["evaluate", "--weights", ""], "--weights: got '', expected a file of weights, or an open_clip tag"),
    (["evaluate", "--tasks", ","], "--tasks: got ',', expected at least one set"),
    (["evaluate", "--out", ""], "--out: got '', expected a folder"),
    (["evaluate", "--workers", "0"], "--workers: got '0', expected a whole number"),
    (["evaluate", "--gpus-per-worker", "nan"], "--gpus-per-worker: got 'nan'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture
def kept_study(kept_folder: Path, make_study: MakeStudy) -> Path:
    """Return the folder of a study that all mistakes share, because none may change it."""
    if not (kept_folder / "study.json").exists():
        make_study(kept_folder, levels=(0.1, 1.0))
    return kept_folder


@pytest.mark.parametrize(("flags", "message"), MISTAKES)
def test_a_mistake_is_one_line_exit_code_2_and_no_file(
    kept_study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(kept_study.rglob("*"))
    assert main([flag.replace("STUDY", str(kept_study)) for flag in flags]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("zsr")
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(kept_study.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding", ["cp1252", *(pytest.param(e, marks=pytest.mark.slow) for e in ("ascii", "latin-1"))]
)
def test_an_output_that_lacks_a_character_gets_a_question_mark(
    tmp_path: Path, make_study: MakeStudy, encoding: str
) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    line = [sys.executable, "-m", "sweeps.engine", "table", "--study", str(tmp_path), "--format", "md"]
    done = subprocess.run(line, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"?" in done.stdout


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
        "zsr table: --baseline: unknown value 'untuched' (did you mean 'untouched'?); expected one of: untouched, "
        "alpha=0.1 beta=0.1\n"
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


def test_a_pipe_that_its_reader_closes_is_no_error() -> None:
    """`zsr table | head -1` closes the pipe while the rest is written."""
    script = (
        "import sys, types\nfrom sweeps.engine.commands import main, shared\n"
        "many = types.SimpleNamespace(WORDS='many lines', add=lambda command: None,"
        " run=lambda options: shared.say(['line'] * 200_000))\n"
        "main.COMMANDS = {'many': many}\nsys.exit(main.main(['many']))"
    )
    line = [sys.executable, "-c", script]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "line\n"
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 0
