"""Early stopping as a value: the rule, the rungs at which trials are compared, and the accepted rate of wrong stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from sweeps.engine.study.objectives import CLEAN, HARMONIC, ROBUST
from zsr_core.attacks import Pgd
from zsr_core.codec import is_finite, require, unknown
from zsr_core.trial.rungs import Rungs

Rule = Literal["asha", "hyperband", "watch"]
RULES: tuple[Rule, ...] = get_args(Rule)
OFF = "none"
PAIRED = (CLEAN.name, ROBUST.name, HARMONIC.name)  # the scores whose difference has a paired interval at a rung


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When trials are stopped before their end.

    At each rung the best ``1 / keep`` of the trials that have reached it go on. Another trial is stopped only if a
    rival is better at every objective by more than the noise of their difference, at a level at which the best trial
    (or one of the Pareto front) is stopped wrongly with a probability of at most ``error`` in the whole study.

    Rule "asha" decides at every rung (Li et al., MLSys 2020). "hyperband" spares some trials the first rungs, in
    brackets (Li et al., JMLR 2018), for scores that are hard to foresee early. "watch" scores at rungs and stops
    nothing: the data with which `zsr replay` tries the other rules.
    """

    rule: Rule = "asha"
    shares: tuple[float, ...] = (1 / 9, 1 / 3)  # of the training steps
    keep: int = 3  # one in so many goes on without a test
    error: float = 0.01
    images: int = 32  # of each zero-shot task, from the selection split
    attack: Pgd = field(default_factory=lambda: Pgd(steps=3, step_ratio=0.5))

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("stop.rule", self.rule, RULES)
        require(isinstance(self.keep, int) and self.keep >= 2, "stop.keep", self.keep, "a whole number, at least 2")
        sound = is_finite(self.error) and 0 < self.error <= 0.5
        require(sound, "stop.error", self.error, "a probability above 0 and at most 0.5")
        require(self.images >= 2, "stop.images", self.images, "at least 2 images, because a variance needs two")
        self.rungs(1 / 255)

    def rungs(self, eps: float) -> Rungs:
        """Return when trials are scored and on what; ``eps`` is the budget at which the study's scores are read."""
        return Rungs(eps=eps, shares=self.shares, images=self.images, attack=self.attack)

    def first_rung(self, index: int) -> int:
        """Return the first rung (from 1) at which the cell number ``index`` (0-based) of the plan may be stopped.

        HyperBand's bracket b of R + 1 skips the first b rungs; the last one runs every cell to its end. Their sizes
        are HyperBand's own, (R + 1) / (R + 1 - b) * keep ** (R - b), and the same index is always in the same bracket.
        """
        if self.rule != "hyperband":
            return 1
        last = len(self.shares)
        sizes = [(last + 1) / (last + 1 - b) * self.keep ** (last - b) for b in range(last + 1)]
        given = [0] * (last + 1)
        bracket = 0
        for number in range(1, index + 2):
            bracket = max(range(last + 1), key=lambda b: (sizes[b] / sum(sizes) * number - given[b], -b))
            given[bracket] += 1
        return 1 + bracket

    def plain_share(self) -> float:
        """Return the share of all training steps that plain ASHA would take with many trials and no caution."""
        ends = (*self.shares, 1.0)
        starts = (0.0, *self.shares)
        spans = enumerate(zip(starts, ends, strict=True))
        return float(sum((end - start) / self.keep**i for i, (start, end) in spans))


def stopping(given: Stopping | str, field_name: str = "stop") -> Stopping | None:
    """Return what a name or a value means; None for "none".

    Raises:
        ConfigError: naming ``field_name``, for another name.
    """
    if isinstance(given, Stopping):
        return given
    if given == OFF:
        return None
    for rule in RULES:
        if rule == given:
            return Stopping(rule=rule)
    raise unknown(field_name, given, (*RULES, OFF))


def check_stoppable(objectives: Sequence[str], field_name: str) -> None:
    """Raise ``ConfigError`` unless every objective has a paired interval at a rung."""
    others = [name for name in objectives if name not in PAIRED]
    expected = f"objectives among {', '.join(PAIRED)}, because their differences are paired at a rung"
    require(not others, field_name, ", ".join(others), expected)
