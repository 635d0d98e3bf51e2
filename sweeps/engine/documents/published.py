"""``published.md``: a study's numbers beside the published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sweeps.engine.analysis.published.pairs import Measured, Pair, beside, measured_numbers
from sweeps.engine.documents.forms.markdown import document, heading_text, markdown_table
from sweeps.engine.format import counted, eps_text, sentence
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.wording.study import provenance_text
from zsr_core.data.tasks import task
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN
from zsr_core.files import write_text
from zsr_core.published import SOURCES, Published, published_numbers, same_eps

HEAD = (
    "method",
    "configuration",
    "set",
    "attack",
    "eps",
    "published, %",
    "measured, %",
    "difference",
    "within",
    "printed in",
)
SMALL = (
    "method", "configuration", "clean, published", "clean, miniature", "robust, published", "robust, miniature",
    "printed in",
)  # fmt: skip
NAMED = 12  # most reasons that are listed


def write_beside(folder: StudyFolder) -> Path:
    """Write ``published.md`` atomically and return its path."""
    return write_text(folder.path / "published.md", document(beside_lines(folder)))


def asked_rows(study: Study) -> tuple[Published, ...]:
    """Return the numbers of the tables that the study reproduces, or all where it reproduces none."""
    rows = published_numbers()
    wanted = study.reproduces
    return tuple(row for row in rows if row.table in wanted.get(row.source, ())) if wanted else rows


def beside_lines(folder: StudyFolder) -> list[str]:
    """Return the Markdown: comparable numbers side by side, and the reasons why others are not comparable."""
    rows, measured = asked_rows(folder.study), measured_numbers(folder)
    pairs = beside(measured, rows)
    together = [pair for pair in pairs if pair.measured is not None]
    lines = [
        f"# Published and measured: {heading_text(folder.study.question)}",
        "",
        sentence(provenance_text(folder.study, folder.results.values()).rstrip(".")),
        "",
    ]
    small = miniature_rows(measured, rows)
    if small:
        lines += ["## The built-in miniature and the published means", "", *miniature_lines(measured, small), ""]
    if together:
        lines += ["## Of the same kind", "", *markdown_table(HEAD, [pair_row(pair) for pair in together]), ""]
        lines += [*tally_lines(together), ""]
    return [*lines, "## Not side by side", "", *reason_lines(pairs), "", *source_lines(rows)]


def beside_tables(folder: StudyFolder) -> list[tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]]:
    """Return (head, rows, words) of each table of published and measured numbers, for a page."""
    rows, measured = asked_rows(folder.study), measured_numbers(folder)
    pairs = beside(measured, rows)
    together = [pair for pair in pairs if pair.measured is not None]
    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]] = []
    small = miniature_rows(measured, rows)
    if small:
        tables.append((SMALL, small, miniature_lines(measured, small)[-1:]))
    if together:
        tables.append((HEAD, [pair_row(pair) for pair in together], tally_lines(together)))
    return tables


def pair_row(pair: Pair) -> tuple[str, ...]:
    """Return one pair as text."""
    row, m = pair.published, pair.measured
    assert m is not None
    assert pair.difference is not None
    spread = "" if row.std is None else f" ± {row.std:.2f}"
    interval = "" if m.low is None or m.high is None else f" [{m.low:.1f}, {m.high:.1f}]"
    within = {True: "yes", False: "no", None: "–"}[pair.within]
    eps = "–" if row.metric == "clean" else eps_text(m.eps)
    where = row.dataset if row.task is None else row.task
    notes = "".join(f"; {note}" for note in row.notes)
    return (
        m.method, m.cell, where, "clean" if row.metric == "clean" else m.attack, eps, f"{row.value:.2f}{spread}",
        f"{m.value:.2f}{interval}", f"{pair.difference:+.2f}", within, f"{row.place}{notes}",
    )  # fmt: skip


def tally_lines(together: Sequence[Pair]) -> list[str]:
    """Return how many published numbers are in the measured intervals, and the kind of those intervals."""
    known = [pair for pair in together if pair.within is not None]
    inside = sum(pair.within is True for pair in known)
    seeds = max(pair.measured.seeds for pair in together if pair.measured is not None)
    over = "images" if seeds == 1 else f"images and {counted(seeds, 'seed')}"
    ours = sorted({name for pair in together for name in pair.published.tasks if task(name).cut_by_us})
    part = f"Of {', '.join(ours)}: published over all its images, measured on the 80 % that select nothing."
    return [
        f"{inside} of {counted(len(known), 'published number')} lie within the measured 95 % interval (over {over}). "
        "Difference: measured minus published, in points. ±: as printed, over an unstated number of runs.",
        *(["", part] if ours else []),
    ]


def reason_lines(pairs: Sequence[Pair]) -> list[str]:
    """Return why the other numbers are not comparable, each reason with the count of its numbers."""
    apart = [pair for pair in pairs if pair.measured is None]
    if not apart:
        return ["Every published number of these methods has its measured one."]
    counts = Counter((pair.published.source, "; ".join(pair.reasons)) for pair in apart)
    rows = [(str(n), source, reason) for (source, reason), n in counts.most_common(NAMED)]
    rest = len(counts) - len(rows)
    more = ["", f"And {sum(counts.values()) - sum(n for _, n in counts.most_common(NAMED))} for {rest} more reasons."]
    return [
        f"{counted(len(apart), 'published number')} of these methods: what the nearest measured number differs in.",
        "", *markdown_table(("numbers", "source", "differs in"), rows), *(more if rest else []),
    ]  # fmt: skip


def miniature_rows(measured: Sequence[Measured], rows: Sequence[Published]) -> list[tuple[str, ...]]:
    """Return each row's means on the miniature beside the published ones of its method; empty for another model.

    No difference is computed, because models, images and budgets differ.
    """
    means = [m for m in measured if m.miniature and m.task == ZERO_SHOT_MEAN]
    split = shown_split(means)
    by_row: dict[tuple[str, str], dict[str, Measured]] = {}
    for m in means:
        own_budget = m.metric == "clean" or m.train_eps is None or same_eps(m.eps, m.train_eps)
        if m.split == split and own_budget:
            by_row.setdefault((m.method, m.cell), {}).setdefault(m.metric, m)
    lines: list[tuple[str, ...]] = []
    for (method, cell), own in by_row.items():
        clean, robust = (headline_row(rows, method, metric) for metric in ("clean", "robust"))
        places = [row.place for row in (clean, robust) if row is not None]
        if places:
            lines.append((method, cell, _value(clean), _value(own.get("clean")), _value(robust),
                          _value(own.get("robust")), "; ".join(dict.fromkeys(places))))  # fmt: skip
    return lines


def shown_split(measured: Iterable[Measured]) -> str:
    """Return the reporting split if anything was measured on it, else the selection split."""
    return "report" if any(m.split == "report" for m in measured) else "selection"


def headline_row(rows: Sequence[Published], method: str, metric: str) -> Published | None:
    """Return the first mean that a paper compares methods by, at the budget that the method was trained for."""
    for row in rows:
        main = (row.method, row.metric, row.setting, row.dataset) == (method, metric, "", SOURCES[row.source].mean)
        budget = row.train_eps or SOURCES[row.source].train_eps
        if main and (metric == "clean" or (len(row.eps) == 1 and same_eps(row.eps[0], budget))):
            return row
    return None


def _value(number: Published | Measured | None) -> str:
    return "–" if number is None else f"{number.value:.1f}"


def miniature_lines(measured: Sequence[Measured], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the table of :func:`miniature_rows` and a note on how to read it."""
    m = next(m for m in measured if m.miniature and m.task == ZERO_SHOT_MEAN and m.metric == "robust")
    words = (
        f"The miniature: means over {counted(len(m.tasks), 'zero-shot set')} of its {shown_split(measured)} split, "
        f"robust against {m.attack} at {eps_text(m.eps)}. The two columns are of different models, "
        "images, attacks and budgets: compare the order of the methods in each, never a value with its neighbour."
    )
    return [*markdown_table(SMALL, rows), "", words]


def source_lines(rows: Sequence[Published]) -> list[str]:
    """Return the sources of the numbers, each with its caveat."""
    keys = dict.fromkeys(row.source for row in rows)
    return [
        f"- {key}: {SOURCES[key].title}, {SOURCES[key].where}. {sentence(SOURCES[key].caveat.rstrip('.'))}"
        for key in keys
    ]
