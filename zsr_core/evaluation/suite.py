"""A tuned model under attack: per-sample records first, and from them every number with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, get_args

import torch

from zsr_core.attacks import AnyAttack, Attack, Pgd
from zsr_core.codec import LATER, require, unknown
from zsr_core.data import DataRef, ImageSet, Split, open_data
from zsr_core.data.open import taken
from zsr_core.data.partition import SPLITS
from zsr_core.data.ref import check_names, same_set
from zsr_core.evaluation.attention import Looking
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.events import OnEvent, TaskEnded, ignore
from zsr_core.model.precision import AttackPrecision
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.threat import Norm, PixelSpace, ThreatModel

Embeddings = Literal["report", "all", "none"]


@dataclass(frozen=True, kw_only=True)
class EvalSuite:
    """What a trial is measured on: tasks x (clean + attacks x eps). ``eps`` in [0, 1] pixel units.

    ``split`` is "selection" wherever trials are compared to choose one, "report" for the chosen, and "all" where
    nothing is chosen: every image of a folder that has no splits and that nothing trains on.
    ``n`` keeps so many images of each task, as ``DataRef.limit`` does. ``space`` says which tensor the budget lives on,
    here and in every record: the model's input, or of sets with one native size those pixels, which the model then
    resizes inside (bicubic, differentiable; fewer pixels make the attack weaker). ``embeddings`` says which splits'
    unit image embeddings are kept beside the records, so that a metric that reads them never needs the attack again:
    "report" is what is not selected by, that is the splits "report" and "all". With ``attention`` each record also
    keeps what the attention maps of its image look at, which takes up to four more passes per record.
    """

    tasks: tuple[DataRef, ...] = (DataRef(),)
    split: Split = "selection"
    n: int | None = None
    attacks: tuple[AnyAttack, ...] = (Pgd(steps=10, step_ratio=0.25),)
    eps: tuple[float, ...] = (1 / 255,)
    norm: Norm = "linf"
    space: PixelSpace = "model_input"
    batch_size: int = 128
    # Of the attacks' gradients on CUDA; what an attack gives is judged in fp32.
    attack_precision: AttackPrecision = field(default="fp32", metadata=LATER)
    embeddings: Embeddings = field(default="report", metadata=LATER)
    attention: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        if self.embeddings not in get_args(Embeddings):
            raise unknown("embeddings", self.embeddings, get_args(Embeddings))
        require(len(self.tasks) > 0, "tasks", self.tasks, "at least one task")
        check_names(self.tasks)
        require(self.split in SPLITS, "split", self.split, "'selection', 'report' or 'all'")
        require(self.n is None or self.n >= 1, "n", self.n, "at least 1 image per task")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(
            len({a.name for a in self.attacks}) == len(self.attacks),
            "attacks",
            [a.name for a in self.attacks],
            "attacks of different names",
        )
        known = get_args(AttackPrecision)
        require(self.attack_precision in known, "attack_precision", self.attack_precision, "'fp32' or 'tf32'")
        require(len(set(self.eps)) == len(self.eps), "eps", self.eps, "every budget once")
        require(self.space in ("model_input", "native"), "space", self.space, "'model_input' or 'native'")
        sizeless = [task.called for task in self.tasks if task.native is None]
        expected = f"'model_input': images of no one native size have {', '.join(sizeless[:3])}"
        require(self.space == "model_input" or not sizeless, "space", self.space, expected)
        for threat in self.threats():
            require(threat.eps > 0, "eps", threat.eps, "a budget above 0")

    @property
    def keeps_embeddings(self) -> bool:
        """Whether the embeddings of this split are kept."""
        return self.embeddings == "all" or (self.embeddings == "report" and self.split != "selection")

    def threats(self) -> tuple[ThreatModel, ...]:
        """Return one threat model per budget."""
        return tuple(ThreatModel(norm=self.norm, eps=eps, space=self.space) for eps in self.eps)


def evaluate(
    victim: Victim,
    suite: EvalSuite,
    banks: Callable[[ImageSet], TextBank],
    image_size: int,
    *,
    seed: int = 0,
    trial_id: str = "",
    device: torch.device | str = "cpu",
    journal: Journal | None = None,
    on_event: OnEvent = ignore,
    shard: tuple[int, int] = (0, 1),
    trained_on: DataRef | None = None,
    not_banks: Callable[[ImageSet], TextBank] | None = None,
) -> list[SampleRecord]:
    """Return the records of every task of the suite.

    Where embeddings are kept, records of the clean images of ``trained_on`` on the selection split follow, unless the
    suite has them already: a temperature is fitted on them. Only the field ``split`` tells them from the others.

    Args:
        journal: where finished batches are kept for a resume.
        on_event: is called after every batch and every task.
        shard: (k, K) for images k, k + K, k + 2K, ... of each task alone; :func:`merged` puts the K parts together.
        trained_on: as of :func:`open_data`: it decides which images of a task training leaves to be measured on.
        not_banks: the classes in the prompt of what is not the class, for the complementary attention map.
    """
    k, of = shard
    if suite.attention:
        seen = victim.features is not None and not_banks is not None
        require(seen, "attention", True, "False: this classifier shows no features, or there are no other prompts")

    def measured(ref: DataRef, split: Split, attacks: Sequence[Attack], told: OnEvent) -> list[SampleRecord]:
        images = open_data(ref, split, image_size, suite.n, space=suite.space, trained_on=trained_on)
        if of > 1:
            images = taken(images, range(k, len(images.labels), of))
            if len(images.labels) == 0:  # a task of fewer images than there are shards
                return []
        bank = banks(images)
        looking = None
        if suite.attention and victim.features is not None and not_banks is not None:
            looking = Looking(features=victim.features, text=bank, rest=not_banks(images), masks=images.masks)
        return predict(
            victim, images, bank, attacks, suite.threats(), seed=seed, trial_id=trial_id,
            batch_size=suite.batch_size, device=device, threat_space=suite.space, journal=journal, on_event=told,
            embeddings=suite.keeps_embeddings,
            attack_precision=suite.attack_precision, looking=looking,
        )  # fmt: skip

    records: list[SampleRecord] = []
    for i, ref in enumerate(suite.tasks):
        records += measured(ref, suite.split, suite.attacks, on_event)
        on_event(TaskEnded(task=ref.called, done=i + 1, of=len(suite.tasks)))
    extra = fitting_set(suite, trained_on)
    if extra is not None:
        records += measured(extra, "selection", (), ignore)
    return records


def fitting_set(suite: EvalSuite, trained_on: DataRef | None) -> DataRef | None:
    """Return the set whose selection split is encoded beside the suite, to fit a temperature on; None without one."""
    source = source_set(suite, trained_on)
    return source if source is not None and suite.keeps_embeddings and suite.split != "selection" else None


def source_set(suite: EvalSuite, trained_on: DataRef | None) -> DataRef | None:
    """Return that task of the suite which is trained on; None if no task is."""
    return next((ref for ref in suite.tasks if trained_on is not None and same_set(ref, trained_on)), None)


def merged(shards: Sequence[Sequence[SampleRecord]]) -> list[SampleRecord]:
    """Return the records of K shards in the order of one process: images k, k + K, ... come from shard k."""
    parts: dict[tuple[str, str, str, float], list[list[SampleRecord]]] = {}
    for k, shard in enumerate(shards):
        for record in shard:
            lists = parts.setdefault((record.split, record.task, record.condition, record.eps), [[] for _ in shards])
            lists[k].append(record)
    rows = (row for lists in parts.values() for row in zip_longest(*lists))
    return [record for row in rows for record in row if record is not None]
