"""The verdict of a rule on a robustness number, and the verdicts of all rules on evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zsr_core.audit.evidence import Evidence, Missing
from zsr_core.audit.finding import Finding, VerdictStatus, gravest, skipped
from zsr_core.audit.rules import RULES, Rule
from zsr_core.codec import unknown


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One rule applied to one number, as ``audit.json`` keeps it; see :class:`Finding`."""

    rule: str  # a key of RULES
    status: VerdictStatus
    figure: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("rule", self.rule, RULES)
        Finding(status=self.status, figure=self.figure, advice=self.advice)  # raises if one of them is wrong

    @classmethod
    def of(cls, rule: str, finding: Finding) -> Verdict:
        """Return what a rule found, under the rule's id."""
        return cls(rule=rule, status=finding.status, figure=finding.figure, advice=finding.advice)

    @property
    def text(self) -> str:
        """The rule, in one sentence."""
        return RULES[self.rule].text


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """Return the verdict of every rule, G01 to G27. A rule without its evidence is skipped."""
    return tuple(Verdict.of(rule.id, _finding(rule, evidence)) for rule in RULES.values())


def _finding(rule: Rule, evidence: Evidence) -> Finding:
    try:
        return rule.judge(evidence)
    except Missing as missing:
        return skipped(missing.what, missing.advice)


def worst(verdicts: Iterable[Verdict]) -> VerdictStatus:
    """Return the most severe status; SKIP if there is no verdict, because nothing was tested."""
    return gravest(v.status for v in verdicts)
