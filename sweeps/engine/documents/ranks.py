"""``ranks.md``: whether the methods of a study stand in the order of the published tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from sweeps.engine.analysis.published.ranks import LEAST, Order, orders
from sweeps.engine.documents.forms.markdown import markdown_table
from sweeps.engine.format import counted, eps_text, sentence
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import TITLES
from sweeps.engine.wording.study import provenance_text
from zsr_core.files import write_text
from zsr_core.published import published_numbers

HEAD = ("printed in", "model", "score", "attack", "methods", "tau", "95 % interval", "p")


def write_ranks(folder: StudyFolder) -> Path:
    """Write ``ranks.md`` atomically and return its path."""
    return write_text(folder.path / "ranks.md", "\n".join(rank_lines(folder)) + "\n")


def rank_lines(folder: StudyFolder) -> list[str]:
    """Return the Markdown: Kendall's tau for each published column of means, then what it can and cannot say."""
    found = orders(folder, published_numbers())
    provenance = sentence(provenance_text(folder.study, folder.results.values()).rstrip("."))
    lines = [f"# The order of methods, published and measured: {folder.study.question}", "", provenance, ""]
    if not found:
        return [*lines, f"No published column of means prints {LEAST} or more of this study's methods."]
    return [*lines, *markdown_table(HEAD, [_row(order) for order in found]), "", *summary_lines(found)]


def _row(order: Order) -> tuple[str, ...]:
    attack = "none" if order.eps is None else f"{order.attack}, {eps_text(order.eps)}"
    interval = "–" if order.low is None or order.high is None else f"[{order.low:.2f}, {order.high:.2f}]"
    tau = "undefined: one side has only ties" if order.tau is None else f"{order.tau:.2f}"
    p = "–" if order.p is None else f"{order.p:.2g}"
    return (
        order.place, order.model, TITLES.get(order.score, order.score), attack, str(len(order.published)), tau,
        interval, p,
    )  # fmt: skip


def summary_lines(found: Sequence[Order]) -> list[str]:
    """Return what the table says in a few sentences."""
    known = [order for order in found if order.tau is not None]
    lines = []
    for score in dict.fromkeys(order.score for order in known):
        taus = [order.tau for order in known if order.score == score and order.tau is not None]
        surely = [order for order in known if order.score == score and order.low is not None and order.low > 0]
        lines.append(
            f"- {TITLES.get(score, score)}: the median tau over {counted(len(taus), 'column')} is {median(taus):.2f}, "
            f"from {min(taus):.2f} to {max(taus):.2f}; in {len(surely)} of them the interval lies above 0."
        )
    return [
        *lines,
        "- Tau is 1 for the same order, 0 for no relation and -1 for the reverse order. The interval is about the "
        "choice of methods (Bonett and Wright 2000); it leaves out the noise of single scores. Columns share methods "
        "and often checkpoints, so they are not independent.",
        "- The untouched model is left out, because it is first in clean and last in robust accuracy everywhere. A "
        "harmonic mean of a published table is that of its two printed means; the measured one is the mean over sets.",
    ]
