"""A training run's state between epochs, in plain tensors, from which a killed run goes on to the same weights."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from zsr_core.files import write_whole
from zsr_core.model.tower import ImageTower, Tally


def save_checkpoint(
    path: Path, tower: ImageTower, optimiser: torch.optim.Optimizer, history: list[dict[str, float]]
) -> None:
    """Write weights, passes so far, optimiser state and history, whole or not at all.

    Random draws need no state, because each has a seed of its own.
    """
    state: dict[str, Any] = {
        "tower": tower.state_dict(),
        "tally": asdict(tower.tally),
        "optimiser": optimiser.state_dict(),
        "history": json.dumps(history),
    }
    write_whole(path, lambda part: torch.save(state, part))


def load_checkpoint(path: Path, tower: ImageTower, optimiser: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Put the saved state into ``tower`` and ``optimiser`` and return the history so far.

    A file that is torn counts as none: it is removed, and the history is empty.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        path.unlink(missing_ok=True)
        return []
    tower.load_state_dict(state["tower"])
    tower.tally = Tally(**state["tally"])
    optimiser.load_state_dict(state["optimiser"])
    history: list[dict[str, float]] = json.loads(state["history"])
    return history
