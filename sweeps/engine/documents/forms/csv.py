"""A matrix as comma-separated values: a line per number with all its statistics."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

from sweeps.engine.analysis.difference import Cell, Column
from sweeps.engine.analysis.matrix import Matrix, Row
from sweeps.engine.study.objectives import score_named
from sweeps.engine.wording.matrix import note_text
from zsr_core.codec import parse_number

# ---- CSV

FORMULA = re.compile(r"\s*[=+\-@]|[\t\r]")  # how a formula begins

FIELDS: tuple[tuple[str, Callable[[Matrix, Row, Column, Cell], object]], ...] = (
    ("study", lambda m, r, c, x: m.study),
    ("split", lambda m, r, c, x: m.split),
    ("configuration", lambda m, r, c, x: r.label),
    ("baseline", lambda m, r, c, x: m.baseline),
    ("metric", lambda m, r, c, x: c.metric),
    ("eps", lambda m, r, c, x: score_named(c.metric).budget(c.eps)),
    ("over", lambda m, r, c, x: c.over),
    ("sets", lambda m, r, c, x: " ".join(c.sets)),
    ("value", lambda m, r, c, x: x.value),
    ("seeds", lambda m, r, c, x: len(r.seeds)),
    ("seeds_planned", lambda m, r, c, x: r.planned),
    ("seed_sd", lambda m, r, c, x: x.sd),
    ("seed_low", lambda m, r, c, x: x.t_low),
    ("seed_high", lambda m, r, c, x: x.t_high),
    ("image_low", lambda m, r, c, x: x.low),
    ("image_high", lambda m, r, c, x: x.high),
    ("gap", lambda m, r, c, x: x.gap and x.gap.value),
    ("gap_seeds", lambda m, r, c, x: x.gap and x.gap.seeds),
    ("gap_low", lambda m, r, c, x: x.gap and x.gap.low),
    ("gap_high", lambda m, r, c, x: x.gap and x.gap.high),
    ("gap_seed_low", lambda m, r, c, x: x.gap and x.gap.t_low),
    ("gap_seed_high", lambda m, r, c, x: x.gap and x.gap.t_high),
    ("better", lambda m, r, c, x: x.gap and x.gap.better),
    ("worse", lambda m, r, c, x: x.gap and x.gap.worse),
    ("test", lambda m, r, c, x: x.gap and x.gap.test),
    ("p", lambda m, r, c, x: x.gap and x.gap.p),
    ("p_holm", lambda m, r, c, x: x.gap and x.gap.p_holm),
    ("best", lambda m, r, c, x: int(x.best)),
    ("doubted", lambda m, r, c, x: int(x.doubted)),
    ("audit_fails", lambda m, r, c, x: " ".join(r.fails)),
    ("audit_warns", lambda m, r, c, x: " ".join(r.warns)),
    ("notes", lambda m, r, c, x: note_text(r)),
)


def comma_separated(matrices: Sequence[Matrix]) -> str:
    """Return one line per number with all its statistics, in full precision; a missing value is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in FIELDS])
    for matrix in matrices:
        for row in matrix.rows:
            for column, cell in zip(matrix.columns, row.cells, strict=True):
                writer.writerow([plain_cell(get(matrix, row, column, cell)) for _, get in FIELDS])
    return out.getvalue()


def plain_cell(value: object) -> object:
    """Return a cell that a spreadsheet takes for text or a number: a text that it would run as a formula gets a ``'``.

    A study from elsewhere may have such labels, for instance ``=HYPERLINK(...)``.
    """
    if isinstance(value, str) and FORMULA.match(value) and parse_number(value) is None:
        return f"'{value}"
    return value
