"""Images through a classifier, clean and under attack, to per-sample records: here alone success is judged."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event

import torch
from torch import Tensor

from zsr_core import threads
from zsr_core.attacks import Attack, Draws, Logits, Target
from zsr_core.codec import ConfigError, fingerprint, require, to_plain
from zsr_core.data import ImageSet, batches
from zsr_core.evaluation.journal import Journal, Progress, Tick
from zsr_core.evaluation.victim import DrawsOf, Victim
from zsr_core.records import SampleRecord
from zsr_core.rng import generator
from zsr_core.text import TextBank
from zsr_core.threat import Norm, ThreatModel, l2_size

# (attack, target, images [b, 3, H, W], threat model, draws, the images' ids) -> x_adv [b, 3, H, W]
RunAttack = Callable[[Attack, Target, Tensor, ThreatModel, Draws, Sequence[str]], Tensor]


def alone(attack: Attack, target: Target, x: Tensor, threat: ThreatModel, draws: Draws, ids: Sequence[str]) -> Tensor:
    """Return the images that the attack gives, as it runs when nobody watches it."""
    return attack.run(target, x, threat, draws)


def predict(
    victim: Victim,
    images: ImageSet,
    text: TextBank,
    attacks: Sequence[Attack],
    threats: Sequence[ThreatModel],
    *,
    seed: int = 0,
    trial_id: str = "",
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    threat_space: str = "model_input",
    journal: Journal | None = None,
    tick: Tick | None = None,
    run_attack: RunAttack = alone,
) -> list[SampleRecord]:
    """Return one record per image and condition: "none" first, then each attack under each threat model.

    Only images that are right when clean are attacked. An attack of several stages runs each on those that the
    stages before left standing, in full batches again; its record is of the stage that broke the image, else of the
    one that came nearest. What a stage returns is projected and judged again here. Noise is drawn per (seed, stage,
    image), so a result depends neither on the batch size nor on which other images are present. A randomised
    defence is judged by one draw per (seed, attack, image), the same for every stage.

    On CPU as many batches are worked on at a time as torch would use threads for one, and share ``batch_size`` among
    them: ``victim``, the attacks and ``run_attack`` are then called from several threads.

    Args:
        journal: where finished batches are kept; what is found there is not computed again.
        tick: called after every batch.
        run_attack: runs an attack on one batch, for instance to watch it.

    Raises:
        ConfigError: if there is no image, a label lies outside the classes, or text and images have other dimensions.
        ArithmeticError: naming task, condition and image, if logits are NaN or infinite.
    """
    # On CPU one for each thread that torch would use for a single one.
    abreast = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    run = _Run(
        victim=victim, images=images, text=text, seed=seed, trial_id=trial_id, batch_size=batch_size,
        device=torch.device(device), space=threat_space, journal=journal, tick=tick, abreast=abreast,
        run_attack=run_attack,
    )  # fmt: skip
    run.check()
    clean = run.clean(threats[0].norm if threats else "linf")
    records = list(clean)
    for threat in threats:
        for attack in attacks:
            records += run.under(attack, threat, clean)
    return records


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    victim: Victim
    images: ImageSet
    text: TextBank
    seed: int
    trial_id: str
    batch_size: int
    device: torch.device
    space: str
    journal: Journal | None
    tick: Tick | None
    abreast: int  # batches that are worked on at a time
    run_attack: RunAttack
    stop: Event = field(default_factory=Event)  # set: attacks that still run end at their next question

    def check(self) -> None:
        labels, classes = self.images.labels, len(self.text.classes)
        task = f"task {self.images.name!r}"
        require(len(labels) > 0, task, 0, "at least one image")
        require(classes >= 2, task, classes, "at least two classes: with one, every answer is right")
        ids, whole = self.images.ids, not labels.is_floating_point()
        require(whole, f"{task}: labels", str(labels.dtype), "whole numbers")
        require(len(ids) == len(labels), f"{task}: ids", len(ids), f"one for each of its {len(labels)} images")
        twice = next((name for name, times in Counter(ids).items() if times > 1), None)
        require(twice is None, f"{task}: ids", twice, "every image's own: records go by them")
        low, high = int(labels.min()), int(labels.max())
        require(low >= 0 and high < classes, f"{task}: labels", [low, high], f"labels of its {classes} classes, from 0")

    def _check_pixels(self, x: Tensor, rows: Tensor) -> None:
        flat = x.flatten(1)
        good = flat.isfinite().all(dim=1) & (flat.amin(dim=1) >= 0) & (flat.amax(dim=1) <= 1)
        if not good.all():
            name = self.images.ids[int(rows[~good.cpu()][0])]
            raise ConfigError(f"task {self.images.name!r}: the pixels of {name} are not numbers in [0, 1]")

    def clean(self, norm: Norm) -> list[SampleRecord]:
        """Return the records of the clean images, in the order of the set."""
        blank = _Condition(name="none", attack_id="", ran="", stage="", threat=ThreatModel(norm=norm, eps=0.0))

        def compute(x: Tensor, y: Tensor, rows: Tensor) -> list[SampleRecord]:
            return self._judge(blank, x, x, y, rows, [1] * len(rows))

        return list(self._over(blank, torch.arange(len(self.images.labels)), compute).values())

    def under(self, attack: Attack, threat: ThreatModel, clean: Sequence[SampleRecord]) -> list[SampleRecord]:
        """Return the records of one attack at one budget, in the order of the set."""
        stages = attack.stages(len(self.text.classes))
        whole = _Condition(
            name=attack.name, attack_id=fingerprint([to_plain(attack)], 8), ran="+".join(s.name for s in stages),
            stage="", threat=threat,
        )  # fmt: skip
        # Points already wrong are not attacked and count as broken (AutoAttack's convention).
        worst = {
            row: replace(
                r, condition=whole.name, attack_id=whole.attack_id, ran=whole.ran, norm=threat.norm, eps=threat.eps,
                linf=0.0, l2=0.0, queries=0,
            )
            for row, r in enumerate(clean)
            if not r.correct
        }  # fmt: skip
        standing = torch.tensor([row for row, r in enumerate(clean) if r.correct], dtype=torch.int64)
        ran: list[str] = []
        for stage in stages:
            part = replace(whole, stage=stage.name)
            found = self._over(part, standing, self._strike(part, stage), fingerprint([to_plain(stage)], 8))
            # A stage that finds nothing to climb in this model asks nothing, and is not said to have run.
            ran += [stage.name] if not found or any(record.queries for record in found.values()) else []
            for row, record in found.items():
                before = worst.get(row)
                queries = record.queries + (before.queries if before else 0)
                nearest = record if before is None or record.margin < before.margin or not record.correct else before
                worst[row] = replace(nearest, queries=queries)
            standing = torch.tensor([row for row in standing.tolist() if worst[row].correct], dtype=torch.int64)
        return [replace(worst[row], ran="+".join(ran)) for row in range(len(clean))]

    def _over(
        self,
        condition: _Condition,
        rows: Tensor,
        compute: Callable[[Tensor, Tensor, Tensor], list[SampleRecord]],
        stage_id: str = "",
    ) -> dict[int, SampleRecord]:
        """Return the record of each row: from the journal where it holds the batch, else computed and kept."""
        groups = self._groups(rows)
        keys = [self._key(condition, stage_id, group) for group in groups] if self.journal is not None else []
        known = [self.journal.recall(key) if self.journal is not None else None for key in keys] or [None] * len(groups)
        found: dict[int, SampleRecord] = {}
        with closing(self._computed([g for g, k in zip(groups, known, strict=True) if k is None], compute)) as missing:
            for i, group in enumerate(groups):
                records = known[i]
                if records is None:
                    records, seconds = next(missing)
                    if self.journal is not None and seconds >= self.journal.worth:
                        self.journal.keep(keys[i], records)
                found.update(zip(group.tolist(), (replace(r, trial_id=self.trial_id) for r in records), strict=True))
                self._say(condition, len(found), len(rows), known[i] is not None)
            next(missing, None)  # to its end: closed before, it would take itself for given up
        return found

    def _groups(self, rows: Tensor) -> list[Tensor]:
        """Return the rows in batches: of ``batch_size``, which threads that work side by side share among them."""
        most = min(self.batch_size, max(len(rows), 1))
        return [group for group in rows.split(math.ceil(most / self.abreast)) if len(group)]

    def _computed(
        self, groups: Sequence[Tensor], compute: Callable[[Tensor, Tensor, Tensor], list[SampleRecord]]
    ) -> Generator[tuple[list[SampleRecord], float], None, None]:
        """Yield the records of each group in turn, and the seconds that they took."""

        def work(batch: tuple[Tensor, Tensor, Tensor]) -> tuple[list[SampleRecord], float]:
            x, y, index = batch
            begun = time.perf_counter()
            self._check_pixels(x, index)
            records = compute(x, y, index)
            return records, time.perf_counter() - begun

        fed, abreast = batches(self.images, groups, self.device), min(self.abreast, len(groups))
        yield from threads.side_by_side(work, fed, abreast, self.stop) if abreast > 1 else map(work, fed)

    def _say(self, condition: _Condition, done: int, of: int, recalled: bool) -> None:
        if self.tick is not None:
            self.tick(
                Progress(
                    task=self.images.name, condition=condition.name, eps=condition.threat.eps, stage=condition.stage,
                    done=done, of=of, recalled=recalled,
                )
            )  # fmt: skip

    def _key(self, condition: _Condition, stage_id: str, rows: Tensor) -> str:
        """Hash of all that decides a batch's records, so that no stored one answers another question."""
        ids = [self.images.ids[i] for i in rows.tolist()]
        text = [self.text.key, self.text.unit.double().sum(dim=0).tolist()]
        images = [self.images.name, self.images.split, self.images.key, ids]
        threat = to_plain(condition.threat)
        about = [condition.name, condition.attack_id, condition.ran, stage_id]
        return fingerprint([self.victim.key, text, images, threat, about, self.space, self.seed], 24)

    def _strike(self, condition: _Condition, stage: Attack) -> Callable[[Tensor, Tensor, Tensor], list[SampleRecord]]:
        """Return what attacks one batch with one stage and judges what comes back."""

        def compute(x: Tensor, y: Tensor, rows: Tensor) -> list[SampleRecord]:
            ids = [self.images.ids[i] for i in rows.tolist()]
            queries = torch.zeros(len(x), dtype=torch.int64, device=x.device)
            target = self._target(stage, x, y, ids, queries)

            def draws(purpose: str, picked: Tensor) -> list[torch.Generator]:
                return [generator(self.seed, "attack", stage.name, purpose, ids[row]) for row in picked.tolist()]

            x_adv = self.run_attack(stage, target, x, condition.threat, draws, ids).detach()
            x_adv = condition.threat.project(torch.where(x_adv.isfinite(), x_adv, x), x)
            return self._judge(condition, x, x_adv, y, rows, queries.tolist())

        return compute

    def _target(self, stage: Attack, x: Tensor, y: Tensor, ids: list[str], queries: Tensor) -> Target:
        victim, text = self.victim, self.text

        def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
            if self.stop.is_set():
                raise CancelledError
            queries.index_add_(0, rows, torch.ones_like(rows))
            if victim.defended is None or victim.attack_samples == 0:
                return _attached(victim.logits(x_adv, text), x_adv)[None]
            named = [(ids[row], q) for row, q in zip(rows.tolist(), queries[rows].tolist(), strict=True)]

            def sample(k: int) -> DrawsOf:
                return lambda: [generator(self.seed, "defence", stage.name, i, q, k) for i, q in named]

            asked = [victim.logits(x_adv, text, sample(k)) for k in range(victim.attack_samples)]
            return torch.stack([_attached(logits, x_adv) for logits in asked])

        def unask(rows: Tensor, number: Tensor) -> None:
            queries.index_add_(0, rows, -number)

        def of_other(other: Victim) -> Logits:
            return lambda x_adv, rows: other.logits(x_adv, text)

        extra = victim.regulariser
        return Target(
            ask=ask, unask=unask, labels=y, classes=len(text.classes), room=math.ceil(self.batch_size / self.abreast),
            # Fooling the bare model, or one draw of the defence, is no reason to stop.
            certain=victim.defended is None,
            regulariser=None if extra is None else extra(x, y, text),
            others={name: of_other(other) for name, other in victim.others.items()},
        )  # fmt: skip

    def _judge(
        self, condition: _Condition, x: Tensor, x_adv: Tensor, y: Tensor, rows: Tensor, queries: Sequence[int]
    ) -> list[SampleRecord]:
        """Return what the deployed classifier says of these images; the defence's draw is the condition's own."""
        ids = [self.images.ids[i] for i in rows.tolist()]
        with torch.no_grad():
            logits = self.victim.logits(
                x_adv, self.text, lambda: [generator(self.seed, "defence", condition.name, i) for i in ids]
            )
        finite = logits.isfinite().all(dim=1).cpu()
        if not finite.all():  # the largest of NaNs is class 0: a broken model would be right on that class
            name = ids[int((~finite).nonzero()[0])]
            task = f"task {self.images.name!r}, condition {condition.name!r}"
            raise ArithmeticError(f"{task}: the logits of {name} are not finite")
        logits = logits.double()
        p = logits.log_softmax(dim=1)
        own = logits.gather(1, y[:, None])
        others = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1, keepdim=True)
        delta = x_adv - x
        columns = zip(
            ids, y.tolist(), logits.argmax(dim=1).tolist(), p.amax(dim=1).exp().tolist(),
            (-(p.exp() * p).sum(dim=1)).tolist(), (own - others)[:, 0].tolist(),
            delta.abs().flatten(1).amax(dim=1).tolist(), l2_size(delta).tolist(), queries, strict=True,
        )  # fmt: skip
        return [
            SampleRecord(
                trial_id=self.trial_id, weights_sha=self.victim.sha, task=self.images.name, split=self.images.split,
                sample_id=sample_id, condition=condition.name, attack_id=condition.attack_id, ran=condition.ran,
                stage=condition.stage, norm=condition.threat.norm, threat_space=self.space, eps=condition.threat.eps,
                label=label, pred=pred, correct=pred == label, p_max=p_max, entropy=entropy, margin=margin,
                linf=linf, l2=l2, queries=asked,
            )
            for sample_id, label, pred, p_max, entropy, margin, linf, l2, asked in columns
        ]  # fmt: skip


def _attached(logits: Tensor, x: Tensor) -> Tensor:
    """Return the same logits, reached from ``x`` by a gradient of 0 at least.

    A classifier that detaches its image gives attacks nothing to climb. That is the audit's to say (G03, G04), and no
    reason for an attack to stop.
    """
    return logits + 0 * x.flatten(1)[:, :1] if x.requires_grad else logits


@dataclass(frozen=True, kw_only=True)
class _Condition:
    name: str
    attack_id: str
    ran: str
    stage: str
    threat: ThreatModel
