"""``zsr plot``: the figures of a study."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeps.engine.commands.shared import add_best, add_cliff, add_study, read_study_path, say
from sweeps.engine.figures.names import FIGURES
from sweeps.engine.running.flags import Parser, read_name, read_points, read_text
from sweeps.engine.study.limits import BEST
from zsr_core.codec import did_you_mean, flatten, require

if TYPE_CHECKING:
    from sweeps.engine.study.folder import StudyFolder

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
    add_best(command)
    flag("--facet", metavar="WHAT", help="a panel per eps, dataset, attack, method, study, seed, or value of a path")
    flag("--beside", nargs="+", default=[], metavar="DIR", help="further studies, drawn in the same figure")
    flag("--baseline", metavar="LABEL", help="the row that forest compares with; by default the design's own")
    flag("--untouched", action="store_true", help="forest: a line for the untouched model too")
    add_cliff(command)


def run(options: argparse.Namespace) -> int:
    for kind in options.kind:
        read_name("--kind", kind, (*FIGURES, ALL))
    for flag, expected in (("x", "an axis"), ("y", "an axis"), ("z", "a score"), ("facet", "what to split by")):
        read_text(f"--{flag}", getattr(options, flag), expected)
    read_text("--baseline", options.baseline, "the label of a row")
    compares = {"forest", ALL} & set(options.kind)
    require(not options.untouched or bool(compares), "--untouched", True, "--kind forest with it")
    best = None if options.best is None else read_name("--best", options.best, BEST)
    require(best is None or options.z is not None, "--best", options.best, "--z with it, a difference of two scores")
    cliff = read_points("--cliff", options.cliff)
    path = read_study_path(options.study)
    beside = tuple(read_study_path(text, "--beside") for text in options.beside)
    from sweeps.engine.figures.kinds import draw  # noqa: PLC0415 - brings matplotlib
    from sweeps.engine.figures.scene import Request  # noqa: PLC0415
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    folder, others = open_study(path), [open_study(each) for each in beside]
    if options.x or options.y or options.z or options.facet:
        _check_names(options, [folder, *others])

    request = Request(
        kinds=tuple(options.kind), x=options.x, y=options.y, z=options.z, facet=options.facet, beside=tuple(others),
        cliff=cliff, baseline=options.baseline, best=best,
        untouched=options.untouched,
    )  # fmt: skip
    drawn = draw(folder, request)
    notes = [*(f"not drawn: {reason}" for reason in drawn.left_out), *(f"note: {text}" for text in drawn.unread)]
    return say([*drawn.paths, *notes])


def _check_names(options: argparse.Namespace, folders: Sequence[StudyFolder]) -> None:
    """Raise ``ConfigError`` for an axis, score or facet that the studies do not have.

    Drawing would find it too, but not every kind of figure reads each of them, and `all` only lists what failed.
    """
    from sweeps.engine.analysis.panels import CONDITIONS, Source, resolve_axis  # noqa: PLC0415 - brings torch
    from sweeps.engine.analysis.score_query import check_score, parse_score  # noqa: PLC0415

    sources = [Source(folder=folder) for folder in folders]
    for name in (options.x, options.y):
        if name:
            resolve_axis(name, sources)
    if options.z:
        check_score(parse_score(options.z, options.best), folders[0])
    if options.facet:
        overrides = [path for folder in folders for trial in folder.study.plan for path in trial.overrides]
        known = dict.fromkeys([*CONDITIONS, "method", "study", *flatten(folders[0].study.base), *overrides])
        expected = f"{', '.join(CONDITIONS)}, method, study, seed or a path such as method.alpha"
        require(options.facet in known, "--facet", options.facet, f"{expected}{did_you_mean(options.facet, known)}")
