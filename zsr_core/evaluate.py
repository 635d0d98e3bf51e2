"""A tuned model under attack: per-sample records first, and from them every number with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch

from zsr_core.attacks import AnyAttack, Pgd
from zsr_core.codec import require
from zsr_core.data import DataRef, ImageSet, Split, open_data
from zsr_core.data.sets import SPLITS, taken
from zsr_core.predict import Journal, Tick, predict
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.threat import Norm, PixelSpace, ThreatModel
from zsr_core.victim import Victim

ZERO_SHOT_MEAN = "zero_shot_mean"  # mean over every task but the training set
WORST = "worst"  # an image is robust if no attack breaks it


@dataclass(frozen=True, kw_only=True)
class EvalSuite:
    """What a trial is measured on: tasks x (clean + attacks x eps). ``eps`` in [0, 1] pixel units.

    ``split`` is "selection" wherever trials are compared to choose one, "report" for the chosen.
    ``n`` keeps so many images of each task, as ``DataRef.limit`` does. ``space`` says which tensor the budget lives on,
    here and in every record: the model's input, or of sets with one native size those pixels, which the model then
    resizes inside (bicubic, differentiable; fewer pixels make the attack weaker).
    """

    tasks: tuple[DataRef, ...] = (DataRef(),)
    split: Split = "selection"
    n: int | None = None
    attacks: tuple[AnyAttack, ...] = (Pgd(steps=10, step_ratio=0.25),)
    eps: tuple[float, ...] = (1 / 255,)
    norm: Norm = "linf"
    space: PixelSpace = "model_input"
    batch_size: int = 128

    def __post_init__(self) -> None:
        require(len(self.tasks) > 0, "tasks", self.tasks, "at least one task")
        require(
            len({t.called for t in self.tasks}) == len(self.tasks),
            "tasks",
            [t.called for t in self.tasks],
            "every task once",
        )
        require(self.split in SPLITS, "split", self.split, "'selection' or 'report'")
        require(self.n is None or self.n >= 1, "n", self.n, "at least 1 image per task")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(
            len({a.name for a in self.attacks}) == len(self.attacks),
            "attacks",
            [a.name for a in self.attacks],
            "attacks of different names",
        )
        require(len(set(self.eps)) == len(self.eps), "eps", self.eps, "every budget once")
        require(self.space in ("model_input", "native"), "space", self.space, "'model_input' or 'native'")
        sizeless = [task.called for task in self.tasks if task.native is None]
        expected = f"'model_input': images of no one native size have {', '.join(sizeless[:3])}"
        require(self.space == "model_input" or not sizeless, "space", self.space, expected)
        for threat in self.threats():
            require(threat.eps > 0, "eps", threat.eps, "a budget above 0")

    def threats(self) -> tuple[ThreatModel, ...]:
        """Return one threat model per budget."""
        return tuple(ThreatModel(norm=self.norm, eps=eps, space=self.space) for eps in self.eps)


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


def evaluate(
    victim: Victim,
    suite: EvalSuite,
    banks: Callable[[ImageSet], TextBank],
    image_size: int,
    *,
    seed: int = 0,
    trial_id: str = "",
    device: torch.device | str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
    journal: Journal | None = None,
    tick: Tick | None = None,
    shard: tuple[int, int] = (0, 1),
) -> list[SampleRecord]:
    """Return the records of every task of the suite. ``progress`` gets (tasks done, tasks, name).

    ``journal`` and ``tick`` are :func:`predict`'s: what is kept for a resume, and who hears of every batch. With
    ``shard = (k, K)`` only images k, k + K, k + 2K, ... of each task; :func:`merged` puts the K parts together.
    """
    k, of = shard
    records: list[SampleRecord] = []
    for i, ref in enumerate(suite.tasks):
        images = open_data(ref, suite.split, image_size, suite.n, space=suite.space)
        if of > 1:
            images = taken(images, range(k, len(images.labels), of))
            if len(images.labels) == 0:  # a task of fewer images than there are shards
                continue
        records += predict(
            victim, images, banks(images), suite.attacks, suite.threats(), seed=seed, trial_id=trial_id,
            batch_size=suite.batch_size, device=device, threat_space=suite.space, journal=journal, tick=tick,
        )  # fmt: skip
        if progress is not None:
            progress(i + 1, len(suite.tasks), images.name)
    return records


def merged(shards: Sequence[Sequence[SampleRecord]]) -> list[SampleRecord]:
    """Return the records of K shards in the order of one process: images k, k + K, ... come from shard k."""
    parts: dict[tuple[str, str, float], list[list[SampleRecord]]] = {}
    for k, shard in enumerate(shards):
        for record in shard:
            lists = parts.setdefault((record.task, record.condition, record.eps), [[] for _ in shards])
            lists[k].append(record)
    rows = (row for lists in parts.values() for row in zip_longest(*lists))
    return [record for row in rows for record in row if record is not None]


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
