"""A trial's model and the untouched one, each with its class texts, for commands that look at both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from zsr_core.codec import ConfigError
from zsr_core.data import ImageSet
from zsr_core.evaluation.victim import Victim
from zsr_core.text import TextBank
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.deploy import plain_bank, restored
from zsr_core.trial.result import read_result


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Models by name, with the class texts that each uses on an image set."""

    models: dict[str, tuple[Victim, Callable[[ImageSet], TextBank]]]
    image_size: int
    device: torch.device


def compared(config: TrialConfig, cache: Path, alone: str) -> Compared:
    """Return the untouched and the tuned model, or one that is called ``alone`` if nothing was tuned.

    Weights that are no longer in ``cache`` are trained again.
    """
    device = RunContext().where
    tuned, bank, size = restored(config, cache, device)
    untouched = tuned.others["untouched"]
    models = {"untouched": (untouched, lambda images: plain_bank(config, images, device)), "tuned": (tuned, bank)}
    return Compared(models={alone: (tuned, bank)} if untouched.sha == tuned.sha else models, image_size=size,
                    device=device)  # fmt: skip


def evaluated_config(place: Path) -> TrialConfig:
    """Return the configuration of the trial in a folder that ``zsr evaluate`` has left."""
    result = read_result(place)
    if result is None:
        raise ConfigError(f"--evaluated: got {str(place)!r}, expected a trial's folder, which holds result.json")
    return result.config
