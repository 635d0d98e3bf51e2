"""A report as one HTML page. Nothing is computed here; the page shows the gathered values."""

from __future__ import annotations

import html
from collections.abc import Sequence

from sweeps.engine.analysis.comparison import Change, Comparison, Matched
from sweeps.engine.analysis.difference import Difference
from sweeps.engine.documents.forms.html import html_fragment
from sweeps.engine.documents.html import (
    Block,
    Bullets,
    Code,
    Fold,
    Fragment,
    Grid,
    Heading,
    Links,
    Paragraph,
    Tiles,
    document,
    html_of,
    whole_numbers,
)
from sweeps.engine.documents.report.facts import Audited, Facts
from sweeps.engine.documents.report.model import Report, StudyReport
from sweeps.engine.format import counted, mean_text, sentence
from sweeps.engine.study.objectives import Score
from sweeps.engine.wording.answer import where
from sweeps.engine.wording.comparison import (
    basis_text,
    best_key,
    best_summary,
    choice,
    key,
    row_name,
    summary,
    warnings,
)
from sweeps.engine.wording.matrix import DASH, Described, gap_text, p_text, star
from zsr_core.audit.rules import RULES


def page(report: Report) -> str:
    """Return the page: of several studies the comparisons first, then each study by itself."""
    questions = list(dict.fromkeys(study.question for study in report.studies))
    blocks: list[Block] = []
    if len(report.studies) == 1:
        blocks += study_blocks(report.studies[0], level=2)
        return document(questions[0], blocks)
    anchors = [f"study-{i}" for i in range(len(report.studies))]
    names = [study.name for study in report.studies]
    blocks.append(Links(targets=(("comparison", "Comparison"), *zip(anchors, names, strict=True))))
    blocks += [Paragraph(text=text, kind="banner") for text in _scales(report.studies)]
    for i, comparison in enumerate(report.comparisons):
        title = f"{comparison.first} against {comparison.second}"  # letters, which the links above explain
        blocks.append(Heading(text=title, anchor="" if i else "comparison"))
        blocks += comparison_blocks(comparison)
    for anchor, study in zip(anchors, report.studies, strict=True):
        blocks.append(Heading(text=study.name, anchor=anchor))
        blocks += [Paragraph(text=study.question)] if len(questions) > 1 else []
        blocks += study_blocks(study, level=3)
    return document(" / ".join(questions), blocks)


def _scales(studies: Sequence[StudyReport]) -> list[str]:
    """Return the labels of numbers that are the miniature's, once where they hold for all."""
    labels = {study.scale for study in studies}
    if len(labels) == 1:
        return [f"Everything here was {scale}." for scale in labels if scale]
    return [f"{study.name}: {study.scale}." for study in studies if study.scale]


# ---- one study


def study_blocks(study: StudyReport, level: int) -> list[Block]:
    """Return the sections on one study, their headings at ``level``."""

    def heading(text: str) -> Heading:
        return Heading(text=text, level=level)

    answer = study.answer
    blocks: list[Block] = [Paragraph(text=answer.sentence, kind="lead")]
    blocks += [Paragraph(text=f"{sentence(study.scale)} {SMALL}", kind="banner")] if study.scale else []
    blocks += [Tiles(tiles=answer.tiles)] if answer.tiles else []
    blocks += [Bullets(items=answer.notes)] if answer.notes else []
    blocks += [Paragraph(text=" ".join(filter(None, study.setting))), heading("Configurations")]
    for table in study.tables:
        blocks += [Paragraph(text="Selection split.", kind="soft")] if isinstance(table, Grid) else []
        blocks += [table] if isinstance(table, Grid) else [_matrix(table)]
        blocks += [Paragraph(text=line, kind="soft") for line in study.legend] if isinstance(table, Grid) else []
    if study.effects is not None:
        grid, words = study.effects
        blocks += [heading("Main effects and interactions"), grid, Paragraph(text=words, kind="soft")]
    blocks += [heading("Beside the papers")] if study.papers else []
    for grid, lines in study.papers:
        blocks += [grid, *(Paragraph(text=line, kind="soft") for line in lines if line)]
    blocks.append(heading("Figures"))
    blocks += [_figures(study)] if study.pictures else [Paragraph(text="None could be drawn.")]
    blocks += [heading("Audit"), *audit_blocks(study.audits), heading("Cost")]
    blocks.append(_facts(study.cost) if study.cost else Paragraph(text="No trial has finished."))
    blocks += [
        heading("Provenance"),
        _facts(study.provenance),
        Paragraph(text="To repeat it:"),
        Code(lines=study.again),
    ]
    settings = Grid(head=("setting", "value"), rows=study.settings)
    blocks.append(
        Fold(title=f"The configuration that all trials share, {len(study.settings)} settings", blocks=(settings,))
    )
    left_out = (*study.not_run, *study.undrawn)
    blocks.append(heading("What was not run"))
    return [*blocks, Bullets(items=left_out) if left_out else Paragraph(text="Nothing is missing.")]


SMALL = "It stands in for real data so that everything can be tried anywhere: no number of it says how a method does."


def _figures(study: StudyReport) -> Fragment:
    return Fragment(html=f'<div class="figures">{"".join(html_of(picture) for picture in study.pictures)}</div>')


def _matrix(shown: Described) -> Fragment:
    return Fragment(html=whole_numbers(html_fragment(shown, style=False)))


def _facts(facts: Facts) -> Fragment:
    rows = "\n".join(f'<tr><th scope="row">{html.escape(a)}</th><td>{html.escape(b)}</td></tr>' for a, b in facts)
    return Fragment(html=f'<table class="facts"><tbody>\n{rows}\n</tbody></table>')


def audit_blocks(audits: Sequence[Audited]) -> list[Block]:
    """Return how many configurations were audited, their verdicts, and each rule's figure."""
    tested = [audited for audited in audits if audited.audited]
    if not tested:
        return [Paragraph(text="None of these numbers has been audited: whether they may be believed is not known.")]
    n = {status: sum(a.status == status for a in tested) for status in ("FAIL", "WARN", "PASS", "SKIP")}
    counts = ", ".join(f"{number} {status}" for status, number in n.items() if number)
    words = f"{len(tested)} of {counted(len(audits), 'configuration')} audited: {counts}."
    rows = tuple(audit_row(audited) for audited in tested)
    head = ("configuration", "verdict", "rules that fail", "rules that warn", "rules tested", "how far")
    return [Paragraph(text=words), Grid(head=head, rows=rows), *(audit_fold(audited) for audited in tested)]


def audit_row(audited: Audited) -> tuple[str, ...]:
    """Return a configuration's verdict, the rules behind it, and how many were tested at all."""
    tested = sum(finding.status != "SKIP" for finding in audited.findings)
    part = "" if audited.audited == audited.trials else f", {audited.audited} of {audited.trials} seeds"
    fails, warns = (", ".join(audited.rules(status)) or DASH for status in ("FAIL", "WARN"))
    return audited.label, audited.status, fails, warns, f"{tested} of {len(RULES)}{part}", audited.depth or DASH


def audit_fold(audited: Audited) -> Fold:
    """Return each rule's verdict on a configuration: what it asks, the figure, and what to do."""
    rows = tuple((f.rule, f.status, RULES[f.rule].text, f.figure or DASH, f.advice or DASH) for f in audited.findings)
    head = ("rule", "verdict", "what it asks", "figure", "what to do")
    return Fold(title=f"{audited.label}: {audited.status}", blocks=(Grid(head=head, rows=rows),))


# ---- two studies


def comparison_blocks(comparison: Comparison) -> list[Block]:
    """Return the differences between two studies: by row, and in their configurations."""
    blocks: list[Block] = [Paragraph(text=f"{choice(comparison)} {summary(comparison)}", kind="lead")]
    doubts = warnings(comparison)
    blocks += [Bullets(items=doubts)] if doubts else []
    if comparison.best:
        blocks += [Paragraph(text=best_summary(comparison), kind="lead"), best_grid(comparison)]
        blocks += [Paragraph(text=best_key(comparison), kind="soft")]
    if comparison.rows:
        blocks += [comparison_grid(comparison), Paragraph(text=key(comparison))]
    alone = [
        f"Only in {name}: {', '.join(map(row_name, rows))}."
        for name, rows in ((comparison.first, comparison.only_first), (comparison.second, comparison.only_second))
        if rows
    ]
    blocks += [Bullets(items=tuple(alone))] if alone else []
    blocks += [Heading(text="What changed in the configuration", level=3), *_changes(comparison, comparison.changes)]
    return [*blocks, Heading(text="What changed around it", level=3), *_changes(comparison, comparison.world)]


def best_grid(comparison: Comparison) -> Grid:
    """Return the best row of the first study against that of the second, a line per split."""
    rows = tuple(
        (f"{where(row.first)} | {where(row.second)}", *_compared(row, comparison.scores)[1:]) for row in comparison.best
    )
    return Grid(head=_compared_head(comparison), rows=rows)


def comparison_grid(comparison: Comparison) -> Grid:
    """Return the shared rows: both sides' scores, and the differences."""
    rows = tuple(_compared(row, comparison.scores) for row in comparison.rows)
    return Grid(head=_compared_head(comparison), rows=rows)


def _compared_head(comparison: Comparison) -> tuple[str, ...]:
    head = ["configuration", "split"]
    for score in comparison.scores:
        head += [f"{score.name}, {comparison.first} | {comparison.second}", f"Δ {score.name}"]
    return (*head, "paired on")


def _compared(row: Matched, scores: Sequence[Score]) -> tuple[str, ...]:
    cells = []
    for score in scores:
        sides = [mean_text(side.value(score.name), side.sd(score.name)) for side in (row.first, row.second)]
        cells += [" | ".join(sides), difference_text(row.differences.get(score.name), same=row.same)]
    label = where(row.first)
    return (label, "report" if row.report else "selection", *cells, basis_text(row))


def difference_text(gap: Difference | None, *, same: bool) -> str:
    """Return a difference with its interval and adjusted p."""
    if gap is None:
        return DASH
    if same:
        return "0, image by image"
    p = p_text(gap)
    return f"{gap_text(gap)}{f', {p}' if p else ''}{' *' if star(gap) else ''}"


def _changes(comparison: Comparison, changes: Sequence[Change]) -> list[Block]:
    if not changes:
        return [Paragraph(text="Nothing.")]
    rows = tuple((change.path, change.first or DASH, change.second or DASH) for change in changes)
    return [Grid(head=("setting", comparison.first, comparison.second), rows=rows)]
