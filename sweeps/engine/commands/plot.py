"""``zsr plot``: the figures of a study."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.engine.commands.shared import add_cliff, add_study, read_study_folder, say
from sweeps.engine.figures.names import FIGURES
from sweeps.engine.running.flags import Parser, read_name, read_points, read_text
from zsr_core.codec import did_you_mean, flatten, require

WORDS = "draw figures/: by default the scores over the weights, and clean against robust accuracy"
ALL = "all"


def add(command: Parser) -> None:
    add_study(command)
    flag = command.add_argument
    flag("--kind", nargs="+", default=[], metavar="KIND",
         help=f"which figures: {' '.join(FIGURES)}, or {ALL} (default: heatmap clean_vs_robust)")  # fmt: skip
    flag("--x", metavar="PATH", help="an axis of a surface: alpha, or method.alpha (default: the study's surfaces)")
    flag("--y", metavar="PATH", help="the other axis")
    flag("--z", metavar="SCORE", help="robust, robust@2/255, robust.pgd10@2/255:animals, 'clean - robust'")
    flag("--facet", metavar="WHAT", help="a panel per eps, dataset, attack, method, study, seed, or value of a path")
    flag("--beside", nargs="+", default=[], metavar="DIR", help="further studies, drawn in the same figure")
    flag("--baseline", metavar="LABEL", help="the row that forest compares with; by default the design's own")
    add_cliff(command)


def run(options: argparse.Namespace) -> int:
    for kind in options.kind:
        read_name("--kind", kind, (*FIGURES, ALL))
    for flag, expected in (("x", "an axis"), ("y", "an axis"), ("z", "a score"), ("facet", "what to split by")):
        read_text(f"--{flag}", getattr(options, flag), expected)
    compares = {"forest", ALL} & set(options.kind)
    require(options.baseline is None or bool(compares), "--baseline", options.baseline, "--kind forest with it")
    cliff = read_points("--cliff", options.cliff)
    folder = read_study_folder(options.study)
    beside = tuple(read_study_folder(text, "--beside") for text in options.beside)
    if options.x or options.y or options.z or options.facet:
        _check_names(options, (folder, *beside))
    from sweeps.engine.figures.kinds import Request, draw  # noqa: PLC0415 - brings matplotlib

    request = Request(
        kinds=tuple(options.kind), x=options.x, y=options.y, z=options.z, facet=options.facet, beside=beside,
        cliff=cliff, baseline=options.baseline,
    )  # fmt: skip
    drawn = draw(folder, request)
    return say([*drawn.paths, *(f"not drawn: {reason}" for reason in drawn.left_out)])


def _check_names(options: argparse.Namespace, folders: tuple[Path, ...]) -> None:
    """Raise ``ConfigError`` for an axis, score or facet that the studies do not have.

    Drawing would find it too, but not every kind of figure reads each of them, and `all` only lists what failed.
    """
    from sweeps.engine.analysis.panels import CONDITIONS, Source, resolve_axis  # noqa: PLC0415 - brings torch
    from sweeps.engine.analysis.score_query import check_score, parse_score  # noqa: PLC0415
    from sweeps.engine.study.folder import read_results, read_study  # noqa: PLC0415

    studies = [read_study(folder) for folder in folders]
    sources = [Source(study=s, results=read_results(f, s)) for f, s in zip(folders, studies, strict=True)]
    for name in (options.x, options.y):
        if name:
            resolve_axis(name, sources)
    if options.z:
        check_score(parse_score(options.z), [result for source in sources for result in source.results.values()])
    if options.facet:
        overrides = [path for study in studies for trial in study.plan for path in trial.overrides]
        known = dict.fromkeys([*CONDITIONS, "method", "study", *flatten(studies[0].base), *overrides])
        expected = f"{', '.join(CONDITIONS)}, method, study, seed or a path such as method.alpha"
        require(options.facet in known, "--facet", options.facet, f"{expected}{did_you_mean(options.facet, known)}")
