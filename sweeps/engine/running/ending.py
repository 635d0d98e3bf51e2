"""The end of a launch: write Parquet, table and figures, and return the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sweeps.engine.analysis.choice import selection
from sweeps.engine.analysis.matrix import ablation
from sweeps.engine.analysis.ranking import ranked
from sweeps.engine.analysis.rises import RISE_METRICS, rises
from sweeps.engine.documents.forms.terminal import terminal
from sweeps.engine.documents.table import write_table
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.wording.answer import answer
from sweeps.engine.wording.matrix import described
from sweeps.engine.wording.rises import rise_lines

T = TypeVar("T")


def answer_lines(folder: StudyFolder, troubles: list[str]) -> list[str]:
    """Return the answer, and for an ablation its matrix, as lines; errors are added to ``troubles``."""
    curse = _read("winner's curse", lambda: selection(folder), troubles)
    ranking = _read("ranking", lambda: ranked(folder), troubles)
    reported = None
    if len(folder.study.rows(role="final")) > 1:
        reported = _read("report split", lambda: ranked(folder, "report"), troubles)
    lines = [*answer(folder, curse, ranking.rivals if ranking else None, reported), ""]
    if RISE_METRICS & set(folder.study.objectives):
        lines += [*(_read("uncertainty", lambda: rise_lines(rises(folder)), troubles) or ()), ""]
    matrix = _read("matrix", lambda: ablation(folder), troubles)
    if matrix is not None:
        lines += [*terminal(described(folder, matrix), color=sys.stdout.isatty()).splitlines(), ""]
    return lines


def derive(folder: StudyFolder, troubles: list[str]) -> list[Path]:
    """Write Parquet, table and figures; errors are added to ``troubles``, because each can be written again later."""

    def export() -> list[Path]:
        from sweeps.engine.documents.parquet import export_study  # noqa: PLC0415 - brings pandas

        return [export_study(folder)]

    def table() -> list[Path]:
        return [write_table(folder)]

    def plot() -> list[Path]:
        from sweeps.engine.figures.kinds import plot_study  # noqa: PLC0415 - brings matplotlib

        return plot_study(folder)

    def published() -> list[Path]:
        from sweeps.engine.documents.published import write_beside  # noqa: PLC0415 - only for reproductions

        return [write_beside(folder)]

    written: list[Path] = []
    makers = [("figures", plot), ("table", table), ("Parquet", export)]
    makers += [("published numbers", published)] if folder.study.reproduces else []
    for name, make in makers:
        try:
            written += make()
        except Exception as error:
            troubles.append(f"{name}: could not be made ({type(error).__name__}: {error}); the results are complete")
    return written


def _read(name: str, read: Callable[[], T], troubles: list[str]) -> T | None:
    """Return ``read()``, or None if it fails; the error is added to ``troubles`` and does not end the launch."""
    try:
        return read()
    except Exception as error:
        troubles.append(f"{name}: could not be made ({type(error).__name__}: {error}); the results are complete")
    return None
