"""For which rows of a study uncertainty rises under attack, and for which it falls, in sentences."""

from __future__ import annotations

from sweeps.engine.analysis.rises import Rises, Verdict
from sweeps.engine.format import eps_text

MARK = "†"
WORDS: tuple[tuple[Verdict, str], ...] = (
    ("falls", "falls for"), ("rises", "rises for"), ("undecided", "does neither with certainty for"),
)  # fmt: skip


def rise_lines(found: Rises) -> list[str]:
    """Return a sentence per attack: for which rows the entropy falls, rises, or does neither with certainty."""
    lines = []
    for attack in found.attacks:
        by_verdict: dict[Verdict, list[str]] = {}
        for row in found.under(attack):
            point = row.at(found.eps)
            if point is not None:
                by_verdict.setdefault(point.verdict, []).append(row.label)
        parts = [f"{words} {', '.join(by_verdict[verdict])}" for verdict, words in WORDS if verdict in by_verdict]
        if parts:
            mark = "" if found.adaptive else MARK
            lines.append(f"Under {attack} at {eps_text(found.eps)} the entropy {'; '.join(parts)}{mark}.")
    if lines and not found.adaptive:
        lines.append(f"{MARK} Not tested under an adaptive attack, such as confidence-away-mu1, that looks for "
                     "confident wrong answers.")  # fmt: skip
    return lines
