"""One trial, whole: its configuration, what it reports, and ``run_trial``, which knows no Ray and no tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from zsr_core.attacks import AnyAttack, Pgd
from zsr_core.clip import ModelRef
from zsr_core.codec import fingerprint, from_plain, require, to_plain, with_overrides
from zsr_core.data import DataRef
from zsr_core.evaluate import EvalSuite, Measurement
from zsr_core.methods import AnyMethod, TeCoA
from zsr_core.threat import ThreatModel
from zsr_core.train import Optim

SCHEMA = 1
Status = Literal["done", "failed", "pruned"]


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides a trial's numbers; ``trial_id`` is the hash of all of it."""

    model: ModelRef = field(default_factory=ModelRef)
    method: AnyMethod = field(default_factory=TeCoA)
    optim: Optim = field(default_factory=Optim)
    threat: ThreatModel = field(default_factory=ThreatModel)
    train_attack: AnyAttack = field(default_factory=Pgd)
    train_data: DataRef = field(default_factory=DataRef)
    epochs: int = 10
    batch_size: int = 128
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    eval_suite: EvalSuite = field(default_factory=EvalSuite)
    schema: int = SCHEMA

    @property
    def trial_id(self) -> str:
        """12 hex digits of the hash of every field."""
        return fingerprint(self)

    def with_(self, overrides: Mapping[str, Any]) -> TrialConfig:
        """Return the config with fields replaced by dotted path; an error names the path."""
        return with_overrides(self, overrides)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial leaves behind. ``status`` "failed" carries its reason in ``error``; nothing is dropped."""

    trial_id: str
    config: TrialConfig
    status: Status
    measurements: tuple[Measurement, ...] = ()
    history: tuple[dict[str, float], ...] = ()      # one row per epoch: epoch, loss, each term, grad_norm, seconds
    cost: dict[str, float] = field(default_factory=dict)         # seconds, encoder passes, peak bytes
    provenance: dict[str, str] = field(default_factory=dict)     # versions, git sha, device, weights hashes
    audit: dict[str, str] = field(default_factory=dict)          # rule -> verdict
    error: str = ""
    schema: int = SCHEMA
