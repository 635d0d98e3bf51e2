"""A training run's state between epochs, in plain tensors: what a killed run needs to end as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zsr_core.files import write_whole


def save_checkpoint(
    path: Path, tower: nn.Module, optimiser: torch.optim.Optimizer, history: list[dict[str, float]]
) -> None:
    """Write weights, optimiser state and history, whole or not at all. Random draws need no state: they are keyed."""
    state: dict[str, Any] = {
        "tower": tower.state_dict(),
        "optimiser": optimiser.state_dict(),
        "history": json.dumps(history),
    }
    write_whole(path, lambda part: torch.save(state, part))


def load_checkpoint(path: Path, tower: nn.Module, optimiser: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Put the saved state into ``tower`` and ``optimiser`` and return the history so far."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    tower.load_state_dict(state["tower"])
    optimiser.load_state_dict(state["optimiser"])
    history: list[dict[str, float]] = json.loads(state["history"])
    return history
