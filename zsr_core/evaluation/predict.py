"""Images through a classifier, clean and under attack, to per-sample records."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event

import torch
from torch import Tensor

from zsr_core import threads
from zsr_core.attacks import Attack
from zsr_core.codec import fingerprint, to_plain
from zsr_core.data import ImageSet, batches
from zsr_core.evaluation.attacked import RunAttack, StageRun, alone, room
from zsr_core.evaluation.attention import Looking
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.judge import Batch, Condition, Judge, check_pixels, check_set
from zsr_core.evaluation.victim import Victim
from zsr_core.events import BatchJudged, OnEvent, ignore
from zsr_core.model.precision import AttackPrecision
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.threat import Norm, ThreatModel

Compute = Callable[[Batch], list[SampleRecord]]


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
    on_event: OnEvent = ignore,
    run_attack: RunAttack = alone,
    attack_precision: AttackPrecision = "fp32",
    embeddings: bool = False,
    looking: Looking | None = None,
) -> list[SampleRecord]:
    """Return one record per image and condition: "none" first, then each attack under each threat model.

    Only images that are right when clean are attacked. An attack of several stages runs each on those that the
    stages before left standing, in full batches again; its record is of the stage that broke the image, else of the
    one that came nearest. What a stage returns is projected and judged again here. Noise is drawn per (seed, stage,
    image), so a result depends neither on the batch size nor on which other images are present. A randomised
    defence is judged by one draw per (seed, attack, image), the same for every stage.

    On CPU as many batches run at a time as torch would use threads for one, and they share ``batch_size``: ``victim``,
    the attacks and ``run_attack`` are then called from several threads.

    Args:
        journal: where finished batches are kept; what is found there is not computed again.
        on_event: is called after every batch.
        run_attack: runs an attack on one batch, for instance to watch it.
        attack_precision: of the attacks' products on CUDA; what they give is judged in fp32.
        embeddings: whether the records carry the images' unit embeddings.
        looking: makes the attention maps whose facts the records carry.

    Raises:
        ConfigError: if there is no image, a label lies outside the classes, or text and images have other dimensions.
        ArithmeticError: naming task, condition and image, if logits are NaN or infinite.
    """
    check_set(images, len(text.classes))
    judge = Judge(
        victim=victim, images=images, text=text, seed=seed, trial_id=trial_id, space=threat_space,
        embeddings=embeddings, looking=looking,
    )  # fmt: skip
    where = torch.device(device)
    abreast = torch.get_num_threads() if where.type == "cpu" else 1
    run = _Run(
        judge=judge, batch_size=batch_size, device=where, journal=journal, on_event=on_event, abreast=abreast,
        run_attack=run_attack, precision=attack_precision,
    )  # fmt: skip
    clean = run.clean(threats[0].norm if threats else "linf")
    records = list(clean)
    for threat in threats:
        for attack in attacks:
            records += run.under(attack, threat, clean)
    return records


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One image set through every condition: stages in order, batches from the journal or computed."""

    judge: Judge
    batch_size: int
    device: torch.device
    journal: Journal | None
    on_event: OnEvent
    abreast: int  # batches that run at a time
    run_attack: RunAttack
    precision: AttackPrecision
    stop: Event = field(default_factory=Event)  # once it is set, running attacks end at their next question

    def clean(self, norm: Norm) -> list[SampleRecord]:
        """Return the records of the clean images, in the order of the set."""
        blank = Condition(name="none", attack_id="", ran="", stage="", threat=ThreatModel(norm=norm, eps=0.0))

        def compute(batch: Batch) -> list[SampleRecord]:
            return self.judge.records(blank, batch, batch.x, [1] * len(batch.rows))

        return list(self._over(blank, torch.arange(len(self.judge.images.labels)), compute).values())

    def under(self, attack: Attack, threat: ThreatModel, clean: Sequence[SampleRecord]) -> list[SampleRecord]:
        """Return the records of one attack at one budget, in the order of the set."""
        stages = attack.stages(len(self.judge.text.classes))
        whole = Condition(
            name=attack.name, attack_id=fingerprint([to_plain(attack)], 8), ran="+".join(s.name for s in stages),
            stage="", threat=threat,
        )  # fmt: skip
        # Images already wrong are not attacked and count as broken (AutoAttack's convention).
        worst = {row: _already_wrong(r, whole) for row, r in enumerate(clean) if not r.correct}
        standing = torch.tensor([row for row, r in enumerate(clean) if r.correct], dtype=torch.int64)
        ran: list[str] = []
        for stage in stages:
            records = self._stage(replace(whole, stage=stage.name), stage, standing)
            # A stage that finds nothing to climb in this model asks nothing, and is not listed as one that ran.
            ran += [stage.name] if not records or any(record.queries for record in records.values()) else []
            for row, record in records.items():
                worst[row] = _worse(worst.get(row), record)
            standing = torch.tensor([row for row in standing.tolist() if worst[row].correct], dtype=torch.int64)
        return [replace(worst[row], ran="+".join(ran)) for row in range(len(clean))]

    def _stage(self, condition: Condition, stage: Attack, standing: Tensor) -> dict[int, SampleRecord]:
        """Return the record of each row that was still standing before this stage."""
        attack = StageRun(
            stage=stage, condition=condition, judge=self.judge, room=room(self.batch_size, self.abreast),
            stop=self.stop, run_attack=self.run_attack, precision=self.precision,
        )  # fmt: skip
        return self._over(condition, standing, attack, fingerprint([to_plain(stage)], 8))

    def _over(
        self, condition: Condition, rows: Tensor, compute: Compute, stage_id: str = ""
    ) -> dict[int, SampleRecord]:
        """Return the record of each row: from the journal where it holds the batch, else computed and kept."""
        groups = self._groups(rows)
        keys = [self._key(condition, stage_id, group) for group in groups] if self.journal is not None else []
        known = [self.journal.recall(key) if self.journal is not None else None for key in keys] or [None] * len(groups)
        of_row: dict[int, SampleRecord] = {}
        with closing(self._computed([g for g, k in zip(groups, known, strict=True) if k is None], compute)) as missing:
            for i, group in enumerate(groups):
                records = known[i]
                if records is None:
                    records, seconds = next(missing)
                    if self.journal is not None and seconds >= self.journal.worth:
                        self.journal.keep(keys[i], records)
                own = (replace(r, trial_id=self.judge.trial_id) for r in records)
                of_row.update(zip(group.tolist(), own, strict=True))
                self._say(condition, len(of_row), len(rows), known[i] is not None)
            next(missing, None)  # run it to its end, because closing it earlier would set ``stop``
        return of_row

    def _groups(self, rows: Tensor) -> list[Tensor]:
        """Return the rows in batches: of ``batch_size``, which threads that work side by side share among them."""
        most = min(self.batch_size, max(len(rows), 1))
        return [group for group in rows.split(room(most, self.abreast)) if len(group)]

    def _computed(
        self, groups: Sequence[Tensor], compute: Compute
    ) -> Generator[tuple[list[SampleRecord], float], None, None]:
        """Yield the records of each group in turn, and the seconds that they took."""

        def work(loaded: tuple[Tensor, Tensor, Tensor]) -> tuple[list[SampleRecord], float]:
            batch, begun = Batch(*loaded), time.perf_counter()
            check_pixels(self.judge.images, batch)
            records = compute(batch)
            return records, time.perf_counter() - begun

        loaded = batches(self.judge.images, groups, self.device)
        abreast = min(self.abreast, len(groups))
        yield from threads.side_by_side(work, loaded, abreast, self.stop) if abreast > 1 else map(work, loaded)

    def _say(self, condition: Condition, done: int, of: int, recalled: bool) -> None:
        self.on_event(
            BatchJudged(
                task=self.judge.images.name, condition=condition.name, eps=condition.threat.eps,
                stage=condition.stage, done=done, of=of, recalled=recalled,
            )
        )  # fmt: skip

    def _key(self, condition: Condition, stage_id: str, rows: Tensor) -> str:
        """Return a hash of all that decides a batch's records, so that no stored one answers another question."""
        judge = self.judge
        ids = [judge.images.ids[i] for i in rows.tolist()]
        text = [judge.text.key, judge.text.unit.double().sum(dim=0).tolist()]
        images = [judge.images.name, judge.images.split, judge.images.key, ids]
        threat = to_plain(condition.threat)
        about = [condition.name, condition.attack_id, condition.ran, stage_id]
        about += [self.precision] if stage_id and self.precision != "fp32" else []
        asked = ["embeddings"] if judge.embeddings else []
        asked += ["attention"] if judge.looking is not None else []
        return fingerprint([judge.victim.key, text, images, threat, about, judge.space, judge.seed, *asked], 24)


def _already_wrong(clean: SampleRecord, condition: Condition) -> SampleRecord:
    """Return the record under an attack of an image that is wrong when clean."""
    return replace(
        clean, condition=condition.name, attack_id=condition.attack_id, ran=condition.ran, norm=condition.threat.norm,
        eps=condition.threat.eps, linf=0.0, l2=0.0, queries=0,
    )  # fmt: skip


def _worse(before: SampleRecord | None, record: SampleRecord) -> SampleRecord:
    """Return the record that describes an image after a further stage, with the queries of all stages so far."""
    if before is None:
        return record
    nearest = record if record.margin < before.margin or not record.correct else before
    return replace(nearest, queries=record.queries + before.queries)
