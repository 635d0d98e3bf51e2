"""From images and a classifier to per-sample records: success is judged here and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zsr_core.codec import ConfigError, require
from zsr_core.data import ImageSet
from zsr_core.evaluation.attention import Looking
from zsr_core.evaluation.vectors import packed
from zsr_core.evaluation.victim import Victim
from zsr_core.records import SampleRecord
from zsr_core.rng import generator
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel, l2_size


class Batch(NamedTuple):
    """Images of a set that are worked on together."""

    x: Tensor  # [B, 3, H, W] in [0, 1]
    y: Tensor  # [B] labels
    rows: Tensor  # [B] row numbers in the set


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Under what images are classified: clean ("none"), or one stage of an attack within a threat model."""

    name: str
    attack_id: str
    ran: str
    stage: str
    threat: ThreatModel


def check_set(images: ImageSet, classes: int) -> None:
    """Raise ``ConfigError`` unless the set has images with ids of their own and labels of its classes."""
    labels, ids, task = images.labels, images.ids, f"task {images.name!r}"
    require(len(labels) > 0, task, 0, "at least one image")
    require(classes >= 2, task, classes, "at least two classes: with one, every answer is right")
    whole = not labels.is_floating_point()
    require(whole, f"{task}: labels", str(labels.dtype), "whole numbers")
    require(len(ids) == len(labels), f"{task}: ids", len(ids), f"one for each of its {len(labels)} images")
    twice = next((name for name, times in Counter(ids).items() if times > 1), None)
    require(twice is None, f"{task}: ids", twice, "an id of its own for each image, because records are found by it")
    low, high = int(labels.min()), int(labels.max())
    require(low >= 0 and high < classes, f"{task}: labels", [low, high], f"labels of its {classes} classes, from 0")


def check_pixels(images: ImageSet, batch: Batch) -> None:
    """Raise ``ConfigError`` naming the first image whose pixels are not numbers in [0, 1]."""
    flat = batch.x.flatten(1)
    good = flat.isfinite().all(dim=1) & (flat.amin(dim=1) >= 0) & (flat.amax(dim=1) <= 1)
    if not good.all():
        name = images.ids[int(batch.rows[~good.cpu()][0])]
        raise ConfigError(f"task {images.name!r}: the pixels of {name} are not numbers in [0, 1]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """The deployed classifier on one image set, and what its records are labelled with."""

    victim: Victim
    images: ImageSet
    text: TextBank
    seed: int
    trial_id: str
    space: str
    embeddings: bool = False  # whether a record carries the image's unit embedding
    looking: Looking | None = None  # makes the attention that a record carries; None where it carries none

    def ids(self, batch: Batch) -> list[str]:
        """Return the ids of a batch's images."""
        return [self.images.ids[i] for i in batch.rows.tolist()]

    def records(self, condition: Condition, batch: Batch, x_adv: Tensor, queries: Sequence[int]) -> list[SampleRecord]:
        """Return a record for each image ``x_adv`` made of ``batch``; the defence's draw is the condition's own.

        Raises:
            ArithmeticError: naming task, condition and image, if logits are NaN or infinite.
        """
        unit, logits = self._answers(condition, batch, x_adv)
        p = logits.log_softmax(dim=1)
        own = logits.gather(1, batch.y[:, None])
        others = logits.scatter(1, batch.y[:, None], -torch.inf).amax(dim=1, keepdim=True)
        delta = x_adv - batch.x
        columns = zip(
            self.ids(batch), batch.y.tolist(), logits.argmax(dim=1).tolist(), p.amax(dim=1).exp().tolist(),
            (-(p.exp() * p).sum(dim=1)).tolist(), (own - others)[:, 0].tolist(),
            delta.abs().flatten(1).amax(dim=1).tolist(), l2_size(delta).tolist(), queries, self._bytes(unit),
            self._attention(batch, x_adv),
            strict=True,
        )  # fmt: skip
        return [
            SampleRecord(
                trial_id=self.trial_id, weights_sha=self.victim.sha, task=self.images.name, split=self.images.split,
                sample_id=sample_id, condition=condition.name, attack_id=condition.attack_id, ran=condition.ran,
                stage=condition.stage, norm=condition.threat.norm, threat_space=self.space, eps=condition.threat.eps,
                label=label, pred=pred, correct=pred == label, p_max=p_max, entropy=entropy, margin=margin,
                linf=linf, l2=l2, queries=asked, embedding=embedding, attention=attention,
            )
            for sample_id, label, pred, p_max, entropy, margin, linf, l2, asked, embedding, attention in columns
        ]  # fmt: skip

    def _bytes(self, unit: Tensor) -> list[bytes]:
        """Return each row of ``unit`` [B, D] as a record carries it."""
        return packed(unit) if self.embeddings else [b""] * len(unit)

    def _attention(self, batch: Batch, x_adv: Tensor) -> list[bytes]:
        """Return what each record carries of the attention maps of ``x_adv``."""
        if self.looking is None:
            return [b""] * len(x_adv)
        return packed(self.looking.facts(x_adv, batch.x, batch.y, batch.rows.tolist()))

    def _answers(self, condition: Condition, batch: Batch, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """Return the deployed classifier's unit embeddings [B, D], and its logits [B, C] in double."""
        ids = self.ids(batch)
        with torch.no_grad():
            unit = self.victim.unit(
                x_adv, self.text, lambda: [generator(self.seed, "defence", condition.name, i) for i in ids]
            )
            logits = self.victim.classified(unit, self.text)
        finite = logits.isfinite().all(dim=1).cpu()
        if not finite.all():  # the largest of NaNs is class 0: a broken model would be right on that class
            name = ids[int((~finite).nonzero()[0])]
            task = f"task {self.images.name!r}, condition {condition.name!r}"
            raise ArithmeticError(f"{task}: the logits of {name} are not finite")
        return unit, logits.double()
