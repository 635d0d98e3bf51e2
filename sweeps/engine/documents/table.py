"""``table.md``: every configuration with its scores, their intervals, and the failures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeps.engine.analysis.choice import selection
from sweeps.engine.analysis.factorial import Effects, factorial
from sweeps.engine.analysis.matrix import Row, ablation
from sweeps.engine.analysis.ranking import Ranking, ranked
from sweeps.engine.analysis.searching.edges import best_on_edge
from sweeps.engine.documents.forms.markdown import document, heading_text, markdown_block, markdown_table, md
from sweeps.engine.format import counted, leaf, published_text, sentence, setting_text
from sweeps.engine.study.folder import SPLIT, StudyFolder
from sweeps.engine.study.objectives import deciding_score
from sweeps.engine.wording.answer import reported_text, rivals_text, selection_text
from sweeps.engine.wording.chance import chance_text, warning_text
from sweeps.engine.wording.edges import edges_text
from sweeps.engine.wording.factorial import effect_cells, effects_text
from sweeps.engine.wording.keeping import keep_text
from sweeps.engine.wording.matrix import (
    DAGGER,
    DASH,
    Described,
    described,
    gap_text,
    star,
    trouble_notes,
    untuned_legend,
    value_text,
)
from sweeps.engine.wording.study import (
    fewer_seeds_text,
    images_text,
    notes_text,
    provenance_text,
    scale_note,
    scoring_text,
    training_text,
)
from zsr_core.files import write_text


def write_table(folder: StudyFolder) -> Path:
    """Write ``table.md`` atomically and return its path."""
    return write_text(folder.path / "table.md", document(table_lines(folder)))


def table_lines(folder: StudyFolder) -> list[str]:
    """Return the table's Markdown: the question, the setting, the cells, an ablation's matrix and effects, the report
    split."""
    ranking = ranked(folder)
    curse = selection(folder)
    lines = [f"# {heading_text(folder.study.question)}", "", *setting_lines(folder), "", *ranking_lines(ranking)]
    if ranking.left_out:
        lines += ["", f"{ranking.left_out} further configurations are in study.parquet."]
    lines += ["", *legend_lines(folder, ranking)]
    if ranking.rivals:
        lines += ["", rivals_text(deciding_score(folder.study.objectives), ranking.rivals)]
    keep, warning = keep_text(folder), warning_text(folder)
    lines += ["", keep] if keep else []
    lines += ["", f"**{warning}**"] if warning else []
    edges = edges_text(best_on_edge(folder), ranking.rivals)
    lines += ["", edges] if edges else []
    lines += ["", selection_text(curse)] if curse else []
    matrix, effects = ablation(folder), factorial(folder)
    lines += ablation_lines(described(folder, matrix)) if matrix is not None else []
    lines += effect_lines(effects) if effects is not None else []
    return [*lines, *report_lines(folder)]


def ranking_lines(ranking: Ranking) -> list[str]:
    """Return the ranking as a Markdown table: each row's configuration, scores, differences and notes."""
    axes = axes_of(ranking.rows)
    names = axes_names(axes)
    head = (*names, *score_heads(ranking), "notes")
    return markdown_table(head, [_bold(row, row_cells(row, axes, ranking), len(names)) for row in ranking.rows])


def score_heads(ranking: Ranking) -> tuple[str, ...]:
    """Return the heads of the score columns, then of the differences."""
    titles = [column.title for column in ranking.columns]
    return (*(f"{title}, %" for title in titles), *(f"Δ {title}" for title in titles))


def _bold(row: Row, cells: Sequence[str], axes: int) -> tuple[str, ...]:
    *numbers, notes = [*map(md, cells[:axes]), *cells[axes:-1], md(cells[-1])]
    return (*(f"**{text}**" if text and row.chosen else text for text in numbers), notes)


def axes_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the paths that every tuned row sets, as columns; empty if rows set different paths."""
    paths = [tuple(path for path in row.overrides if path != SPLIT) for row in rows if row.role != "baseline"]
    return paths[0] if paths and all(set(p) == set(paths[0]) for p in paths) else ()


def axes_names(axes: Sequence[str]) -> tuple[str, ...]:
    """Return the heads of the first columns: the axes' last names, or full paths if two share a name."""
    names = [leaf(path) for path in axes]
    return (tuple(names) if len(set(names)) == len(names) else tuple(axes)) or ("configuration",)


def row_cells(row: Row, axes: Sequence[str], ranking: Ranking) -> tuple[str, ...]:
    """Return a row's cells as plain text."""
    at = [setting_text(path, row.overrides[path]) for path in axes if path in row.overrides]
    if len(at) < len(axes) or not axes:
        at = [row.label, *[""] * (len(axes) - 1)]
    gaps = [f"{gap_text(cell.gap)}{star(cell.gap)}" if cell.gap else DASH for cell in row.cells]
    return (*at, *(value_text(cell) for cell in row.cells), *gaps, note_text(row, ranking))


def note_text(row: Row, ranking: Ranking) -> str:
    """Return a row's notes: whether it is chosen or a rival, failed and missing seeds, failed audit rules."""
    notes = ["chosen"] if row.chosen else ["≈ chosen"] if row.label in ranking.rivals else []
    return "; ".join([*notes, *trouble_notes(row, of=" in")])


def ablation_lines(shown: Described) -> list[str]:
    """Return the matrix of an ablation: its rows beside the design's reference row, with tests."""
    lines = ["", "## Ablation matrix", ""]
    for block in shown.matrix.blocks:
        lines += markdown_block(shown.matrix, block)
    return [*lines, "", *(f"- {md(line)}" for line in shown.legend)]


def effect_lines(effects: Effects) -> list[str]:
    """Return the main effects and interactions of a full factorial ablation."""
    head = ("effect", *(f"Δ {column.title}" for column in effects.columns))
    rows = [effect_cells(effect) for effect in effects.effects]
    return ["", "## Main effects and interactions", "", *markdown_table(head, rows), "", effects_text(effects)]


def report_lines(folder: StudyFolder) -> list[str]:
    """Return the scores on the report split: the chosen configuration and the untouched model."""
    if not folder.study.rows(role="final"):
        return []
    study, reported = folder.study, ranked(folder, "report")
    others = len(study.rows(role="final")) - 1
    which = "Every row" if study.reproduces or study.report_all else "The chosen configuration"
    which += f" and {counted(others, 'other row')}" if others and not (study.reproduces or study.report_all) else ""
    words = f"{which} on the report split: images that played no part in choosing."
    beside = reported_text(folder, reported)
    return ["", "## Report split", "", words, "", *ranking_lines(reported), *(["", beside] if beside else [])]


def setting_lines(folder: StudyFolder) -> list[str]:
    """Return the training, the scoring, the provenance, and the number of trials by status."""
    study = folder.study
    status = [folder.status(trial) for trial in study.plan]
    kinds = [kind for kind in ("done", "failed", "pruned", "missing") if kind in status]
    counts = ", ".join(f"{sum(each == kind for each in status)} {kind}" for kind in kinds)
    note = f" **{sentence(scale_note(study))}**" if scale_note(study) else ""
    sets = " ".join(filter(None, (images_text(folder), notes_text(folder))))
    return [
        f"{training_text(study)}. {scoring_text(folder)}.{note}",
        "",
        *([md(sets), ""] if sets else []),
        f"{counted(len(study.plan), 'trial')}: {counts}. {provenance_text(study, folder.results.values())}",
    ]


def legend_lines(folder: StudyFolder, ranking: Ranking) -> list[str]:
    """Return the legend of the ranking."""
    cells = [cell for row in ranking.rows for cell in row.cells]
    many = any(cell.sd is not None for cell in cells)
    recorded = any(cell.low is not None for cell in cells)
    spread = ", mean ± sample standard deviation over seeds" if many else ""
    if recorded and not many:
        spread = ", with the 95 % interval over images"
    text = f"Scores in percent{spread}. Δ: points above the untouched model"
    if recorded:
        decides = deciding_score(folder.study.objectives).title
        text += (
            f", with the 95 % interval of a bootstrap over {'seeds, then images' if many else 'images'}, paired. "
            f"≈: the {decides} does not differ significantly from the chosen one's, because the paired "
            "interval contains 0"
        )
    lines = [" ".join(filter(None, (f"{text}.", chance_text(folder))))]
    fewer = fewer_seeds_text(folder)
    lines += ["", md(fewer)] if fewer else []
    if any(star(cell.gap) for cell in cells):
        lines += ["", "* p < 0.05 after Holm's correction over this table, and the seeds support the sign."]
    for line in untuned_legend(ranking.rows):
        lines += ["", line]
    if any(row.fails for row in ranking.rows):
        lines += ["", f"{DAGGER} robustness unverified: a rule of the audit fails."]
    if folder.study.published:
        lines += ["", f"Published optimum: {published_text(folder.study.published)}."]
    return lines
