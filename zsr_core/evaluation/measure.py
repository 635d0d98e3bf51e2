"""From per-image records to every number with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zsr_core.codec import require
from zsr_core.records import SampleRecord

ZERO_SHOT_MEAN = "zero_shot_mean"  # mean over every task but the training set
WORST = "worst"  # an image is robust if no attack breaks it


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number. ``value``, ``low`` and ``high`` (95 % interval over images) are in percent; ``n`` counts images."""

    trial_id: str
    weights_sha: str
    task: str
    split: str
    attack: str
    eps: float
    metric: str
    value: float
    n: int
    low: float | None
    high: float | None


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a proportion of ``n`` draws, both in [0, 1]."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def harmonic(clean: float, robust: float) -> float:
    """Return ``2 C R / (C + R)``, 0 where both are 0."""
    return 2 * clean * robust / (clean + robust) if clean + robust > 0 else 0.0


def measure(records: Sequence[SampleRecord], zero_shot: Sequence[str]) -> list[Measurement]:
    """Return every number of one trial: per task, then the mean over the tasks named in ``zero_shot``.

    Metrics: "clean"; "robust" per attack and eps, and for attack "worst" (per image, over all attacks);
    "harmonic" of clean and worst. The mean of harmonics is over tasks (not the harmonic of means).

    Raises:
        ConfigError: if the records mix weights, splits or pixel spaces: such numbers never share a row.
    """
    if not records:
        return []
    first = records[0]
    for name in ("weights_sha", "trial_id", "split", "threat_space", "norm"):
        values = {getattr(record, name) for record in records}
        require(
            len(values) == 1, name, sorted(values),
            "records of one trial, one checkpoint, one split, one pixel space, one norm",
        )  # fmt: skip
    profiles: dict[str, str] = {}
    for record in records:
        known = profiles.setdefault(record.condition, record.attack_id)
        require(
            known == record.attack_id, "attack_id", [known, record.attack_id], f"one attack named {record.condition!r}"
        )
    correct: dict[tuple[str, str, float], dict[str, bool]] = {}
    for r in records:
        correct.setdefault((r.task, r.condition, r.eps), {})[r.sample_id] = r.correct
    tasks = list(dict.fromkeys(r.task for r in records))
    budgets = sorted({r.eps for r in records if r.condition != "none"})
    attacks = list(dict.fromkeys(r.condition for r in records if r.condition != "none"))
    found: dict[tuple[str, str, float, str], tuple[float, int]] = {}
    for task in tasks:
        clean = correct[task, "none", 0.0]
        found[task, "none", 0.0, "clean"] = (_share(clean.values()), len(clean))
        for eps in budgets:
            per_attack = [correct[task, attack, eps] for attack in attacks]
            for attack, outcome in zip(attacks, per_attack, strict=True):
                found[task, attack, eps, "robust"] = (_share(outcome.values()), len(outcome))
            worst = _share(all(outcome[i] for outcome in per_attack) for i in clean)
            found[task, WORST, eps, "robust"] = (worst, len(clean))
            found[task, WORST, eps, "harmonic"] = (harmonic(_share(clean.values()), worst), len(clean))

    def row(key: tuple[str, str, float, str], value: float, parts: Sequence[tuple[float, int]]) -> Measurement:
        task, attack, eps, metric = key
        low, high = _interval(metric, parts)
        return Measurement(
            trial_id=first.trial_id, weights_sha=first.weights_sha, task=task, split=first.split, attack=attack,
            eps=eps, metric=metric, value=100 * value, n=sum(n for _, n in parts), low=low, high=high,
        )  # fmt: skip

    rows = [row(key, value, [(value, n)]) for key, (value, n) in found.items()]
    members = [task for task in tasks if task in set(zero_shot)]
    for attack, eps, metric in dict.fromkeys(key[1:] for key in found):
        parts = [found[task, attack, eps, metric] for task in members]
        if parts:
            mean = sum(value for value, _ in parts) / len(parts)
            rows.append(row((ZERO_SHOT_MEAN, attack, eps, metric), mean, parts))
    return rows


def _share(outcomes: Iterable[bool]) -> float:
    values = list(outcomes)
    return sum(values) / len(values)


def _interval(metric: str, parts: Sequence[tuple[float, int]]) -> tuple[float | None, float | None]:
    """95 % interval over images: Wilson for one proportion; for a mean of several, their Wilson intervals recovered.

    The distances of the parts' ends add up as independent errors do (Newcombe 1998; Zou and Donner 2008), so that a
    mean of shares that are all 0 or 1 keeps a width. A harmonic mean is no proportion of images: its interval is left
    open here; a bootstrap on the records gives it.
    """
    if metric == "harmonic":
        return None, None
    mean = sum(p for p, _ in parts) / len(parts)
    ends = [(p, *wilson(p, n)) for p, n in parts]
    below = math.sqrt(sum((p - low) ** 2 for p, low, _ in ends)) / len(parts)
    above = math.sqrt(sum((high - p) ** 2 for p, _, high in ends)) / len(parts)
    return 100 * (mean - below), 100 * (mean + above)
