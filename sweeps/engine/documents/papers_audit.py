"""The audit of the papers' tables as a page: Markdown, and one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sweeps.engine.documents.forms.markdown import markdown_table
from sweeps.engine.documents.html import Bullets, Fold, Grid, Heading, Paragraph, Text, document
from sweeps.engine.format import counted, eps_text
from zsr_core.audit.finding import VerdictStatus
from zsr_core.audit.papers import AUTOATTACK, RULES_OF_NUMBERS, Audited, audit_published, disagreements, misprints
from zsr_core.audit.rules import RULES
from zsr_core.files import write_text
from zsr_core.published import SOURCES, UNTOUCHED, Published, published

TITLE = "Which published claims of robustness have been tested?"
SAYS: dict[VerdictStatus, str] = {
    "FAIL": "not confirmed",
    "WARN": "open questions",
    "PASS": "stands so far",
    "SKIP": "one attack alone",
}
STATUSES: tuple[VerdictStatus, ...] = ("FAIL", "WARN", "PASS", "SKIP")
CONTROLS = (UNTOUCHED, "FT-Clean")  # no robustness is claimed for them


def write_audit(folder: Path) -> tuple[Path, Path]:
    """Write ``audit_published.md`` and ``.html`` into ``folder``, by rename, and return their paths."""
    blocks = audit_blocks(audit_published())
    return (
        write_text(folder / "audit_published.md", as_markdown(blocks)),
        write_text(folder / "audit_published.html", as_html(blocks)),
    )


def audit_blocks(audited: Sequence[Audited]) -> tuple[Text, ...]:
    """Return the page: the answer, the claims with their verdicts, and further facts on the tables."""
    main = [a for a in audited if not _alone(a)]
    return (
        Paragraph(text=summary(main)),
        Paragraph(
            text="A verdict here is about printed numbers. A FAIL does not prove that a model masks its gradients: it "
            "shows that the claim, as printed, is untested. The limits are ours; the numbers are the papers'."
        ),
        *(block for source in SOURCES for block in source_blocks(source, main)),
        Heading(text="Configurations with one attack alone"),
        Paragraph(text=variants_text([a for a in audited if _alone(a)])),
        Heading(text="The same method, printed elsewhere"),
        Paragraph(
            text="Means of one method under the same attack and budget, on the same sets, as different tables print "
            "them. They differ because each paper trains the baselines again."
        ),
        disagreement_grid(),
        Heading(text="Means that do not add up"),
        Paragraph(text="Printed means that are not the means of the numbers of their sets in the same table."),
        misprint_grid(),
        Heading(text="What else the tables show"),
        Bullets(items=facts()),
        Heading(text="The rules"),
        Grid(head=("rule", "what it asks"), rows=tuple((rule, RULES[rule].text) for rule in RULES_OF_NUMBERS)),
        Paragraph(
            text=f"The other {len(RULES) - len(RULES_OF_NUMBERS)} rules need the weights: gradients, step sizes, "
            "precision, restarts, black-box attacks. A published table does not show them. G15 is read at the budget "
            "that a method was trained for and at its double, because above it every model loses more than half."
        ),
    )


def terminal_lines() -> list[str]:
    """Return the claims as lines: the verdict, the numbers, and the rules that warn or fail."""
    audited = [a for a in audit_published() if not _alone(a)]
    lines = [summary(audited)]
    for source in dict.fromkeys(a.claim.source for a in audited):
        lines += ["", f"{source} ({SOURCES[source].where})"]
        for a in (a for a in audited if a.claim.source == source):
            rules = ", ".join(f"{status} {rule}" for status in ("FAIL", "WARN") for rule in a.rules(status))
            lines.append(f"  {a.status}  {a.claim.method:<26} worst printed {a.claim.worst:5.2f}  {rules}".rstrip())
    return lines


def _alone(audited: Audited) -> bool:
    """Return whether the claim is a setting of an ablation with a single attack."""
    return audited.claim.variant and audited.status == "SKIP"


def _verdict_text(audited: Audited) -> str:
    words = "a control" if audited.claim.title in CONTROLS else SAYS[audited.status]
    return f"{audited.status}, {words}"


def summary(audited: Sequence[Audited]) -> str:
    """Return how many claims there are of each status."""
    claimed = [a for a in audited if a.claim.title not in CONTROLS]
    n = {status: sum(a.status == status for a in claimed) for status in STATUSES}
    return (
        f"Of {counted(len(claimed), 'claim')} of robustness, {n['SKIP']} were printed under one attack alone (SKIP). "
        f"Of the others {n['FAIL']} are not confirmed by the stronger attacks beside them (FAIL), {n['WARN']} leave "
        f"open questions (WARN), and {n['PASS']} stand as far as numbers tell (PASS). "
        f"{' and '.join(CONTROLS)} claim no robustness and are in the tables as controls."
    )


def source_blocks(source: str, audited: Sequence[Audited]) -> tuple[Text, ...]:
    """Return one paper's claims, then their verdicts one by one."""
    own = [a for a in audited if a.claim.source == source]
    facts = SOURCES[source]
    budgets = " and ".join(eps_text(eps) for eps in sorted({a.claim.eps for a in own}))
    sets = facts.mean.removeprefix("Average") if facts.mean.startswith("Average") else "CLIP_benchmark's"
    return (
        Heading(text=f"Tables of the {facts.title} paper"),
        Paragraph(text=f"{facts.where}. Means over {sets} sets, at eps {budgets}, in percent. {facts.caveat}"),
        filled(Grid(head=CLAIM_HEAD, rows=tuple(claim_row(a) for a in own))),
        *(verdict_fold(a) for a in own if a.status != "SKIP"),
    )


CLAIM_HEAD = (
    "method", "clean", "PGD", "CW", "APGD", "AutoAttack", "PGD to AutoAttack", "adaptive", "worst printed", "verdict",
    "rules",
)  # fmt: skip


def filled(grid: Grid) -> Grid:
    """Return the table without the columns that no row fills."""
    kept = [i for i in range(len(grid.head)) if i == 0 or any(row[i] != "–" for row in grid.rows)]
    return Grid(head=tuple(grid.head[i] for i in kept), rows=tuple(tuple(row[i] for i in kept) for row in grid.rows))


def claim_row(audited: Audited) -> tuple[str, ...]:
    """Return a claim's numbers, its verdict and the rules behind it."""
    c = audited.claim
    clean = next(iter(c.clean.values()), None)
    cw = next((value for attack, value in c.robust.items() if attack.startswith("CW")), None)
    apgd = next((value for attack, value in c.robust.items() if attack.startswith("APGD") and attack not in AUTOATTACK),
                None)  # fmt: skip
    rules = [f"{status}: {', '.join(audited.rules(status))}" for status in ("FAIL", "WARN") if audited.rules(status)]
    gap = "–"
    if c.pgd is not None and c.autoattack is not None:
        gap = f"{c.autoattack - c.pgd:+.2f} ({100 * (c.autoattack / c.pgd - 1):+.0f} %)"
    return (
        c.method, *(number(value) for value in (clean, c.pgd, cw, apgd, c.autoattack)), gap, number(c.adaptive),
        number(c.worst), _verdict_text(audited), "; ".join(rules) or "–",
    )  # fmt: skip


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def verdict_fold(audited: Audited) -> Fold:
    """Return each rule's verdict on a claim: the figure, and what to do."""
    rows = tuple((v.rule, v.status, v.figure, v.advice or "–") for v in audited.verdicts)
    notes = (Bullets(items=audited.notes),) if audited.notes else ()
    title = f"{audited.claim.method}: {_verdict_text(audited)}"
    return Fold(title=title, blocks=(Grid(head=("rule", "verdict", "figure", "what to do"), rows=rows), *notes))


def variants_text(audited: Sequence[Audited]) -> str:
    """Return how many configurations were printed under a single attack, and which is the highest of them."""
    top = max(audited, key=lambda a: a.claim.worst)
    attack = next(iter(top.claim.robust))
    return (
        f"{counted(len(audited), 'setting')} of ablations and hyper-parameter studies are printed under one attack "
        f"alone, up to {top.claim.worst:.2f} under {attack} ({top.claim.method}, {top.claim.source}): the "
        "best setting was chosen by numbers that no stronger attack has tested."
    )


def disagreement_grid() -> Grid:
    """Return the methods for which the tables print different means under one attack and budget."""
    rows = []
    for disagreement in disagreements():
        first = disagreement.rows[0]
        what = "clean" if first.metric == "clean" else f"{first.attack} at {eps_text(first.eps[0])}"
        values = "; ".join(f"{row.value:.2f} ({row.place})" for row in disagreement.rows)
        rows.append((str(first.method), what, values, f"{disagreement.spread:.2f}"))
    return Grid(head=("method", "under", "printed", "points apart"), rows=tuple(rows))


def misprint_grid() -> Grid:
    """Return the printed means beside the means of their sets."""
    rows = tuple(
        (m.row.printed, "clean" if m.row.metric == "clean" else f"{m.row.attack} at {eps_text(m.row.eps[0])}",
         f"{m.row.value:.2f}", f"{m.recomputed:.2f}", m.row.place)
        for m in misprints()
    )  # fmt: skip
    return Grid(head=("method", "under", "printed", "its sets give", "where"), rows=rows)


def facts() -> tuple[str, ...]:
    """Return what else a reader of these tables should know; the figures are taken from the tables."""

    def value(method: str, attack: str, table: str, eps: float | None = None) -> str:
        metric = "clean" if attack == "none" else "robust"
        rows = published(source="CompTGA-2026", task="Average16", attack=attack, metric=metric, table=table, eps=eps)
        return f"{_only([row for row in rows if row.printed == method]).value:.2f}"

    without, full = "Comp-TGA[CE+LARM]", "Comp-TGA[CE+LARM+GACM]"
    return (
        f"Comp-TGA's global attention term lifts PGD accuracy from {value(without, 'PGD-100', 'X')} to "
        f"{value(full, 'PGD-100', 'X')} and clean accuracy from {value(without, 'none', 'X')} to "
        f"{value(full, 'none', 'X')} at once, while AutoAttack, on other weights, leaves "
        f"{value('Comp-TGA', 'AutoAttack', 'III')} (what G22 is about).",
        f"Untuned CLIP keeps {value('CLIP', 'PGD-100', 'A5', 8 / 255)} at 8/255 and "
        f"{value('CLIP', 'PGD-100', 'I')} at 1/255 under PGD-100, where AutoAttack leaves "
        f"{value('CLIP', 'AutoAttack', 'III')}: a sign that this PGD is weak on any model (what G14 is about).",
        "The published evaluation of that lineage (zhyblue424/TGA-ZSR, attacks.py) runs model and attack in half "
        "precision, climbs a mean-reduced loss, steps by the whole budget, starts once and returns the last iterate. "
        "How much of the gap that explains is not known; G05, G10 and G11 measure it on a checkpoint.",
        "Its AutoAttack branch, as published, does not run; it would build APGD-CE and APGD-DLR, where the paper says "
        "standard. Nearly every one of these papers runs other attacks as AutoAttack, so that its columns cannot be "
        "compared across sources.",
        "Worst printed is the least of the printed means. The worst case per image, which no paper prints, is at most "
        "as high.",
    )


def _only(rows: Sequence[Published]) -> Published:
    (row,) = rows
    return row


def as_markdown(blocks: Iterable[Text]) -> str:
    """Return the page as Markdown."""
    return "\n".join([f"# {TITLE}", "", *(line for block in blocks for line in _markdown(block))])


def _markdown(block: Text) -> list[str]:
    if isinstance(block, Heading):
        return [f"## {block.text}", ""]
    if isinstance(block, Paragraph):
        return [block.text, ""]
    if isinstance(block, Bullets):
        return [*(f"- {item}" for item in block.items), ""]
    if isinstance(block, Grid):
        return [*markdown_table(block.head, block.rows), ""]
    return [f"### {block.title}", "", *(line for inner in block.blocks for line in _markdown(inner))]


def as_html(blocks: Iterable[Text]) -> str:
    """Return the page as one HTML file: no script, no font, no image, nothing fetched."""
    return document(TITLE, blocks)
