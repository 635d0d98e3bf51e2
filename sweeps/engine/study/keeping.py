"""``--keep``: what a chosen cell must keep, such as clean accuracy within 2 points of the untouched model's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sweeps.engine.study.objectives import score_named
from zsr_core.codec import require

FORM = re.compile(r"(\w+)\s*(>=|<=)\s*(?:(untouched)\s*(?:([+-])\s*)?)?([0-9]+(?:\.[0-9]+)?)?")
EXPECTED = "a condition such as 'clean >= untouched - 2' or 'robust >= 20'"


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A condition on one score: at least, or at most, a bound in the score's unit."""

    score: str
    relation: Literal[">=", "<="]
    offset: float
    of_untouched: bool = False  # the bound is the untouched model's score plus ``offset``

    @property
    def text(self) -> str:
        """The condition as it is typed."""
        if not self.of_untouched:
            return f"{self.score} {self.relation} {self.offset:g}"
        sign = "-" if self.offset < 0 else "+"
        return f"{self.score} {self.relation} untouched" + (f" {sign} {abs(self.offset):g}" if self.offset else "")

    def violation(self, value: float, untouched: float | None) -> float | None:
        """Return by how much ``value`` breaks the condition, at most 0 if it keeps it; None if the bound is unknown."""
        if self.of_untouched and untouched is None:
            return None
        bound = self.offset + (untouched or 0.0 if self.of_untouched else 0.0)
        return bound - value if self.relation == ">=" else value - bound


def read_keep(text: str, flag: str = "--keep") -> Keep:
    """Return the condition that ``text`` writes out.

    Raises:
        ConfigError: naming the flag and the text, for anything else or a score that is not in the table.
    """
    match = FORM.fullmatch(text.strip())
    sound = match is not None and (match[5] is not None) == (match[4] is not None or match[3] is None)
    require(sound, flag, text, EXPECTED)
    assert match is not None
    score_named(match[1], flag)
    offset = float(match[5] or 0.0) * (-1 if match[4] == "-" else 1)
    return Keep(score=match[1], relation=">=" if match[2] == ">=" else "<=", offset=offset, of_untouched=bool(match[3]))
