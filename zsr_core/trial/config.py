"""``TrialConfig``: everything that decides a trial's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from zsr_core.attacks import Pgd
from zsr_core.codec import LATER, fingerprint, from_plain, require, to_plain, with_overrides
from zsr_core.data import DataRef
from zsr_core.data.ref import overlap
from zsr_core.defences import AnyDefence
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import AnyMethod, TeCoA
from zsr_core.model.load import ModelRef
from zsr_core.model.precision import TrainAttackPrecision
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe
from zsr_core.training.optim import Optim
from zsr_core.training.perturbation import Perturbation

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides a trial's numbers; ``trial_id`` is the hash of all of it.

    ``epochs = 0`` is the untouched model.
    """

    model: ModelRef = field(default_factory=ModelRef)
    method: AnyMethod = field(default_factory=TeCoA)
    optim: Optim = field(default_factory=Optim)
    threat: ThreatModel = field(default_factory=ThreatModel)
    train_attack: Pgd = field(default_factory=Pgd)
    train_data: DataRef = field(default_factory=DataRef)
    epochs: int = 10
    batch_size: int = 128
    precision: Literal["fp32", "bf16"] = "fp32"
    # Of the training attack's gradients; the step itself is computed in ``precision``.
    attack_precision: TrainAttackPrecision = field(default="fp32", metadata=LATER)
    # What training moves in place of pixels within ``threat``; None: the pixels.
    perturbation: Perturbation | None = field(default=None, metadata=LATER)
    seed: int = 0
    eval_suite: EvalSuite = field(default_factory=EvalSuite)
    defence: AnyDefence | None = None  # what is done to the tuned model, or around it, when it is used
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        require(isinstance(self.epochs, int) and self.epochs >= 0, "epochs", self.epochs, "a whole number >= 0")
        require(
            isinstance(self.batch_size, int) and self.batch_size >= 1,
            "batch_size",
            self.batch_size,
            "a whole number >= 1",
        )
        climbs = self.train_attack.loss
        require(climbs == "ce", "train_attack.loss", climbs, "'ce': in training the method says what is climbed")
        space = self.threat.space
        require(space == "model_input", "threat.space", space, "'model_input': training attacks see the model's input")
        require(self.precision in ("fp32", "bf16"), "precision", self.precision, "'fp32' or 'bf16'")
        known = get_args(TrainAttackPrecision)
        require(self.attack_precision in known, "attack_precision", self.attack_precision, "'fp32', 'tf32' or 'bf16'")
        require(isinstance(self.seed, int), "seed", self.seed, "a whole number")
        own = next((ref.called for ref in self.eval_suite.ood if overlap(ref, self.train_data)), None)
        require(own is None, "eval_suite.ood_*", own, f"sets that share nothing with {self.train_data.called}")
        require(self.train_data.outside is None, "train_data", self.train_data.called, "a set with classes")
        require(self.schema == SCHEMA, "schema", self.schema, f"{SCHEMA}, the one this version reads")

    @property
    def trial_id(self) -> str:
        """12 hex digits of the hash of every field."""
        return fingerprint(from_plain(TrialConfig, to_plain(self)))

    @property
    def training_id(self) -> str:
        """12 hex digits of the hash of every field that shapes the weights: all but evaluation and defence."""
        plain = to_plain(from_plain(TrialConfig, to_plain(self)))
        return fingerprint({name: value for name, value in plain.items() if name not in ("eval_suite", "defence")})

    @property
    def headline_eps(self) -> float:
        """The budget that this trial is judged at: the training radius if the suite holds it, else the suite's first.

        Trials that are compared need one budget for all of them; where the training radius varies, this is not one.
        """
        suite, trained = self.eval_suite, self.threat
        same = [eps for eps in suite.eps if suite.norm == trained.norm and math.isclose(eps, trained.eps, rel_tol=1e-6)]
        return (*same, *suite.eps, trained.eps)[0]

    def with_(self, overrides: Mapping[str, Any]) -> TrialConfig:
        """Return the config with fields replaced by dotted path; an error names the path."""
        return with_overrides(self, overrides)


def recipe_of(config: TrialConfig) -> Recipe:
    """Return the part of the config that shapes training beside the method."""
    return Recipe(
        optim=config.optim, threat=config.threat, attack=config.train_attack, epochs=config.epochs,
        batch_size=config.batch_size, precision=config.precision, seed=config.seed,
        attack_precision=config.attack_precision, perturbation=config.perturbation,
    )  # fmt: skip
