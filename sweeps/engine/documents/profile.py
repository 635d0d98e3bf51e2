"""``profile.html``: a study's methods compared beyond accuracy, or one checkpoint of it, with the published claims."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from sweeps.engine.analysis.published.claims import Gap, ProfileRow, claims, number_text, profile_rows
from sweeps.engine.analysis.published.paired import paired_gap
from sweeps.engine.documents.html import Block, Bullets, Grid, Heading, Paragraph, document
from sweeps.engine.format import eps_text, sentence
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.wording.matrix import DASH
from sweeps.engine.wording.study import images_text, scale_note, training_text
from zsr_core.codec import unknown
from zsr_core.data.shifts.names import CORRUPTION, FACTOR, corruption_cell, factor_level
from zsr_core.files import write_text
from zsr_core.names import MINIATURES

# A section of the page: its title, and what its columns are called, by score.
SECTIONS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("Classification and robustness", {"clean": "clean, %", "robust": "robust, %"}),
    ("Calibration", {
        "ece": "error, %", "ece_source_t": "error at source T, %", "temperature_source": "source T",
        "overconfidence": "confidence minus accuracy, points",
        "overconfidence_source_t": "the same at source T, points",
    }),
    ("Out-of-distribution detection", {
        "near_auroc_msp": "near, AUROC of MSP, %", "far_auroc_msp": "far, AUROC of MSP, %",
        "near_auroc_mcm": "near, AUROC of MCM, %", "far_auroc_mcm": "far, AUROC of MCM, %",
    }),
    ("Retrieval", {
        "i2t_r1": "image to text R@1, %", "t2i_r1": "text to image R@1, %",
        "i2t_r1_query": "image to text R@1 under attack, %",
    }),
    ("Corruptions", {
        "corrupted_accuracy": "accuracy, %", "corrupted_ece": "calibration error, %",
        "corruption_error": "error against the untouched model's, %",
    }),
    ("Attention", {"mask_share": "mask's share of the image, %", "soft_iou_text": "soft IoU of the text's map, %"}),
)  # fmt: skip
SHIFTS = ((FACTOR, "factor_gap", "Visual factors: accuracy minus that of all images, points"),
          (CORRUPTION, "corrupted_accuracy", "Accuracy under each corruption, %"))  # fmt: skip
SMALL = (
    "The miniature says nothing about scale: its images are drawings and its models are small. Read signs and orders."
)
READING = (
    "Numbers are of the selection split, means over the zero-shot sets, retrieval's over the sets of captions; "
    "brackets are 95 % intervals over images."
)
JUDGED = (
    "A claim is supported or contradicted where the interval of the difference lies wholly on one side of 0, and not "
    "told apart otherwise. A paired interval is a bootstrap over the images that both numbers are of; another one "
    "takes them as if they were of different images, and is rather too wide. No correction is made for the number of "
    "claims."
)


def write_profile(folder: StudyFolder, row: str | None = None) -> Path:
    """Write ``profile.html``, or ``profile-ROW.html`` of one row, into the study's folder and return its path.

    Raises:
        ConfigError: if no trial has finished, or for an unknown row with the nearest one.
    """
    rows = profile_rows(folder)
    if row is None:
        return write_text(folder.path / "profile.html", comparison(folder, rows))
    found = {each.label: each for each in rows}
    if row not in found:
        raise unknown("--row", row, found)
    name = re.sub(r"[^\w.-]+", "_", row)
    return write_text(folder.path / f"profile-{name}.html", single(folder, rows, found[row]))


def comparison(folder: StudyFolder, rows: Sequence[ProfileRow]) -> str:
    """Return the page that compares the rows: claims first, then a table per section."""
    paired = partial(paired_gap, folder, "selection")
    blocks: list[Block] = [*_opening(folder), Heading(text="The published claims"), Paragraph(text=JUDGED),
                           _claims(rows, paired)]  # fmt: skip
    for title, columns in SECTIONS:
        blocks += [Heading(text=title), _section(columns, rows)]
    for condition, metric, title in SHIFTS:
        blocks += [Heading(text=title), _shifts(condition, metric, rows)]
    return document(f"Profile of {folder.study.study}", blocks)


def single(folder: StudyFolder, rows: Sequence[ProfileRow], row: ProfileRow) -> str:
    """Return the page of one row beside the untouched model."""
    shown = [each for each in rows if each.role == "baseline" and each is not row]
    blocks = [*_opening(folder)]
    for title, columns in SECTIONS:
        blocks += [Heading(text=title), _section(columns, [row, *shown], upright=True)]
    for condition, metric, title in SHIFTS:
        blocks += [Heading(text=title), _shifts(condition, metric, [row, *shown])]
    return document(f"Profile of {row.label} in {folder.study.study}", blocks)


def _opening(folder: StudyFolder) -> list[Block]:
    study = folder.study
    eps = f"Attacked images are read at {eps_text(study.score_eps)}."
    setting = (f"{training_text(study)}.", images_text(folder), sentence(scale_note(study)), eps, READING)
    banner = (Paragraph(text=SMALL, kind="banner"),) if study.base.model.name in MINIATURES else ()
    return [*banner, Paragraph(text=study.question, kind="lead"), Bullets(items=tuple(filter(None, setting)))]


def _claims(rows: Sequence[ProfileRow], paired: Gap) -> Grid:
    lines = tuple((claim.words, claim.verdict, claim.measured) for claim in claims(rows, paired))
    return Grid(head=("claim", "here", "measured"), rows=lines)


def _section(columns: Mapping[str, str], rows: Sequence[ProfileRow], *, upright: bool = False) -> Block:
    """Return a table of the numbers that any row has: a line for each row, or ``upright`` for each number."""
    names = [name for name in columns if any(name in row.points for row in rows)]
    if not names:
        return Paragraph(text="Not measured.")
    if upright:
        lines = tuple((columns[name], *(_cell(row, name) for row in rows)) for name in names)
        return Grid(head=("number", *(row.label for row in rows)), rows=lines)
    lines = tuple((row.label, *(_cell(row, name) for name in names)) for row in rows)
    return Grid(head=("row", *(columns[name] for name in names)), rows=lines)


def _cell(row: ProfileRow, name: str) -> str:
    point = row.points.get(name)
    return DASH if point is None else number_text(point)


def _shifts(kind: str, metric: str, rows: Sequence[ProfileRow]) -> Block:
    """Return a table of a number under each condition of a kind, the rows side by side; a factor at all its levels."""
    found = [
        {name: number for (of, attack), number in row.shifts[kind].items() if of == metric and (name := _shift(attack))}
        for row in rows
    ]
    names = list(dict.fromkeys(name for numbers in found for name in numbers))
    if not names:
        return Paragraph(text="Not measured.")
    lines = tuple(
        (name, *(DASH if name not in numbers else number_text(numbers[name]) for numbers in found)) for name in names
    )
    return Grid(head=("kind", *(row.label for row in rows)), rows=lines)


def _shift(attack: str) -> str:
    """Return what a line on a corruption or a whole factor is called; empty for any other condition."""
    cell, factor = corruption_cell(attack), factor_level(attack)
    if cell is not None:
        return f"{cell.kind}, severity {cell.severity}".replace("_", " ")
    return factor[0].replace("_", " ") if factor is not None and factor[1] is None else ""
