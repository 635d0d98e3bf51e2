"""One stage of an attack against a victim: what the attack may ask, and its images judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import Event

import torch
from torch import Tensor

from zsr_core.attacks import Attack, Draws, Logits, Target
from zsr_core.evaluation.judge import Batch, Condition, Judge
from zsr_core.evaluation.victim import DrawsOf, Victim
from zsr_core.model.precision import AttackPrecision, products_in
from zsr_core.records import SampleRecord
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

# (attack, target, images [b, 3, H, W], threat model, draws, the images' ids) -> x_adv [b, 3, H, W]
RunAttack = Callable[[Attack, Target, Tensor, ThreatModel, Draws, Sequence[str]], Tensor]


def alone(attack: Attack, target: Target, x: Tensor, threat: ThreatModel, draws: Draws, ids: Sequence[str]) -> Tensor:
    """Return the images that the attack gives, as it runs when nobody watches it."""
    return attack.run(target, x, threat, draws)


@dataclass(frozen=True, kw_only=True, eq=False)
class StageRun:
    """One stage of an attack under one condition; calling it attacks a batch and judges the result."""

    stage: Attack
    condition: Condition
    judge: Judge
    room: int  # images that may be asked about at once
    stop: Event  # once it is set, the next question raises CancelledError
    run_attack: RunAttack = alone  # runs the stage on one batch, for instance to watch it
    precision: AttackPrecision = "fp32"  # of the stage's products on CUDA

    def __call__(self, batch: Batch) -> list[SampleRecord]:
        """Return the records of what the stage makes of a batch; it is projected into the threat model here."""
        ids, seed, x, threat = self.judge.ids(batch), self.judge.seed, batch.x, self.condition.threat
        questions = _Questions(run=self, batch=batch, ids=ids, asked=torch.zeros_like(batch.y, dtype=torch.int64))

        def draws(purpose: str, picked: Tensor) -> list[torch.Generator]:
            return [generator(seed, "attack", self.stage.name, purpose, ids[row]) for row in picked.tolist()]

        with products_in(self.precision):
            x_adv = self.run_attack(self.stage, questions.target(), x, threat, draws, ids).detach()
        x_adv = threat.project(torch.where(x_adv.isfinite(), x_adv, x), x)
        return self.judge.records(self.condition, batch, x_adv, questions.asked.tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Questions:
    """What a stage asks the victim about one batch, counted per image."""

    run: StageRun
    batch: Batch
    ids: list[str]
    asked: Tensor  # [B] questions so far, written in place

    def target(self) -> Target:
        """Return the target that the stage faces."""
        judge, batch = self.run.judge, self.batch
        victim, text = judge.victim, judge.text
        extra = victim.regulariser
        return Target(
            ask=self.ask, unask=self.unask, labels=batch.y, classes=len(text.classes), room=self.run.room,
            # Fooling the bare model, or one draw of the defence, is no reason to stop.
            certain=victim.defended is None,
            regulariser=None if extra is None else extra(batch.x, batch.y, text),
            others={name: self._logits_of(other) for name, other in victim.others.items()},
            scale=victim.scale,
        )  # fmt: skip

    def ask(self, x_adv: Tensor, rows: Tensor) -> Tensor:
        """Return the victim's logits, one set per draw of its defence that the attack may average."""
        if self.run.stop.is_set():
            raise CancelledError
        victim, text = self.run.judge.victim, self.run.judge.text
        self.asked.index_add_(0, rows, torch.ones_like(rows))
        if victim.defended is None or victim.attack_samples == 0:
            return _attached(victim.logits(x_adv, text), x_adv)[None]
        samples = [victim.logits(x_adv, text, self._defence_draws(rows, k)) for k in range(victim.attack_samples)]
        return torch.stack([_attached(logits, x_adv) for logits in samples])

    def unask(self, rows: Tensor, number: Tensor) -> None:
        """Take back ``number`` [b] questions about ``rows`` [b]."""
        self.asked.index_add_(0, rows, -number)

    def _defence_draws(self, rows: Tensor, sample: int) -> DrawsOf:
        """Return the randomness of the defence for one sample of the question that was just counted."""
        seed, stage = self.run.judge.seed, self.run.stage.name
        named = [(self.ids[row], q) for row, q in zip(rows.tolist(), self.asked[rows].tolist(), strict=True)]
        return lambda: [generator(seed, "defence", stage, i, q, sample) for i, q in named]

    def _logits_of(self, other: Victim) -> Logits:
        text = other.text_beside(self.run.judge.victim, self.run.judge.text)
        return lambda x_adv, rows: other.logits(x_adv, text)


def _attached(logits: Tensor, x: Tensor) -> Tensor:
    """Return the same logits, with at least a gradient of 0 to ``x``.

    A classifier that detaches its image has no gradient to climb. The audit reports that (rules G03, G04); an attack
    must not fail on it.
    """
    return logits + 0 * x.flatten(1)[:, :1] if x.requires_grad else logits


def room(batch_size: int, abreast: int) -> int:
    """Return how many images one of ``abreast`` batches may hold, so that together they hold ``batch_size``."""
    return math.ceil(batch_size / abreast)
