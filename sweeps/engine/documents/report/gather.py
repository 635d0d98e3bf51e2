"""``zsr report``: gathers the content of a page on one or several studies into one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sweeps.engine.analysis.choice import chosen, selection
from sweeps.engine.analysis.comparison import Side, compare
from sweeps.engine.analysis.difference import Cell, Column, Difference
from sweeps.engine.analysis.factorial import factorial
from sweeps.engine.analysis.matrix import Matrix, MatrixRequest, Row, ablation, first_mean, matrix
from sweeps.engine.analysis.ranking import Ranking, ranked
from sweeps.engine.analysis.scores import CellScore, eligible, pareto, scores
from sweeps.engine.analysis.searching.edges import best_on_edge
from sweeps.engine.documents.html import Grid, Picture, Tile
from sweeps.engine.documents.published import beside_tables
from sweeps.engine.documents.report.facts import again, audits, cost, not_run, provenance, settings
from sweeps.engine.documents.report.figures import drawn
from sweeps.engine.documents.report.model import Answer, Draw, Report, StudyReport
from sweeps.engine.documents.report.page import page
from sweeps.engine.documents.table import axes_names, axes_of, legend_lines, row_cells, score_heads
from sweeps.engine.format import NBSP, counted, listed, published_text, sentence
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import TITLES, deciding_score, score_named
from sweeps.engine.wording.answer import reported_text, selection_text, where
from sweeps.engine.wording.chance import warning_text
from sweeps.engine.wording.edges import edges_text
from sweeps.engine.wording.factorial import effect_cells, effects_text
from sweeps.engine.wording.keeping import keep_text
from sweeps.engine.wording.matrix import DAGGER, Described, described, gap_text, p_text, spread_text, value_text
from sweeps.engine.wording.study import images_text, notes_text, scale_note, scoring_text, training_text
from zsr_core.codec import require
from zsr_core.files import write_text

LISTED = 30  # most configurations of a grid or a search that a page shows
PERCENT = f"{NBSP}%"
INTERVAL = f"95{NBSP}% interval"
ROOM = 1_600_000  # characters that the figures of a page may take


def write_report(folders: Sequence[StudyFolder], out: Path | None = None) -> Path:
    """Write the page, by default ``report.html`` in the first study's folder, by rename, and return its path.

    Raises:
        ConfigError: if a study is given twice.
    """
    text = page(gather(folders, drawn))
    return write_text(out or folders[0].path / "report.html", text)


def gather(folders: Sequence[StudyFolder], draw: Draw) -> Report:
    """Return the content of the page. ``draw``: (study, room in characters) -> figures, and why others are missing.

    Raises:
        ConfigError: if a study is given twice.
    """
    real = [folder.path.resolve() for folder in folders]
    require(len(set(real)) == len(real) > 0, "--study", [str(folder.path) for folder in folders], "each study once")
    names = names_of(folders)
    studies = tuple(
        study_report(folder, name, partial(draw, folder, ROOM // len(folders)))
        for folder, name in zip(folders, names, strict=True)
    )
    sides = [Side(name=name.partition(":")[0], folder=folder) for folder, name in zip(folders, names, strict=True)]
    return Report(studies=studies, comparisons=tuple(compare(sides[0], other) for other in sides[1:]))


def names_of(folders: Sequence[StudyFolder]) -> list[str]:
    """Return the name of each study on the page; of several studies with a letter and the date."""
    studies = [folder.study for folder in folders]
    if len(studies) == 1:
        return [studies[0].study]
    return [f"{letter(i)}: {study.study}, {study.created[:16].replace('T', ' ')}" for i, study in enumerate(studies)]


def letter(i: int) -> str:
    """Return A, B ... Z, then A1, B1 ..."""
    return chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "")


def study_report(
    folder: StudyFolder, name: str, draw: Callable[[], tuple[tuple[Picture, ...], tuple[str, ...]]]
) -> StudyReport:
    """Return the content of the page on one study."""
    study = folder.study
    ranking = ranked(folder, most=LISTED)
    reported = first_mean(matrix(folder, MatrixRequest(split="report"))) if study.rows(split="report") else None
    own_matrix = ablation(folder)
    winner = chosen(folder)
    audited = audits(folder)
    pictures, undrawn = draw()
    return StudyReport(
        name=name,
        question=study.question,
        scale=scale_note(study),
        setting=(f"{training_text(study)}.", f"{scoring_text(folder)}.", images_text(folder), notes_text(folder)),
        answer=answer_of(folder, ranking, reported),
        tables=tuple(
            table
            for table in (_described(folder, own_matrix) or ranked_grid(ranking), _described(folder, reported))
            if table is not None
        ),
        legend=() if own_matrix else ranked_legend(folder, ranking),
        effects=effects_grid(folder),
        papers=tuple(
            (Grid(head=head, rows=tuple(numbers)), tuple(words)) for head, numbers, words in beside_tables(folder)
        ),
        pictures=pictures,
        undrawn=undrawn,
        audits=audited,
        cost=cost(folder),
        provenance=provenance(folder, winner.cell if winner else None),
        again=again(folder),
        settings=settings(study),
        not_run=not_run(folder, audited),
    )


def _described(folder: StudyFolder, each: Matrix | None) -> Described | None:
    """Return a matrix with its legend; the page shows the setting above it."""
    scale = tuple(filter(None, (sentence(scale_note(folder.study)),)))
    return None if each is None else replace(described(folder, each), setting=scale)


def ranked_grid(ranking: Ranking) -> Grid:
    """Return the configurations of a grid or a search in order, the untouched model last."""
    axes = axes_of(ranking.rows)
    return Grid(
        head=(*axes_names(axes), *score_heads(ranking), "notes"),
        rows=tuple(row_cells(row, axes, ranking) for row in ranking.rows),
        strong=tuple(i for i, row in enumerate(ranking.rows) if row.chosen),
    )


def ranked_legend(folder: StudyFolder, ranking: Ranking) -> tuple[str, ...]:
    """Return the legend of the ranking, and how many configurations it leaves out."""
    n = ranking.left_out
    left_out = (f"{counted(n, 'further configuration')}, lower in rank, not shown.",) if n else ()
    return (*left_out, *filter(None, legend_lines(folder, ranking)))


def effects_grid(folder: StudyFolder) -> tuple[Grid, str] | None:
    """Return the main effects and interactions of a full factorial ablation, and what they mean; else None."""
    effects = factorial(folder)
    if effects is None:
        return None
    head = ("effect", *(f"Δ {column.title}" for column in effects.columns))
    return Grid(head=head, rows=tuple(effect_cells(effect) for effect in effects.effects)), effects_text(effects)


# ---- the answer


def answer_of(folder: StudyFolder, ranking: Ranking, reported: Matrix | None) -> Answer:
    """Return the answer: the chosen configuration's scores on the report split if it has them, else on the selection.

    ``ranking``: of the selection split; ``reported``: the matrix of the report split.
    """
    winner = chosen(folder)
    if winner is None:
        return Answer(sentence="No configuration has finished: there is no answer yet.")
    again_tiles = report_tiles(reported, winner) if reported else ()
    tiles = again_tiles or selection_tiles(next(row for row in ranking.rows if row.chosen), ranking.columns)
    decides = deciding_score(folder.study.objectives)
    head = next((tile for tile in tiles if tile.title.startswith(decides.title)), tiles[0])
    n = len(eligible(scores(folder), decides.name))
    split = (
        "on the report split, whose images played no part in choosing it" if again_tiles else "on the selection split"
    )
    gained = f"; {head.gain}" if head.gain else ""
    doubted = " Its robustness is unverified: the audit fails." if any(tile.doubt for tile in tiles) else ""
    like = len(ranking.rivals)
    ties = f", though {like} of the others do not differ significantly from it" if like else ""
    words = (
        f"{where(winner)} is the best of {counted(n, 'configuration')} by {decides.title}{ties}: {head.value}"
        f"{f' {head.spread}' if head.spread else ''} {split}{gained}.{doubted}"
    )
    return Answer(sentence=words, tiles=tiles, notes=answer_notes(folder, ranking.rivals))


def answer_notes(folder: StudyFolder, rivals: Mapping[str, Difference]) -> tuple[str, ...]:
    """Return the caveats of the answer: rivals, the winner's curse, other trade-offs, published optima."""
    notes = list(filter(None, (keep_text(folder), warning_text(folder))))
    if rivals:
        noun, verb = ("configuration", "does") if len(rivals) == 1 else ("configurations", "do")
        each = [f"{label} ({gap_text(gap)})" for label, gap in rivals.items()]
        notes.append(
            f"{len(rivals)} other {noun} {verb} not differ significantly from it, because the paired 95 % interval of "
            f"the difference contains 0. Points of the chosen one above each: {listed(each)}."
        )
    if len(folder.study.rows(role="final")) > 1:
        notes += list(filter(None, (reported_text(folder, ranked(folder, "report")),)))
    notes += list(filter(None, (edges_text(best_on_edge(folder), rivals),)))
    curse = selection(folder)
    notes += [selection_text(curse)] if curse else []
    objectives = folder.study.objectives
    front = [where(cell) for cell in pareto(scores(folder), objectives)] if len(objectives) > 1 else []
    if len(front) > 1:
        together = " and ".join(score_named(name).title for name in objectives)
        notes.append(f"No other configuration is better in {together} together: {listed(front)}.")
    notes += [f"Published optimum: {published_text(folder.study.published)}."] if folder.study.published else []
    return tuple(notes)


def report_tiles(reported: Matrix, winner: CellScore) -> tuple[Tile, ...]:
    """Return the chosen configuration's scores on the report split; empty if none of its trials is done on it."""
    row = next((row for row in reported.rows if row.role == "final" and row.label == winner.cell), None)
    if row is None or not row.seeds:
        return ()
    columns = reported.blocks[0].columns
    return tuple(_tile(reported.columns[j], row.cells[j], reported.baseline, row)
                 for j in columns if row.cells[j].value is not None)  # fmt: skip


def selection_tiles(row: Row, columns: Sequence[Column]) -> tuple[Tile, ...]:
    """Return the chosen configuration's scores on the split that it was chosen on."""
    return tuple(
        _tile(column, cell, "untouched", row)
        for column, cell in zip(columns, row.cells, strict=True)
        if cell.value is not None
    )


def _tile(column: Column, cell: Cell, baseline: str, row: Row) -> Tile:
    spread = spread_text(cell)
    kind = f"sd over {counted(len(row.seeds), 'seed')}" if cell.sd is not None else f"{INTERVAL} over images"
    gain = ""
    if cell.gap is not None:
        difference = ", ".join(filter(None, (f"{gap_text(cell.gap)} points", p_text(cell.gap))))
        gain = f"{difference} against {baseline}"
    return Tile(
        title=_title(column.title), value=value_text(replace(cell, sd=None, low=None)) + PERCENT,
        spread=f"{spread} ({kind})" if spread else "", gain=gain, doubt=_doubt(row.fails) if cell.doubted else "",
    )  # fmt: skip


def _title(name: str) -> str:
    first, _, rest = name.partition(" ")
    return f"{TITLES.get(first, first)} {rest}".strip()


def _doubt(fails: Sequence[str]) -> str:
    return f"{DAGGER} FAIL {', '.join(fails)}: robustness unverified"
