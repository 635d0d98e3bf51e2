"""``TrialResult``: what a trial leaves behind, and its file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from zsr_core.codec import from_plain, load_json, to_plain
from zsr_core.evaluation.measurement import Measurement, rows_from_plain
from zsr_core.files import write_text
from zsr_core.trial.config import SCHEMA, TrialConfig
from zsr_core.trial.rung_score import RungScore

Status = Literal["done", "failed", "pruned"]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial leaves behind. ``status`` "failed" carries its reason in ``error``; nothing is dropped.

    "pruned" is a trial that was stopped at a rung: ``error`` says why, ``rungs`` holds its scores, and it has no
    measurements, because it was never measured as finished trials are.
    """

    trial_id: str
    config: TrialConfig
    status: Status
    measurements: Sequence[Measurement] = ()
    history: tuple[dict[str, float], ...] = ()  # a row per epoch: epoch, loss, terms, accuracies, grad_norm, seconds
    cost: dict[str, float] = field(default_factory=dict)  # seconds, encoder passes, peak bytes
    provenance: dict[str, str] = field(default_factory=dict)  # versions, git sha, device, weights hashes
    audit: dict[str, str] = field(default_factory=dict)  # rule -> verdict
    error: str = ""
    rungs: tuple[RungScore, ...] = ()  # the scores while it trained; empty where rungs are off
    schema: int = SCHEMA


def read_result(folder: Path) -> TrialResult | None:
    """Return the result in a trial's folder, its measurements in columns, or None if there is none.

    Raises:
        ConfigError: naming the file, if it is there and cannot be read.
    """
    path = folder / "result.json"
    if not path.is_file():
        return None
    plain = load_json(path, "result")
    rows = rows_from_plain(plain.get("measurements")) if isinstance(plain, dict) else None
    if rows is None:
        return from_plain(TrialResult, plain, str(path))
    return replace(from_plain(TrialResult, {**plain, "measurements": ()}, str(path)), measurements=rows)


def write_result(folder: Path, result: TrialResult) -> Path:
    """Write ``result.json``, whole or not at all."""
    return write_text(folder / "result.json", json.dumps(to_plain(result), indent=1) + "\n")
