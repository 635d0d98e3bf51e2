"""Rungs: when a trial is scored while it trains, and on which few selection images under which cheap attack."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from zsr_core.attacks import Pgd
from zsr_core.codec import is_finite, require
from zsr_core.data import zero_shot_names
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.training.pauses import check_shares
from zsr_core.trial.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """When a trial is scored while it trains, and on what.

    ``images`` of each zero-shot task are taken from the selection split, the same for every trial, and attacked at
    ``eps`` by ``attack``. PGD-3 with steps of half the budget finds most of what PGD-10 finds; it ranks trials and is
    no claim about robustness.
    """

    eps: float  # in [0, 1] pixel units
    shares: tuple[float, ...] = (1 / 9, 1 / 3)  # of the training steps
    images: int = 32
    attack: Pgd = field(default_factory=lambda: Pgd(steps=3, step_ratio=0.5))

    def __post_init__(self) -> None:
        check_shares(self.shares, "shares")
        require(self.images >= 1, "images", self.images, "at least 1 image of each task")
        require(is_finite(self.eps) and self.eps > 0, "eps", self.eps, "a budget above 0")

    def suite(self, config: TrialConfig) -> EvalSuite:
        """Return what a trial is scored on at a rung; its training set is left out where there are others."""
        whole = config.eval_suite
        names = zero_shot_names(whole.tasks, config.train_data)
        tasks = tuple(task for task in whole.tasks if task.called in names) or whole.tasks
        return replace(
            whole, tasks=tasks, split="selection", n=min(self.images, whole.n or self.images), attacks=(self.attack,),
            eps=(self.eps,), ood_near=(), ood_far=(), ood_attacks=(), corruptions=(), factors=(), annotations=None,
            retrieval=None, attention=False, detection=None,
        )  # fmt: skip

    def passes(self, config: TrialConfig) -> int:
        """Return the encoder passes of one rung at most, in units of one forward of one image."""
        forwards, backwards = self.attack.cost()
        suite = self.suite(config)
        return (suite.n or 0) * len(suite.tasks) * (2 + forwards + backwards)
