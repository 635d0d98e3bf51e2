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
from zsr_core.trial.rung_score import RungScore
from zsr_core.trial.rungs import Rungs

# (config, folder of finished batches) -> the records of the whole suite
Spread = Callable[[TrialConfig, Path], list[SampleRecord]]


def always(score: RungScore) -> str:
    """Return no reason to stop: a trial that is scored at rungs and stopped by nobody."""
    return ""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Where a trial runs, what it shares with others, and who follows it.

    ``cache`` is a folder that trials share: teacher features, tuned weights by training hash, training checkpoints.
    ``device`` is "cpu" or "cuda"; by default CUDA where there is one. ``on_event`` is called with every event.
    ``world`` are the processes that run this trial together, each with this value but for its own place.
    ``spread`` evaluates in place of this process, for instance on many machines.
    ``deterministic`` makes a GPU's sums the same in every run, which takes longer; a CPU's are so in any case.
    ``rungs`` says when the trial is scored while it trains, with one process alone. ``goes_on`` gets each such score
    and returns why the trial is stopped there, or an empty text.
    ``metrics`` are names of metrics that are measured beside those that every trial measures.
    """

    cache: Path | None = None
    device: str | None = None
    on_event: OnEvent = ignore
    world: World = ALONE
    spread: Spread | None = None
    deterministic: bool = False
    rungs: Rungs | None = None
    goes_on: Callable[[RungScore], str] = always
    metrics: tuple[str, ...] = ()

    @property
    def where(self) -> torch.device:
        """The device that this machine computes on."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))


HERE = RunContext()  # no cache, no listener, this process alone
