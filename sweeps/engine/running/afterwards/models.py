"""A trial's model and the untouched one, each with its class texts, for commands that look at both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from zsr_core.codec import ConfigError
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.deploy import DeployedModel, plain_bank, restored, untouched_clip
from zsr_core.trial.result import read_result


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Models by name."""

    models: dict[str, DeployedModel]
    image_size: int
    device: torch.device


def compared(config: TrialConfig, cache: Path, alone: str) -> Compared:
    """Return the untouched and the tuned model, or one that is called ``alone`` if nothing was tuned.

    Weights that are no longer in ``cache`` are trained again.
    """
    device = RunContext().where
    tuned = restored(config, cache, device)
    untouched = DeployedModel(
        victim=tuned.victim.others["untouched"], banks=lambda images: plain_bank(config, images, device),
        used=untouched_clip(config.model, str(device)),
    )  # fmt: skip
    same = untouched.victim.sha == tuned.victim.sha
    models = {alone: tuned} if same else {"untouched": untouched, "tuned": tuned}
    return Compared(models=models, image_size=tuned.image_size, device=device)


def evaluated_config(place: Path) -> TrialConfig:
    """Return the configuration of the trial in a folder that ``zsr evaluate`` has left."""
    result = read_result(place)
    if result is None:
        raise ConfigError(f"--evaluated: got {str(place)!r}, expected a trial's folder, which holds result.json")
    return result.config
