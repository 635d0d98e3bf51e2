"""A tuned model under attack: per-sample records first, and from them every number with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, get_args

import torch

from zsr_core.attacks import AnyAttack, Attack, Detector, Pgd
from zsr_core.codec import LATER, require, unknown
from zsr_core.data import DataRef, ImageSet, Split, open_data
from zsr_core.data.open import taken
from zsr_core.data.partition import SPLITS
from zsr_core.data.ref import RESERVED, check_names, overlap, same_set
from zsr_core.data.shifts.factored import factors_of
from zsr_core.data.shifts.kinds import cells_of, generated
from zsr_core.evaluation.attention import Looking
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.metrics.outside import slug
from zsr_core.evaluation.outside import Outside, attacked_records, clean_records, unlabelled
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.evaluation.scenes.suite import DetectionSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.events import OnEvent, TaskEnded, ignore
from zsr_core.model.precision import AttackPrecision
from zsr_core.names import OodKind
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
    "report" is what is not selected by, that is the splits "report" and "all". ``retrieval`` asks for image-text
    retrieval on the same split, attacked at the same budgets; None asks for none.
    ``detection`` asks for zero-shot detection by crops on the same split, under the same attacks at the same budgets.
    With ``attention`` each record also keeps what the attention maps of its image look at, which takes up to four more
    passes per record.

    ``ood_near`` and ``ood_far`` are sets of out-of-distribution images, near the tasks' or far from them. They have no
    labels, and are encoded where embeddings are kept: without those there is nothing to measure on them.
    ``ood_attacks`` attack a detector at every budget, on the tasks' images and on the sets'.
    ``corruptions`` names kinds of corruptions of the clean images (:func:`zsr_core.data.shifts.kinds.cells_of`),
    ``factors`` visual factors of the miniature's sets, and ``annotations`` a file that says which images of the other
    sets show which factor. None of them counts in a clean or robust number.
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
    ood_near: tuple[DataRef, ...] = field(default=(), metadata=LATER)
    ood_far: tuple[DataRef, ...] = field(default=(), metadata=LATER)
    ood_attacks: tuple[Detector, ...] = field(default=(), metadata=LATER)
    corruptions: tuple[str, ...] = field(default=(), metadata=LATER)
    factors: tuple[str, ...] = field(default=(), metadata=LATER)
    annotations: str | None = field(default=None, metadata=LATER)
    retrieval: RetrievalSuite | None = field(default=None, metadata=LATER)
    attention: bool = field(default=False, metadata=LATER)
    detection: DetectionSuite | None = field(default=None, metadata=LATER)

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
        if self.retrieval is not None:
            require(self.space == "model_input", "space", self.space, "'model_input', which retrieval attacks")
            names = [ref.called for ref in self.retrieval.sets]
            twice = [name for name in names if name in (*RESERVED, *(task.called for task in self.tasks))]
            require(not twice, "retrieval.sets", twice, "names that no task of the suite has")
        if self.detection is not None:
            self._check_detection(self.detection)
        for threat in self.threats():
            require(threat.eps > 0, "eps", threat.eps, "a budget above 0")
        self._check_outside()
        self._check_shifts()

    def _check_detection(self, detection: DetectionSuite) -> None:
        """Raise ``ConfigError`` for scenes whose name is taken, or a budget on other pixels than the crops'."""
        require(self.space == "model_input", "space", self.space, "'model_input', in which crops are attacked")
        captions = [] if self.retrieval is None else [ref.called for ref in self.retrieval.sets]
        names = (*RESERVED, *(task.called for task in self.tasks), *captions)
        expected = "a name that no task and no set of captions has"
        require(detection.name not in names, "detection.name", detection.name, expected)

    def _check_outside(self) -> None:
        """Raise ``ConfigError`` for sets that cannot be in and out of distribution as the fields say."""
        for i, task in enumerate(self.tasks):
            require(task.outside is None, f"tasks[{i}]", task.called, "a set with classes; this one goes into ood_*")
        names = [slug(ref.called) for ref in self.ood]
        for field_of, refs in (("ood_near", self.ood_near), ("ood_far", self.ood_far)):
            for i, ref in enumerate(refs):
                path = f"{field_of}[{i}]"
                require(ref.called not in {t.called for t in self.tasks}, path, ref.called, "a name that no task has")
                require(names.count(slug(ref.called)) == 1, path, ref.called, "every out-of-distribution set once")
                same = next((task.called for task in self.tasks if overlap(ref, task)), None)
                require(same is None, path, ref.called, f"images that are not in the task {same}")
        expected = "'model_input' with out-of-distribution sets, whose images have no one native size"
        require(self.space == "model_input" or not self.ood, "space", self.space, expected)
        listed = [attack.name for attack in (*self.attacks, *self.ood_attacks)]
        require(len(set(listed)) == len(listed), "ood_attacks", listed, "attacks of different names")
        possible = bool(self.ood and self.attacks and self.eps) or not self.ood_attacks
        expected = "none without a set in ood_near or ood_far, an attack on the classifier and a budget"
        require(possible, "ood_attacks", [attack.name for attack in self.ood_attacks], expected)

    @property
    def ood(self) -> tuple[DataRef, ...]:
        """The sets of out-of-distribution images, near ones first."""
        return (*self.ood_near, *self.ood_far)

    @property
    def kinds(self) -> tuple[OodKind, ...]:
        """The kind of each set of :attr:`ood`."""
        near: list[OodKind] = ["near" for _ in self.ood_near]
        far: list[OodKind] = ["far" for _ in self.ood_far]
        return (*near, *far)

    @property
    def measured_ood(self) -> tuple[DataRef, ...]:
        """Those sets of :attr:`ood` that are encoded: all where embeddings are kept, else none."""
        return self.ood if self.keeps_embeddings else ()

    def _check_shifts(self) -> None:
        """Raise ``ConfigError`` for corruptions and factors that the tasks cannot have."""
        read = [cell.kind for cell in cells_of(self.corruptions) if not generated(cell)]
        without = [task.called for task in self.tasks if task.corrupted is None]
        expected = f"'corrupted', a folder of such images, of every task: {', '.join(without[:3])} has none"
        require(not read or not without, "corruptions", read[:1], expected)
        of_miniature = any(task.source == "miniature" for task in self.tasks)
        require(not factors_of(self.factors) or of_miniature, "factors", self.factors, "a task of the miniature")
        both = bool(self.factors) and self.annotations is not None
        require(not both, "annotations", self.annotations, "none where factors are named")

    @property
    def profiles(self) -> bool:
        """Whether visual factors are measured."""
        return bool(self.factors) or self.annotations is not None

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
    suite has them already: a temperature is fitted on them. Then those of out-of-distribution detection follow, of
    :mod:`zsr_core.evaluation.outside`. Only the field ``split`` tells both from the others.

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

    def opened(ref: DataRef, split: Split) -> ImageSet:
        """Return this shard's images, which are none where a set has fewer than there are shards."""
        images = open_data(ref, split, image_size, suite.n, space=suite.space, trained_on=trained_on)
        return taken(images, range(k, len(images.labels), of)) if of > 1 else images

    def look(images: ImageSet, bank: TextBank) -> Looking | None:
        if not suite.attention or victim.features is None or not_banks is None:
            return None
        return Looking(features=victim.features, text=bank, rest=not_banks(images), masks=images.masks)

    def run(
        images: ImageSet, bank: TextBank, attacks: Sequence[Attack], told: OnEvent, looking: Looking | None = None
    ) -> list[SampleRecord]:
        if of > 1 and len(images.labels) == 0:
            return []
        return predict(
            victim, images, bank, attacks, suite.threats(), seed=seed, trial_id=trial_id,
            batch_size=suite.batch_size, device=device, threat_space=suite.space, journal=journal, on_event=told,
            embeddings=suite.keeps_embeddings,
            attack_precision=suite.attack_precision, looking=looking,
        )  # fmt: skip

    outside = zip(suite.kinds, suite.ood, strict=True) if suite.keeps_embeddings else ()
    sets = [Outside(kind=kind, images=unlabelled(opened(ref, suite.split))) for kind, ref in outside]
    records: list[SampleRecord] = []
    detected: list[SampleRecord] = []
    for i, ref in enumerate(suite.tasks):
        images = opened(ref, suite.split)
        bank = banks(images)
        own = run(images, bank, suite.attacks, on_event, look(images, bank))
        records += own
        if i == 0:
            detected += clean_records(sets, bank, run, on_event)
        if sets and suite.ood_attacks:
            preds = [record.pred for record in own if record.condition == "none"]
            detected += attacked_records(images, preds, sets, bank, suite.ood_attacks, run, on_event)
        on_event(TaskEnded(task=ref.called, done=i + 1, of=len(suite.tasks)))
    extra = fitting_set(suite, trained_on)
    if extra is not None:
        fitted = opened(extra, "selection")
        records += run(fitted, banks(fitted), (), ignore)
    return records + detected


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
