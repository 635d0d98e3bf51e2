"""What a rule finds: PASS, WARN, FAIL or SKIP, the figure that was measured, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from zsr_core.codec import require, unknown

VerdictStatus = Literal["PASS", "WARN", "FAIL", "SKIP"]
SEVERITY: tuple[VerdictStatus, ...] = ("SKIP", "PASS", "WARN", "FAIL")  # from the least severe to the most severe


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one rule. A SKIP says in ``figure`` what is missing; it is not a PASS."""

    status: VerdictStatus
    figure: str  # what was measured, in words and units: "PGD-100 42.09, AutoAttack 30.77: 11.32 points (26.9 %)"
    advice: str = ""  # one sentence on what to do; empty for a PASS

    def __post_init__(self) -> None:
        if self.status not in SEVERITY:
            raise unknown("status", self.status, get_args(VerdictStatus))
        require(bool(self.figure), "figure", self.figure, "what was measured, or what is missing")
        advised = bool(self.advice) or self.status == "PASS"
        require(advised, "advice", self.advice, f"one sentence on what to do about a {self.status}")


def graded(figure: str, advice: str, *, warn: bool = False, fail: bool = False) -> Finding:
    """Return FAIL if ``fail``, else WARN if ``warn``, else PASS, which needs no advice."""
    if not (warn or fail):
        return Finding(status="PASS", figure=figure)
    return Finding(status="FAIL" if fail else "WARN", figure=figure, advice=advice)


def skipped(reason: str, advice: str) -> Finding:
    """Return the finding of a rule that could not be tested; ``advice`` says what would make the test possible."""
    return Finding(status="SKIP", figure=reason, advice=advice)


def gravest(statuses: Iterable[str]) -> VerdictStatus:
    """Return the most severe of the statuses that a result keeps; SKIP if there are none."""
    known = set(statuses)
    return next((status for status in reversed(SEVERITY) if status in known), "SKIP")
