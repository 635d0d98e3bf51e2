"""What a rule of the audit is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zsr_core.audit.evidence import Evidence, Probe
from zsr_core.audit.finding import Finding


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """A row of the table of rules.

    ``judge`` looks at evidence alone, and raises ``Missing`` where the evidence it needs is absent.
    """

    id: str  # "G01"; reports keep verdicts by it
    text: str  # what must hold, in one sentence
    needs: tuple[Probe, ...]  # the probes made for it; what else it looks at, the evaluation left behind
    judge: Callable[[Evidence], Finding]
