"""A tuned model under attack: per-sample records first, and from them every number with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zsr_core.attacks import AnyAttack, Attack, Pgd, Scored
from zsr_core.codec import require
from zsr_core.data import DataRef, ImageSet, Split, batches, open_data
from zsr_core.data.sets import SPLITS
from zsr_core.defences.defence import Defended
from zsr_core.records import SampleRecord
from zsr_core.rng import generator
from zsr_core.text import TextBank
from zsr_core.threat import Norm, PixelSpace, ThreatModel

ZERO_SHOT_MEAN = "zero_shot_mean"  # mean over every task but the training set
WORST = "worst"  # an image is robust if no attack breaks it


@dataclass(frozen=True, kw_only=True)
class EvalSuite:
    """What a trial is measured on: tasks x (clean + attacks x eps). ``eps`` in [0, 1] pixel units.

    ``split`` is "selection" wherever trials are compared to choose one, "report" for the chosen.
    ``n`` keeps so many images of each task, as ``DataRef.limit`` does. Attacks see the model's input: ``space`` says so
    in every record, and no other can be asked for.
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
        require(self.space == "model_input", "space", self.space, "'model_input': attacks see the model's input")
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


# () -> one generator per image
DrawsOf = Callable[[], "list[torch.Generator]"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Victim:
    """The classifier an attack faces: images in [0, 1] to zero-shot logits, in fp32, weights frozen, eval mode.

    Behind a test-time defence ``defended`` is what is deployed and judged. Attacks then climb ``embed``, unaware of
    it, or with ``attack_samples`` above 0 the mean over so many draws of the defence.
    """

    embed: Callable[[Tensor], Tensor]  # [B, 3, H, W] -> raw [B, D]
    scale: float
    sha: str
    bias: float = 0.0
    defended: Defended | None = None
    attack_samples: int = 0

    def logits(self, x: Tensor, text: TextBank, draws: DrawsOf | None = None) -> Tensor:
        """Return [B, C]; through the defence, if there is one, where ``draws()`` gives its randomness."""
        raw = self.embed(x) if self.defended is None or draws is None else self.defended(x, draws())
        unit = torch.nn.functional.normalize(raw.float(), dim=-1)
        return self.scale * unit @ text.unit.T + self.bias


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
) -> list[SampleRecord]:
    """Return one record per image and condition: "none" first, then each attack under each threat model.

    Only images that are right when clean are attacked; each attack drops an image the moment it falls. What an
    attack returns is projected and judged again here. Noise is drawn per (seed, attack, image), so a result depends
    neither on the batch size nor on which other images are present.

    Raises:
        ArithmeticError: naming task, condition and image, if logits are NaN or infinite.
    """
    rows = torch.arange(len(images.labels))
    facts = _Facts(trial_id=trial_id, victim=victim, images=images, space=threat_space)
    records: list[SampleRecord] = []
    right: list[Tensor] = []

    def defence_draws(seed: int, condition: str, index: Tensor) -> DrawsOf:
        return lambda: [generator(seed, "defence", condition, images.ids[i]) for i in index.tolist()]

    for x, y, index in batches(images, rows.split(batch_size), device):
        with torch.no_grad():
            logits = victim.logits(x, text, defence_draws(seed, "none", index))
        records += facts.records("none", ThreatModel(eps=0.0), index, y, logits, x, x, [1] * len(index))
        right.append(index[(logits.argmax(dim=1) == y).cpu()])
    standing = torch.cat(right)
    clean = {record.sample_id: record for record in records}
    for threat in threats:
        for attack in attacks:
            records += facts.wrong_when_clean(attack.name, threat, clean, standing)
            for x, y, index in batches(images, standing.split(batch_size), device):
                x_adv, queries = _strike(victim, text, attack, threat, x, y, [images.ids[i] for i in index], seed)
                with torch.no_grad():
                    logits = victim.logits(x_adv, text, defence_draws(seed, attack.name, index))
                records += facts.records(attack.name, threat, index, y, logits, x, x_adv, queries)
    return records


def _strike(
    victim: Victim,
    text: TextBank,
    attack: Attack,
    threat: ThreatModel,
    x: Tensor,
    y: Tensor,
    ids: list[str],
    seed: int,
) -> tuple[Tensor, list[int]]:
    """Run one attack on one batch; return images that lie inside the ball and the box, and forwards per image."""
    queries = torch.zeros(len(x), dtype=torch.int64)

    def loss_of(logits: Tensor, rows: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits, y[rows], reduction="none")

    def objective(x_adv: Tensor, rows: Tensor) -> Scored:
        queries.index_add_(0, rows.cpu(), torch.ones(len(rows), dtype=torch.int64))
        if victim.defended is None:
            logits = victim.logits(x_adv, text)
            return Scored(loss=loss_of(logits, rows), fooled=logits.detach().argmax(dim=1) != y[rows])
        # Fooling the bare model, or one draw of the defence, is no reason to stop.
        return Scored(loss=defended_loss(x_adv, rows), fooled=None)

    def defended_loss(x_adv: Tensor, rows: Tensor) -> Tensor:
        if victim.attack_samples == 0:
            return loss_of(victim.logits(x_adv, text), rows)
        named = [(ids[row], int(queries[row])) for row in rows.tolist()]

        def sample(k: int) -> DrawsOf:
            return lambda: [generator(seed, "defence", attack.name, i, q, k) for i, q in named]

        losses = [loss_of(victim.logits(x_adv, text, sample(k)), rows) for k in range(victim.attack_samples)]
        return torch.stack(losses).mean(dim=0)

    def draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
        return [generator(seed, "attack", attack.name, purpose, ids[row]) for row in rows.tolist()]

    x_adv = attack.run(objective, x, threat, draws)
    return threat.project(torch.where(x_adv.isfinite(), x_adv, x), x), queries.tolist()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Facts:
    trial_id: str
    victim: Victim
    images: ImageSet
    space: str

    def records(
        self,
        condition: str,
        threat: ThreatModel,
        rows: Tensor,
        y: Tensor,
        logits: Tensor,
        x: Tensor,
        x_adv: Tensor,
        queries: Sequence[int],
    ) -> list[SampleRecord]:
        finite = logits.isfinite().all(dim=1).cpu()
        if not finite.all():  # the largest of NaNs is class 0: a broken model would be right on that class
            name = self.images.ids[int(rows[~finite][0])]
            raise ArithmeticError(
                f"task {self.images.name!r}, condition {condition!r}: the logits of {name} are not finite"
            )
        logits = logits.double()
        p = logits.log_softmax(dim=1)
        own = logits.gather(1, y[:, None])
        others = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1, keepdim=True)
        delta = (x_adv - x).flatten(1)
        columns = zip(
            rows.tolist(), y.tolist(), logits.argmax(dim=1).tolist(), p.amax(dim=1).exp().tolist(),
            (-(p.exp() * p).sum(dim=1)).tolist(), (own - others)[:, 0].tolist(), delta.abs().amax(dim=1).tolist(),
            delta.norm(dim=1).tolist(), queries, strict=True,
        )  # fmt: skip
        return [
            self._record(condition, threat, row, label, pred, p_max, entropy, margin, linf, l2, q)
            for row, label, pred, p_max, entropy, margin, linf, l2, q in columns
        ]

    def _record(
        self,
        condition: str,
        threat: ThreatModel,
        row: int,
        label: int,
        pred: int,
        p_max: float,
        entropy: float,
        margin: float,
        linf: float,
        l2: float,
        queries: int,
    ) -> SampleRecord:
        return SampleRecord(
            trial_id=self.trial_id, weights_sha=self.victim.sha, task=self.images.name, split=self.images.split,
            sample_id=self.images.ids[row], condition=condition, norm=threat.norm, threat_space=self.space,
            eps=threat.eps, label=label, pred=pred, correct=pred == label, p_max=p_max, entropy=entropy,
            margin=margin, linf=linf, l2=l2, queries=queries,
        )  # fmt: skip

    def wrong_when_clean(
        self, condition: str, threat: ThreatModel, clean: dict[str, SampleRecord], standing: Tensor
    ) -> list[SampleRecord]:
        """Points already wrong are not attacked and count as broken (AutoAttack's convention)."""
        attacked = {self.images.ids[i] for i in standing.tolist()}
        return [
            self._record(condition, threat, row, r.label, r.pred, r.p_max, r.entropy, r.margin,
                         0.0, 0.0, 0)
            for row, r in ((row, clean[sample_id]) for row, sample_id in enumerate(self.images.ids))
            if r.sample_id not in attacked
        ]  # fmt: skip


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
) -> list[SampleRecord]:
    """Return the records of every task of the suite. ``progress`` gets (tasks done, tasks, name)."""
    records: list[SampleRecord] = []
    for i, ref in enumerate(suite.tasks):
        images = open_data(ref, suite.split, image_size, suite.n)
        records += predict(
            victim, images, banks(images), suite.attacks, suite.threats(), seed=seed, trial_id=trial_id,
            batch_size=suite.batch_size, device=device, threat_space=suite.space,
        )  # fmt: skip
        if progress is not None:
            progress(i + 1, len(suite.tasks), images.name)
    return records


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
    for name in ("weights_sha", "trial_id", "split", "threat_space"):
        values = {getattr(record, name) for record in records}
        require(
            len(values) == 1, name, sorted(values), "records of one trial, one checkpoint, one split, one pixel space"
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
    """95 % interval over images: Wilson for one proportion, the stratified normal one for a mean of several.

    A harmonic mean is no proportion of images: its interval is left open here; a bootstrap on the records gives it.
    """
    if metric == "harmonic":
        return None, None
    if len(parts) == 1:
        low, high = wilson(*parts[0])
    else:
        mean = sum(p for p, _ in parts) / len(parts)
        half = 1.959964 * math.sqrt(sum(p * (1 - p) / n for p, n in parts)) / len(parts)
        low, high = max(0.0, mean - half), min(1.0, mean + half)
    return 100 * low, 100 * high
