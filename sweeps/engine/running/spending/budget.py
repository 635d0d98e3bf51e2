"""``--budget``: what a launch may spend, as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sweeps.engine.running.flags import UNITS
from zsr_core.codec import require
from zsr_core.duration import duration

Kind = Literal["seconds", "gpu_seconds", "flops"]
AMOUNT = r"([0-9]{1,9}(?:\.[0-9]{1,6})?(?:e[0-9]{1,2})?)"
FORMS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("gpu_seconds", re.compile(rf"{AMOUNT} ?gpu-?h(?:ours?)?")),
    ("flops", re.compile(rf"{AMOUNT} ?flops?")),
    ("seconds", re.compile(rf"{AMOUNT} ?({'|'.join(UNITS)})")),
)
FINE = 600.0  # seconds, below which an amount is given in seconds
EXPECTED = "an amount such as 2h, 20gpu-hours or 5e15flops"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a launch may spend.

    "seconds" are those of this launch on the clock. "gpu_seconds" and "flops" count every trial of the study, those of
    earlier launches too: GPU time as measured, operations as counted from the encoder's passes.
    """

    kind: Kind
    amount: float

    def text(self, spent: float | None = None) -> str:
        """Return an amount of this budget as one reads it; by default the whole budget."""
        value = self.amount if spent is None else spent
        if self.kind == "seconds":
            return duration(value) if value >= FINE else f"{value:.0f} s"
        return f"{value / 3600:.3g} GPU hours" if self.kind == "gpu_seconds" else f"{value:.3g} operations"


def read_budget(text: str, flag: str = "--budget") -> Budget:
    """Return the budget that ``text`` names: a length of time, GPU hours, or floating-point operations.

    Raises:
        ConfigError: naming the flag and the text, for anything else.
    """
    for kind, form in FORMS:
        match = form.fullmatch(text.strip().lower())
        if match:
            scale = 3600.0 if kind == "gpu_seconds" else UNITS[match[2]] if kind == "seconds" else 1.0
            amount = float(match[1]) * scale
            require(amount > 0, flag, text, f"{EXPECTED}, above 0")
            return Budget(kind=kind, amount=amount)
    require(False, flag, text, EXPECTED)
    raise AssertionError
