"""A training run's state between steps, in plain tensors, from which a killed run goes on to the same weights."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from zsr_core.files import write_whole
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower, Tally
from zsr_core.training.pauses import Partial


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far training has come: a row per epoch that has ended, and the epoch that has not."""

    history: list[dict[str, float]] = field(default_factory=list)
    partial: Partial = field(default_factory=Partial)


def save_checkpoint(
    path: Path,
    tower: ImageTower,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    texts: TextTower | None = None,
) -> None:
    """Write weights, passes so far, optimiser state and progress, whole or not at all.

    Random draws need no state, because each has a seed of its own. ``texts`` is the text tower where it is tuned too.
    """
    state: dict[str, Any] = {
        "tower": tower.state_dict(),
        "tally": asdict(tower.tally),
        "optimiser": optimiser.state_dict(),
        "history": json.dumps(progress.history),
        "partial": json.dumps(asdict(progress.partial)),
    }
    if texts is not None:
        state["texts"] = texts.state_dict()
    write_whole(path, lambda part: torch.save(state, part))


def load_checkpoint(
    path: Path, tower: ImageTower, optimiser: torch.optim.Optimizer, texts: TextTower | None = None
) -> Progress:
    """Put the saved state into ``tower``, ``texts`` and ``optimiser`` and return how far training had come.

    A file that is torn counts as none: it is removed, and nothing has been done. Checkpoints of earlier versions were
    made between epochs alone and name no partial epoch.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        path.unlink(missing_ok=True)
        return Progress()
    tower.load_state_dict(state["tower"])
    if texts is not None:
        texts.load_state_dict(state["texts"])
    tower.tally = Tally(**state["tally"])
    optimiser.load_state_dict(state["optimiser"])
    partial = Partial(**json.loads(state.get("partial", "{}")))
    return Progress(history=json.loads(state["history"]), partial=partial)
