"""``zsr``: read studies again from their trial folders, attack any model, look after the data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sweeps.engine.documents.forms.written import FORMS, written
from sweeps.engine.documents.table import write_table
from sweeps.engine.study.folder import read_results, read_study
from sweeps.engine.study.objectives import OBJECTIVES
from sweeps.engine.wording.matrix import read_described
from zsr_core import __version__
from zsr_core.cli.options import EVALUATION, add_evaluate_options
from zsr_core.codec import ConfigError, require

DESCRIPTION = "Read studies again from their trial folders alone, attack any model, look after the data."

# Each command brings its own heavy library (pyarrow, matplotlib, mlflow): none is imported for another's sake.


def _export(folder: Path, options: argparse.Namespace) -> list[str]:
    from sweeps.engine.documents.parquet import export_study  # noqa: PLC0415

    made = [export_study(folder)]
    if options.samples:
        from sweeps.engine.documents.samples import export_samples  # noqa: PLC0415

        made.append(export_samples(folder))
    return [str(path) for path in made]


def _table(folder: Path, options: argparse.Namespace) -> list[str]:
    form = options.format or ("terminal" if options.published else None)
    readable = form in ("terminal", "md")
    require(readable or not options.published, "--published", form, "--format terminal or md with it")
    if form is None:
        return [str(write_table(folder))]

    told = read_described(
        folder, baseline=options.baseline, metrics=options.metric, per_set=options.per_set, all_budgets=options.all_eps
    )
    said = [written(told, form, color=sys.stdout.isatty()).rstrip("\n")]
    if not options.published:
        return said
    from sweeps.engine.documents.published import beside_lines  # noqa: PLC0415

    study = read_study(folder)
    return [*said, "", *beside_lines(study, read_results(folder, study))]


def _table_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format", choices=FORMS, help="print the matrix with its tests in this form instead of writing table.md"
    )
    command.add_argument("--baseline", metavar="LABEL", help="the row to compare with; by default the design's own")
    command.add_argument("--metric", nargs="+", choices=OBJECTIVES, default=OBJECTIVES, help="which scores")
    command.add_argument("--published", action="store_true", help="below it the papers' numbers beside the study's")
    command.add_argument("--per-set", action="store_true", help="each set by itself too, with McNemar's exact test")
    command.add_argument("--all-eps", action="store_true", help="robust accuracy at every budget of the suite")


def _plot(folder: Path, options: argparse.Namespace) -> list[str]:
    from sweeps.engine.figures.kinds import Request, draw  # noqa: PLC0415

    asked = {"kinds": tuple(options.kind)} if options.kind else {}
    drawn = draw(
        folder,
        Request(x=options.x, y=options.y, z=options.z, facet=options.facet, beside=tuple(options.beside),
                cliff=options.cliff, baseline=options.baseline, **asked),
    )  # fmt: skip
    return [*map(str, drawn.paths), *(f"not drawn: {reason}" for reason in drawn.left_out)]


def _sensitivity(folder: Path, options: argparse.Namespace) -> list[str]:
    from sweeps.engine.analysis.score_query import parse_score  # noqa: PLC0415
    from sweeps.engine.documents.sensitivity import write_sensitivity  # noqa: PLC0415

    path = write_sensitivity(folder, [parse_score(text) for text in options.z], options.cliff)
    return [path.read_text(encoding="utf-8"), str(path)]


def _refine(folder: Path, options: argparse.Namespace) -> list[str]:
    from sweeps.engine.analysis.cliffs import refine_study, refined  # noqa: PLC0415
    from sweeps.engine.analysis.score_query import OBJECTIVE_SCORES, parse_score  # noqa: PLC0415
    from sweeps.engine.wording.cliffs import proposal_lines  # noqa: PLC0415

    wanted = [parse_score(text) for text in options.z] or list(OBJECTIVE_SCORES)
    study, found = refine_study(folder, wanted, options.cliff)
    lines = proposal_lines(study, found, wanted, options.cliff)
    if not (options.go and found):
        return [*lines, "To run them: the same command with --run."] if found else lines
    from sweeps.engine.running.launch import go_on  # noqa: PLC0415

    print("\n".join(lines), flush=True)
    code = go_on(
        folder, lambda now: refined(now, refine_study(folder, wanted, options.cliff)[1]), local=options.local,
        tracking=options.tracking,
    )  # fmt: skip
    raise SystemExit(code)


def _record(folder: Path, options: argparse.Namespace) -> list[str]:
    from sweeps.engine.tracking.address import check_tracking, resolve_tracking  # noqa: PLC0415
    from sweeps.engine.tracking.recorder import record_study  # noqa: PLC0415

    uri = resolve_tracking(options.tracking, folder.parent)
    if uri is None:
        raise ConfigError("tracking: got 'none', expected a URI: there is nowhere to record to")
    check_tracking(uri)
    return [str(record_study(folder, uri, weights=options.weights))]


def _published(folder: Path, options: argparse.Namespace) -> list[str]:
    from sweeps.engine.documents.published import write_beside  # noqa: PLC0415

    path = write_beside(folder)
    return [path.read_text(encoding="utf-8"), str(path)]


def _report(options: argparse.Namespace) -> list[str]:
    from sweeps.engine.documents.report.gather import write_report  # noqa: PLC0415

    return [str(write_report(options.folders, options.out))]


def _add_report(commands: Any) -> None:
    words = (
        "write one page on a study, or on several side by side: answer, table, figures, audit, cost, what is missing"
    )
    command = commands.add_parser("report", help=words, description=f"{words[0].upper()}{words[1:]}.")
    command.add_argument(
        "--study", type=Path, required=True, nargs="+", metavar="DIR", dest="folders",
        help="the study's folder; with several the first is compared with each of the others",
    )  # fmt: skip
    command.add_argument("--out", type=Path, metavar="FILE", help="by default report.html in the first study's folder")


def _audit(folder: Path, options: argparse.Namespace) -> list[str]:
    if options.published:
        from sweeps.engine.documents.papers_audit import terminal_lines, write_audit  # noqa: PLC0415

        return [*terminal_lines(), "", *map(str, write_audit(options.out))]
    from sweeps.engine.running.audit import Request, audit_study  # noqa: PLC0415

    rules = {"rules": tuple(options.rules)} if options.rules else {}
    asked = Request(
        trial=options.trial, tier=options.tier, images=options.images, autocast=options.autocast, plan=options.plan,
        **rules,
    )  # fmt: skip
    return audit_study(folder, asked)


Command = Callable[[Path, argparse.Namespace], list[str]]
COMMANDS: tuple[tuple[str, Command, str], ...] = (
    ("export", _export, "write study.parquet: one measurement a row, the whole configuration beside it"),
    ("table", _table, "write table.md, or print the matrix for a paper, a page or a spreadsheet"),
    ("plot", _plot, "draw figures/: by default the scores over the weights, and clean against robust accuracy"),
    ("sensitivity", _sensitivity, "write sensitivity.md: how much each score falls when a weight is a little off"),
    ("refine", _refine, "propose, or run, the trials between neighbours whose scores are too far apart"),
    ("published", _published, "write published.md: the papers' numbers beside the study's, where they are of one kind"),
    ("record", _record, "bring the study's runs in MLflow up to date"),
)


# plot.py has what draws them; it is not imported to print a help text.
FIGURES = "heatmap contour gp published clean_vs_robust forest pareto slices parallel learning eps importance"
CLIFF = 5.0


def _plot_flags(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--kind", nargs="+", metavar="KIND",
        help=f"which figures: {FIGURES}, or all (default: heatmap clean_vs_robust)")  # fmt: skip
    add("--x", metavar="PATH", help="an axis of a surface: alpha, or method.alpha (default: the study's surfaces)")
    add("--y", metavar="PATH", help="the other axis")
    add("--z", metavar="SCORE", help="robust, robust@2/255, robust.pgd10@2/255:animals, 'clean - robust'")
    add("--facet", metavar="WHAT", help="a panel per eps, dataset, attack, method, study, seed, or value of a path")
    add("--beside", nargs="+", type=Path, default=[], metavar="DIR", help="further studies, drawn in the same figure")
    add("--baseline", metavar="LABEL", help="the row that forest compares with; by default the design's own")


def _data_check(options: argparse.Namespace) -> int:
    from zsr_core.data.check import check_sets, report  # noqa: PLC0415

    asked = [name for words in options.tasks for name in words.split(",") if name]
    root = options.root.expanduser()
    found = check_sets(root, asked, decode=options.decode, write_splits=options.write_splits)
    print("\n".join(report(found)))
    return int(bool(asked) and any(finding.state != "found" for finding in found))


def _add_data(commands: Any) -> None:
    words = "look after the public image sets"
    verbs = commands.add_parser("data", help=words, description=f"{words.capitalize()}.").add_subparsers(
        dest="verb", required=True, metavar="VERB"
    )
    words = "say which sets are there, whole and as published; exit code 1 if one of --tasks is not"
    check = verbs.add_parser("check", help=words, description=f"{words.capitalize()}.")
    check.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("ZSR_DATA", "data")),
        metavar="DIR",
        help="the folder that holds the sets; by default $ZSR_DATA, else data",
    )
    check.add_argument(
        "--tasks", nargs="+", default=[], metavar="NAME", help="sets to look for, by blanks or commas; by default all"
    )
    check.add_argument("--decode", action="store_true", help="decode every image too, which takes long")
    check.add_argument("--write-splits", action="store_true", help="store which images are held out for selection")
    check.set_defaults(data=_data_check)


def _evaluate(options: argparse.Namespace) -> int:
    from zsr_core.cli.evaluate import evaluate_model  # noqa: PLC0415

    if options.workers == 1 or options.plan:
        return evaluate_model(options)
    from sweeps.engine.running.shards import spread_over  # noqa: PLC0415

    return evaluate_model(options, spread_over(options.workers, options.gpus_per_worker, print))


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``zsr``: a subcommand per row of :data:`COMMANDS`, which work on studies, and ``data``."""
    top = argparse.ArgumentParser(prog="zsr", description=DESCRIPTION)
    top.add_argument("--version", action="version", version=f"zsr {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run, words in COMMANDS:
        command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        command.add_argument(
            "--study", type=Path, required=True, metavar="DIR", dest="folder", help="the study's folder"
        )
        command.set_defaults(run=run)
        if name == "export":
            words = "write samples/ too: every image's record, cut by task and condition"
            command.add_argument("--samples", action="store_true", help=words)
        if name == "table":
            _table_flags(command)
        if name == "plot":
            _plot_flags(command)
        if name in ("sensitivity", "refine"):
            score = "a score such as robust or robust@2/255; may be given again (default: clean, robust, harmonic)"
            command.add_argument("--z", action="append", default=[], metavar="SCORE", help=score)
        if name in ("plot", "sensitivity", "refine"):
            cliff = "points between neighbours, above which what lies between is unresolved (default 5)"
            command.add_argument("--cliff", type=float, default=CLIFF, metavar="POINTS", help=cliff)
        if name == "refine":
            command.add_argument("--run", action="store_true", dest="go", help="run them, then choose and score anew")
            command.add_argument("--local", action="store_true", help="with --run: in this process, without Ray")
        if name == "record":
            words = "the tuned weights of the study's choice too, as files of their runs and in the model registry"
            command.add_argument("--weights", action="store_true", help=words)
        if name in ("record", "refine"):
            command.add_argument(
                "--tracking",
                metavar="URI",
                help="where to record; by default MLFLOW_TRACKING_URI, else mlflow.db beside the study's folder",
            )
    _add_audit(commands)
    _add_report(commands)
    _add_data(commands)
    evaluation = commands.add_parser(
        "evaluate", help="attack any model, also one that others trained", description=EVALUATION
    )
    add_evaluate_options(evaluation)
    evaluation.add_argument("--workers", type=int, default=1, metavar="K", help="spread the images over so many")
    evaluation.add_argument(
        "--gpus-per-worker", type=float, metavar="G", help="by default one each where there are any"
    )
    return top


def _add_audit(commands: Any) -> None:
    words = "say which robustness numbers may be believed: of a study's trials, or of the papers' tables"
    command = commands.add_parser("audit", help=words, description=f"{words[0].upper()}{words[1:]}.")
    of = command.add_mutually_exclusive_group(required=True)
    of.add_argument("--study", type=Path, metavar="DIR", dest="folder", help="the study's folder")
    of.add_argument(
        "--published", action="store_true", help="the papers' own tables, by the rules that numbers alone decide"
    )
    command.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR",
        help="where --published writes audit_published.md and .html (default ./results)",
    )  # fmt: skip
    command.add_argument("--trial", default="", help="an id, its beginning or a label; default: the study's end")
    command.add_argument("--tier", choices=("cheap", "full"), default="cheap", help="full varies all of the attack")
    command.add_argument("--rules", nargs="+", metavar="G17", help="only these; what no other needs is not probed")
    command.add_argument("--images", type=int, metavar="N", help="at most so many (default: cheap 64, full 512)")
    command.add_argument(
        "--autocast", choices=("none", "bfloat16", "float16"), default="none",
        help="judge the numbers of attacks made in this precision (G05); here they run in fp32",
    )  # fmt: skip
    command.add_argument("--plan", action="store_true", help="print the probes and their cost, and start nothing")
    command.set_defaults(run=_audit)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and print what it made. Returns 0, or 2 for input that cannot be used, said in one line.

    ``data check`` returns 1 if a set that it was asked for is not there as published.
    An evaluation that failed on its way is 1.
    """
    options = parser().parse_args(argv)
    try:
        if options.command == "evaluate":
            return _evaluate(options)
        if options.command == "data":
            return int(options.data(options))
        lines = _report(options) if options.command == "report" else options.run(options.folder, options)
    except (ConfigError, OSError) as error:
        print(f"zsr {options.command}: {error}", file=sys.stderr)
        return 2
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # `zsr table | head`: who reads has had enough, and nothing is left to be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
