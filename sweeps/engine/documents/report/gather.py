"""``zsr report``: everything a page on one or several studies says, gathered from their folders into one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sweeps.engine.analysis.choice import Selection, chosen, criterion, selection
from sweeps.engine.analysis.comparison import Side, compare
from sweeps.engine.analysis.matrix import Cell, Column, Matrix, matrix, read_records
from sweeps.engine.analysis.outcomes import Budgets
from sweeps.engine.analysis.ranking import Row, ranked
from sweeps.engine.analysis.scores import CellScore, pareto, scores
from sweeps.engine.documents.html import Grid, Picture, Tile
from sweeps.engine.documents.published import beside_tables
from sweeps.engine.documents.report.facts import again, audits, cost, listed, not_run, provenance, settings
from sweeps.engine.documents.report.model import Answer, Draw, Report, StudyReport
from sweeps.engine.documents.table import (
    GAINS,
    SCORES,
    axes_names,
    axes_of,
    gain_text,
    legend_lines,
    row_cells,
    score_text,
)
from sweeps.engine.format import NAMES, NBSP, counted, published_text, sentence
from sweeps.engine.study.folder import Study, read_results, read_study
from sweeps.engine.study.objectives import OBJECTIVES
from sweeps.engine.study.plan import is_report
from sweeps.engine.wording.answer import selection_text, where
from sweeps.engine.wording.matrix import DAGGER, described, gap_text, p_text, spread_text, value_text
from sweeps.engine.wording.study import scale_note, scoring_text, training_text
from zsr_core.codec import require
from zsr_core.files import write_text
from zsr_core.trial.result import TrialResult

LISTED = 30  # configurations that a page shows of a grid or a search
PERCENT = f"{NBSP}%"
INTERVAL = f"95{NBSP}% interval"
ROOM = 1_600_000  # characters that the figures of a page may take


def write_report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page, by default ``report.html`` in the first study's folder, by rename, and return its path.

    Raises:
        ConfigError: if a folder holds no study, or one that cannot be read, or is given twice.
    """
    from sweeps.engine.documents.report.figures import drawn  # noqa: PLC0415 - brings matplotlib
    from sweeps.engine.documents.report.page import page  # noqa: PLC0415 - one with its neighbour

    text = page(gather(folders, drawn))
    return write_text(out or folders[0] / "report.html", text)


def gather(folders: Sequence[Path], draw: Draw) -> Report:
    """Return what the page says. ``draw``: (study's folder, room in characters) -> figures, and what was not drawn.

    Raises:
        ConfigError: if a folder holds no study, or one that cannot be read, or is given twice.
    """
    real = [folder.resolve() for folder in folders]
    require(len(set(real)) == len(real) > 0, "--study", [str(folder) for folder in folders], "each study once")
    studies = [read_study(folder) for folder in folders]
    results = [read_results(folder, study) for folder, study in zip(folders, studies, strict=True)]
    names = names_of(studies)
    told = tuple(
        study_report(folder, study, found, name, partial(draw, folder, ROOM // len(folders)))
        for folder, study, found, name in zip(folders, studies, results, names, strict=True)
    )
    sides = [
        Side(name=name.partition(":")[0], folder=folder, study=study, results=found)
        for folder, study, found, name in zip(folders, studies, results, names, strict=True)
    ]
    return Report(studies=told, comparisons=tuple(compare(sides[0], other) for other in sides[1:]))


def names_of(studies: Sequence[Study]) -> list[str]:
    """Return what the page calls each study: by letter, name and date where there are several."""
    if len(studies) == 1:
        return [studies[0].study]
    return [f"{letter(i)}: {study.study}, {study.created[:16].replace('T', ' ')}" for i, study in enumerate(studies)]


def letter(i: int) -> str:
    """Return A, B ... Z, then A1, B1 ..."""
    return chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "")


def study_report(
    folder: Path,
    study: Study,
    results: Mapping[str, TrialResult],
    name: str,
    draw: Callable[[], tuple[tuple[Picture, ...], tuple[str, ...]]],
) -> StudyReport:
    """Return what the page says of one study."""
    records = read_records(folder, study, results)
    rows, untouched = ranked(folder, study, results, LISTED)
    selected, reported = matrices(study, results, records)
    winner = chosen(study, results)
    audited = audits(folder, study, results)
    pictures, undrawn = draw()
    found = answer_of(study, results, rows, reported, selection(folder, study, results))
    ranking = ranked_grid(study, rows, untouched)
    scale = tuple(filter(None, (sentence(scale_note(study)),)))  # the page says the rest above
    told = [
        None if each is None else replace(described(study, results, each), setting=scale)
        for each in (selected, reported)
    ]
    return StudyReport(
        name=name,
        question=study.question,
        scale=scale_note(study),
        setting=(f"{training_text(study)}.", f"{scoring_text(study, results.values())}."),
        answer=found,
        tables=tuple(table for table in (told[0] or ranking, told[1]) if table is not None),
        legend=() if selected else ranked_legend(study, results, rows),
        papers=tuple(
            (Grid(head=head, rows=tuple(numbers)), tuple(words))
            for head, numbers, words in beside_tables(study, results)
        ),
        pictures=pictures,
        undrawn=undrawn,
        audits=audited,
        cost=cost(folder, study, results),
        provenance=provenance(study, results, winner.cell if winner else None),
        again=again(folder, study, results),
        settings=settings(study),
        not_run=not_run(study, results, audited),
    )


def matrices(
    study: Study, results: Mapping[str, TrialResult], records: Mapping[str, Budgets]
) -> tuple[Matrix | None, Matrix | None]:
    """Return the matrix of an ablation's selection split, and that of the report split; each its first mean alone."""

    def first_mean(found: Matrix) -> Matrix | None:
        return replace(found, blocks=found.blocks[:1]) if found.blocks else None

    listed_variants = study.mode == "matrix" and not study.space
    selected = first_mean(matrix(study, results, records)) if listed_variants else None
    ended = any(is_report(trial) for trial in study.plan)
    return selected, first_mean(matrix(study, results, records, report=True)) if ended else None


def ranked_grid(study: Study, rows: Sequence[Row], untouched: Sequence[Row]) -> Grid:
    """Return the configurations of a grid or a search by falling harmonic mean, the untouched model last."""
    axes = axes_of([row.score for row in rows])
    return Grid(
        head=(*axes_names(axes), *SCORES, *GAINS, "notes"),
        rows=tuple(row_cells(row, axes) for row in (*rows, *untouched)),
        strong=tuple(i for i, row in enumerate(rows) if row.chosen),
    )


def ranked_legend(study: Study, results: Mapping[str, TrialResult], rows: Sequence[Row]) -> tuple[str, ...]:
    """Return what the ranking's numbers mean, and how many configurations it leaves out."""
    further = len(scores(study, results)) - len(rows)
    left_out = (f"{counted(further, 'further configuration')}, lower in rank, not shown.",) if further else ()
    return (*left_out, *filter(None, legend_lines(study, rows)))


# ---- the answer


def answer_of(
    study: Study,
    results: Mapping[str, TrialResult],
    rows: Sequence[Row],
    reported: Matrix | None,
    curse: Selection | None,
) -> Answer:
    """Return the answer: the chosen configuration's scores where it played no part in being chosen, if they are there.

    ``rows``: the best cells on the selection split; ``reported``: the matrix of the report split.
    """
    winner = chosen(study, results)
    if winner is None:
        return Answer(sentence="No configuration has finished: there is no answer yet.")
    again = report_tiles(reported, winner) if reported else ()
    row = next(row for row in rows if row.chosen)
    tiles = again or selection_tiles(row)
    judged = study.objectives[0] if len(study.objectives) == 1 else "harmonic"
    head = next((tile for tile in tiles if tile.title.startswith(NAMES[judged])), tiles[0])
    n = sum(cell.value(judged) is not None for cell in scores(study, results))
    split = "on the report split, whose images played no part in choosing it" if again else "on the selection split"
    gained = f"; {head.gain}" if head.gain else ""
    doubted = " Its robustness is unverified: the audit fails." if any(tile.doubt for tile in tiles) else ""
    like = sum(row.tied for row in rows)
    ties = f", though {like} of the others cannot be told from it" if like else ""
    words = (
        f"{where(winner)} is the best of {counted(n, 'configuration')} by {criterion(study)}{ties}: {head.value}"
        f"{f' {head.spread}' if head.spread else ''} {split}{gained}.{doubted}"
    )
    return Answer(sentence=words, tiles=tiles, notes=answer_notes(study, results, rows, curse))


def answer_notes(
    study: Study, results: Mapping[str, TrialResult], rows: Sequence[Row], curse: Selection | None
) -> tuple[str, ...]:
    """Return what keeps the answer from being the last word: ties, what choosing adds, other trade-offs, the papers."""
    like = [where(row.score) for row in rows if row.tied]
    notes = []
    if like:
        told = "configuration is" if len(like) == 1 else "configurations are"
        notes.append(f"{len(like)} other {told} no worse as far as these images and seeds tell (the paired 95 % "
                     f"interval of the difference holds 0): {listed(like)}.")  # fmt: skip
    notes += [selection_text(curse)] if curse else []
    front = [where(cell) for cell in pareto(scores(study, results))] if len(study.objectives) > 1 else []
    if len(front) > 1:
        notes.append(f"No other configuration is better in both clean and robust accuracy: {listed(front)}.")
    notes += [f"Published optimum: {published_text(study.published)}."] if study.published else []
    return tuple(notes)


def report_tiles(reported: Matrix, winner: CellScore) -> tuple[Tile, ...]:
    """Return the chosen configuration's scores on the report split; nothing where none of its trials is done there."""
    row = next((row for row in reported.rows if row.role == "final" and row.label == winner.cell), None)
    if row is None or not row.seeds:
        return ()
    columns = reported.blocks[0].columns
    return tuple(_tile(reported.columns[j], row.cells[j], reported.baseline, len(row.seeds), row.fails)
                 for j in columns if row.cells[j].value is not None)  # fmt: skip


def _tile(column: Column, cell: Cell, baseline: str, seeds: int, fails: Sequence[str]) -> Tile:
    over = f"over {counted(seeds, 'seed')}" if cell.t_high is not None else "over images"
    spread = spread_text(cell)
    gain = ""
    if cell.gap is not None:
        told = ", ".join(filter(None, (f"{gap_text(cell.gap)} points", p_text(cell.gap.p_holm))))
        gain = f"{told} against {baseline.removesuffix(' (report)')}"
    return Tile(
        title=_title(column.title), value=value_text(replace(cell, t_high=None, low=None)) + PERCENT,
        spread=f"{spread} ({INTERVAL} {over})" if spread else "", gain=gain,
        doubt=_doubt(fails) if cell.doubted else "",
    )  # fmt: skip


def _title(name: str) -> str:
    first, _, rest = name.partition(" ")
    return f"{NAMES.get(first, first)} {rest}".strip()


def _doubt(fails: Sequence[str]) -> str:
    return f"{DAGGER} FAIL {', '.join(fails)}: robustness unverified"


def selection_tiles(row: Row) -> tuple[Tile, ...]:
    """Return the chosen configuration's scores on the split that it was chosen on."""
    score = row.score
    spread = (score.clean_sd, score.robust_sd, score.harmonic_sd)
    tiles = []
    for i, name in enumerate(OBJECTIVES):
        if score.value(name) is None:
            continue
        doubted = score.doubts(name)
        value = score_text(score.value(name), None, None, doubted=doubted)
        whole = score_text(score.value(name), spread[i], row.interval[i] if row.interval else None, doubted=doubted)
        kind = "sd over seeds" if spread[i] is not None else f"{INTERVAL} over images"
        rest = whole.removeprefix(value).strip()
        tiles.append(
            Tile(title=NAMES[name], value=f"{value}{PERCENT}", spread=f"{rest} ({kind})" if rest else "",
                 gain=f"{gain_text(row.gain[i])} points against untouched" if row.gain else "",
                 doubt=_doubt(score.audit_fails) if doubted else "")
        )  # fmt: skip
    return tuple(tiles)
