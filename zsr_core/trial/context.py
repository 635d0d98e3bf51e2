"""What a trial is given beside its configuration: nothing here decides a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from zsr_core.events import OnEvent, ignore
from zsr_core.model.distributed import ALONE, World
from zsr_core.records import SampleRecord
from zsr_core.trial.config import TrialConfig

# (config, folder of finished batches) -> the records of the whole suite
Spread = Callable[[TrialConfig, Path], list[SampleRecord]]


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Where a trial runs, what it shares with others, and who follows it.

    ``cache`` is a folder that trials share: teacher features, tuned weights by training hash, training checkpoints.
    ``device`` is "cpu" or "cuda"; by default CUDA where there is one. ``on_event`` is called with every event.
    ``world`` are the processes that run this trial together, each with this value but for its own place.
    ``spread`` evaluates in place of this process, for instance on many machines.
    ``metrics`` are names of metrics that are measured beside those that every trial measures.
    """

    cache: Path | None = None
    device: str | None = None
    on_event: OnEvent = ignore
    world: World = ALONE
    spread: Spread | None = None
    metrics: tuple[str, ...] = ()

    @property
    def where(self) -> torch.device:
        """The device that this machine computes on."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))


HERE = RunContext()  # no cache, no listener, this process alone
