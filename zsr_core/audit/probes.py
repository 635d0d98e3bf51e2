"""What the audit measures of a classifier: its outputs, gradients and loss nearby, and attacks with one thing changed.

Every attack probe goes through ``predict``, as the evaluation's own attacks do: success is judged there, and every
figure is a group-by over records. Variants of one attack share its name, and with it their random starts, so that they
differ in one thing and compare image by image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import Attack, Draws, Loss, Target
from zsr_core.attacks.losses import cross_entropy, margin
from zsr_core.audit.rules import Feasibility, Gradients, Outputs, Repeats, Slopes
from zsr_core.data import ImageSet, batches
from zsr_core.data.open import taken
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.records import SampleRecord
from zsr_core.rng import generator
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel

PASSES = 5  # forward passes over the same images (AutoAttack's randomness check)
DIRECTIONS = 8  # half of them rough (a sign per pixel), half smooth: a detached mean is invisible to rough ones
NEARBY = 4  # more of them, at a random point of the ball: a classifier may mask wherever it sees a changed image
SLOPE_STEP = 1e-3  # in [0, 1] pixel units: a quarter of a grey level; the error of fp32 and of curvature balance here
NEAR = 100  # random points of the ball around an image (IndicatorsOfAttackFailure)
SURFACE_SIDE, SURFACE_IMAGES = 21, 8
NOISE_GAP = 1e-4  # of the logits' norm: closer answers are one answer in fp32 (AutoAttack's)

Autocast = Literal["none", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A classifier on labelled images at one budget: what every probe looks at. Images are in [0, 1]."""

    victim: Victim
    tasks: tuple[tuple[ImageSet, TextBank], ...]
    threat: ThreatModel
    seed: int = 0
    batch_size: int = 128
    device: torch.device | str = "cpu"
    autocast: Autocast = "none"  # the precision in which the number's attacks ran, where it was not fp32

    @property
    def n(self) -> int:
        return sum(len(images.labels) for images, _ in self.tasks)

    @property
    def numbers(self) -> int:
        """Numbers in one image, 3 H W, of the task that has the largest."""
        return max(images.pixels([0])[0].numel() for images, _ in self.tasks)

    def cut(self, n: int) -> Scene:
        """Return the scene with the first images of every task, as evenly as they come, at most ``n`` in all."""
        sizes = [len(images.labels) for images, _ in self.tasks]
        kept = [0] * len(sizes)
        for _ in range(min(n, sum(sizes))):
            least = min((i for i in range(len(sizes)) if kept[i] < sizes[i]), key=lambda i: kept[i])
            kept[least] += 1
        tasks = [(first(images, k), text) for (images, text), k in zip(self.tasks, kept, strict=True) if k]
        return replace(self, tasks=tuple(tasks))

    def keep(self, wanted: Collection[tuple[str, str]]) -> Scene:
        """Return the scene with the images of these (task, id) alone."""
        tasks = []
        for images, text in self.tasks:
            rows = [i for i, name in enumerate(images.ids) if (images.name, name) in wanted]
            if rows:
                tasks.append((taken(images, rows), text))
        return replace(self, tasks=tuple(tasks))

    def batches(self) -> Iterator[tuple[Tensor, Tensor, list[str], TextBank]]:
        """Yield images [b, 3, H, W], labels [b], their ids and their task's texts."""
        for images, text in self.tasks:
            rows = torch.arange(len(images.labels)).split(self.batch_size)
            for x, y, index in batches(images, list(rows), self.device):
                yield x, y, [images.ids[i] for i in index.tolist()], text


def first(images: ImageSet, n: int) -> ImageSet:
    """Return the first ``n`` images of a set, under their own names."""
    return images if n >= len(images.labels) else taken(images, range(n))


# --- the classifier -------------------------------------------------------------------------------------------------


@torch.no_grad()
def answers(scene: Scene) -> tuple[Outputs, Repeats]:
    """Return the range of the deployed classifier's outputs, and how far five passes over the same images differ.

    Every second pass sees the odd images of its batch and the even ones apart, so that what depends on the neighbours,
    be it on their order or on their mean, shows too. A defence draws anew in every pass.
    """
    low, high, sums, gap, changed = torch.inf, -torch.inf, 0.0, 0.0, 0
    for x, _, ids, text in scene.batches():
        passes = torch.stack([_deployed(scene, x, ids, text, k) for k in range(PASSES)])  # [5, b, C]
        low, high = min(low, float(passes.min())), max(high, float(passes.max()))
        sums = max(sums, float((passes[0].sum(dim=1) - 1).abs().max()))
        unit = F.normalize(passes.double(), dim=-1)
        gap = max(gap, float((unit - unit[0]).abs().max()))
        guesses = passes.argmax(dim=-1)
        changed += int((guesses != guesses[0]).any(dim=0).sum())
    eot = scene.victim.attack_samples if scene.victim.defended is not None else 0
    return (
        Outputs(low=low, high=high, sum_gap=sums, n=scene.n),
        Repeats(passes=PASSES, changed=changed, gap=gap, n=scene.n, eot=eot),
    )


def _deployed(scene: Scene, x: Tensor, ids: Sequence[str], text: TextBank, k: int) -> Tensor:
    rows = torch.arange(len(x), device=x.device)
    parts = [part for part in (rows[1::2], rows[::2]) if len(part)] if k % 2 else [rows]

    def asked(part: Tensor) -> Tensor:
        named = [ids[i] for i in part.tolist()]
        return scene.victim.logits(x[part], text, lambda: [generator(scene.seed, "audit", k, i) for i in named])

    return torch.cat([asked(part) for part in parts])[torch.cat(parts).argsort()]


def gradients(scene: Scene) -> Gradients:
    """Return how many images have no usable gradient of the summed cross-entropy, at the clean image, in fp32."""
    zero = broken = 0
    for x, y, _, text in scene.batches():
        grad = _gradient(scene, x, text, partial(_against, cross_entropy, y))
        flat = grad.flatten(1)
        finite = flat.isfinite().all(dim=1)
        broken += int((~finite).sum())
        zero += int((finite & (flat == 0).all(dim=1)).sum())
    return Gradients(zero=zero, non_finite=broken, n=scene.n)


def _against(loss: Loss, labels: Tensor, logits: Tensor) -> Tensor:
    return loss(logits, labels)


def _gradient(scene: Scene, x: Tensor, text: TextBank, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the input gradient [b, 3, H, W] of the summed loss of the network; zeros where nothing reaches it."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        total = loss(scene.victim.logits(x, text)).sum()
        if not total.requires_grad:
            return torch.zeros_like(x)
        (grad,) = torch.autograd.grad(total, x, allow_unused=True)
    return torch.zeros_like(x) if grad is None else grad


def slopes(scene: Scene) -> Slopes:
    """Return autograd's slopes against central differences along random directions, of the true logit above the mean.

    At the image, and at a random point of the ball around it, which is where attacks climb. Not of cross-entropy:
    where that is nearly 0, fp32 has no digits left to compare. An image without any gradient counts as wholly wrong.
    Pixels are kept a step inside the box, where clamping would bend the line.
    """
    errors: list[float] = []
    nearby: list[float] = []
    dead = 0
    for x, y, ids, text in scene.batches():
        near = scene.threat.random_start(x, [generator(scene.seed, "audit-slope-near", i) for i in ids])
        found, none = _slope_errors(scene, x, y, ids, text, DIRECTIONS)
        dead += none
        errors += found
        nearby += _slope_errors(scene, near, y, ids, text, NEARBY)[0]
    return Slopes(errors=() if dead == scene.n else tuple(errors), nearby=tuple(nearby), n=scene.n)


def _slope_errors(
    scene: Scene, x: Tensor, y: Tensor, ids: Sequence[str], text: TextBank, count: int
) -> tuple[list[float], int]:
    """Return the relative errors along ``count`` directions, and how many images have no gradient at all."""
    x = x.clamp(2 * SLOPE_STEP, 1 - 2 * SLOPE_STEP)
    grad = _gradient(scene, x, text, partial(_against, _height, y)).double()
    none = (grad == 0).flatten(1).all(dim=1)
    errors: list[float] = []
    for k in range(count):
        d = directions(x, [generator(scene.seed, "audit-slope", k, i) for i in ids], smooth=k % 2 == 1)
        with torch.no_grad():
            ends = [_height(scene.victim.logits(x + sign * SLOPE_STEP * d, text), y) for sign in (1, -1)]
        told = (grad * d).flatten(1).sum(dim=1)
        found = (ends[0] - ends[1]) / (2 * SLOPE_STEP)
        error = (told - found).abs() / torch.maximum(told.abs(), found.abs()).clamp(min=1e-30)
        errors += torch.where(none, torch.ones_like(error), error).tolist()
    return errors, int(none.sum())


def _height(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: the true logit above the mean of all, in double."""
    wide = logits.double()
    return wide.gather(1, labels[:, None])[:, 0] - wide.mean(dim=1)


def directions(x: Tensor, draws: Sequence[torch.Generator], *, smooth: bool) -> Tensor:
    """Return one direction per image, [b, 3, H, W] in [-1, 1]: random signs, or random blobs of a quarter's size."""
    size = (x.shape[1], 4, 4) if smooth else tuple(x.shape[1:])
    noise = torch.stack([torch.rand(size, generator=g, device=g.device) for g in draws]).to(x) * 2 - 1
    return F.interpolate(noise, x.shape[-2:], mode="bilinear") if smooth else noise.sign()


# --- the loss -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def roughness(scene: Scene) -> float:
    """Return the mean over images and random points of the ball of min(1, |l(x + d) - l(x)| / l(x)), l cross-entropy.

    IndicatorsOfAttackFailure (Pintor et al. 2022), "unstable predictions", at the radius of the threat model.
    """
    total = 0.0
    for x, y, ids, text in scene.batches():
        draws = [generator(scene.seed, "audit-near", i) for i in ids]
        still = cross_entropy(scene.victim.logits(x, text).double(), y)
        for _ in range(NEAR):
            moved = cross_entropy(scene.victim.logits(scene.threat.random_start(x, draws), text).double(), y)
            total += float(((moved - still).abs() / still.clamp(min=1e-30)).clamp(max=1).sum())
    return total / (NEAR * scene.n)


@dataclass(frozen=True, kw_only=True)
class SurfacePoint:
    """The margin loss of one image at ``x + a g + b r``: a, b in eps, g the gradient's sign, r random signs."""

    task: str
    sample_id: str
    a: float
    b: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The losses on the planes, and how far they stray from the tangent plane."""

    points: tuple[SurfacePoint, ...]
    error: float  # median over images of the largest gap within the ball, over the range of the loss there
    n: int


def surface(scene: Scene) -> Surface:
    """Return the loss on 21 x 21 points of the plane (gradient's sign, random signs), +-2 eps, of up to 8 images.

    The margin, not cross-entropy: it does not saturate. Pixels leave the box there: a plane has no box.
    """
    scene = scene.cut(SURFACE_IMAGES)
    ticks = torch.linspace(-2, 2, SURFACE_SIDE)
    points: list[SurfacePoint] = []
    errors: list[float] = []
    names = [(images.name, i) for images, _ in scene.tasks for i in images.ids]
    at = 0
    for x, y, ids, text in scene.batches():
        grad = _gradient(scene, x, text, partial(_against, margin, y))
        signs = directions(x, [generator(scene.seed, "audit-plane", i) for i in ids], smooth=False)
        for j in range(len(x)):
            plane = scene.threat.eps * torch.stack([grad[j].sign(), signs[j]])  # [2, 3, H, W]
            if scene.threat.norm == "l2":
                plane = plane / signs[j].numel() ** 0.5
            steps = torch.cartesian_prod(ticks, ticks).to(x)  # [441, 2]
            moves = torch.einsum("sk,kchw->schw", steps, plane)
            loss = _margins(scene, x[j] + moves, y[j], text)
            centre = loss[len(loss) // 2]
            straight = centre + (moves.double() * grad[j].double()).flatten(1).sum(dim=1)
            ball = steps.abs().amax(dim=1) <= 1
            span = float(loss[ball].max() - loss[ball].min())
            errors.append(float((loss - straight).abs()[ball].max()) / span if span > 0 else 0.0)
            task, sample = names[at]
            at += 1
            points += [
                SurfacePoint(task=task, sample_id=sample, a=float(a), b=float(b), loss=float(value))
                for (a, b), value in zip(steps.tolist(), loss.tolist(), strict=True)
            ]
    return Surface(points=tuple(points), error=float(torch.tensor(errors).median()), n=len(errors))


@torch.no_grad()
def _margins(scene: Scene, x: Tensor, label: Tensor, text: TextBank) -> Tensor:
    parts = [scene.victim.logits(part, text).double() for part in x.split(scene.batch_size)]
    logits = torch.cat(parts)
    return margin(logits, label.expand(len(logits)))


# --- attacks with one thing changed ---------------------------------------------------------------------------------


def under(
    scene: Scene, attack: Attack, threat: ThreatModel | None = None, *, side_by_side: bool = True
) -> list[SampleRecord]:
    """Return the records of every image of the scene, clean and under ``attack``."""
    records: list[SampleRecord] = []
    for images, text in scene.tasks:
        records += predict(
            scene.victim, images, text, [attack], [threat or scene.threat], seed=scene.seed,
            batch_size=scene.batch_size, device=scene.device, threat_space=scene.threat.space,
            side_by_side=side_by_side,
        )  # fmt: skip
    return records


@dataclass(frozen=True, kw_only=True)
class _Around(ABC):
    """A single-stage attack that is another one in other circumstances: it goes by that one's name."""

    of: Attack

    @property
    def name(self) -> str:
        return self.of.name

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        return self.of.cost(classes)

    @abstractmethod
    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return what the attack finds in these circumstances."""


@dataclass(frozen=True, kw_only=True)
class Tempered(_Around):
    """An attack on the logits divided by ``temperature``; predictions are the same, gradients need not be."""

    temperature: float

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return what the attack finds on z / T."""

        def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
            return target.ask(x_adv, rows) / self.temperature

        return self.of.run(replace(target, ask=ask), x, threat, draws)


@dataclass(frozen=True, kw_only=True)
class LowPrecision(_Around):
    """An attack whose model runs under autocast; what it returns is judged in fp32, like everything."""

    dtype: Literal["bfloat16", "float16"] = "bfloat16"

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return what the attack finds under autocast."""
        with torch.autocast(x.device.type, dtype=getattr(torch, self.dtype)):
            return self.of.run(target, x, threat, draws).float()


@dataclass(kw_only=True)
class Seen:
    """What was seen of one image under attack."""

    broken: bool = False  # at some point inside the ball that the attack asked about
    losses: list[float] = field(default_factory=list)  # cross-entropy, one per question
    outside: bool = False  # what came back, projected, has a pixel outside the box or is not finite
    lead: float = 0.0  # of the largest wrong logit, over the logits' norm, for what came back, asked again
    lead_rounded: float = 0.0  # the same with the image in 8 bits


class Log:
    """What a watched attack met, image by image in the order of the set; of a run, written as it goes."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []


@dataclass(frozen=True, kw_only=True)
class Watched(_Around):
    """A single-stage attack with someone looking on; it does what it would do alone."""

    @classmethod
    def by(cls, log: Log, of: Attack) -> Watched:
        """Return the attack, watched by ``log``, which is no part of its settings."""
        watched = cls(of=of)
        object.__setattr__(watched, "log", log)
        return watched

    def cost(self, classes: int) -> tuple[int, int]:
        forwards, backwards = self.of.cost(classes)
        return forwards + 2, backwards

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return what the attack finds, and log what happened on the way and how two more looks judge it."""
        seen = [Seen() for _ in range(len(x))]

        def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
            asked = target.ask(x_adv, rows)
            logits = asked.detach().mean(dim=0)
            labels = target.labels[rows]
            wrong = (logits.argmax(dim=1) != labels) & threat.contains(x_adv.detach(), x[rows])
            for row, broken, loss in zip(
                rows.tolist(), wrong.tolist(), cross_entropy(logits, labels).tolist(), strict=True
            ):
                seen[row].broken |= broken
                seen[row].losses.append(loss)
            return asked

        found = self.of.run(replace(target, ask=ask, room=1), x, threat, draws).detach()  # one try after the other
        judged = threat.project(torch.where(found.isfinite(), found, x), x)
        boxed = ((judged >= 0) & (judged <= 1)).flatten(1).all(dim=1)
        eight_bits = (judged * 255).round() / 255
        looks = [_leads(target, image) for image in (judged, eight_bits)]
        for row, inside, lead, rounded in zip(seen, boxed.tolist(), *looks, strict=True):
            row.outside, row.lead, row.lead_rounded = not inside, lead, rounded
        log: Log = vars(self)["log"]
        log.seen += seen
        return found


@torch.no_grad()
def _leads(target: Target, x: Tensor) -> list[float]:
    """Return by how much each image is lost (above 0) or held, over its logits' norm, asked in reverse order."""
    rows = torch.arange(len(x), device=x.device).flip(0)
    logits = target.logits(x[rows], rows)
    leads = margin(logits, target.labels[rows]) / logits.norm(dim=1).clamp(min=1e-30)
    return [float(lead) for lead in leads.flip(0)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Watching:
    """An attack that was watched: its records, and what was seen of each image that it faced."""

    records: tuple[SampleRecord, ...]
    faced: tuple[tuple[SampleRecord, Seen], ...]

    @property
    def silent(self) -> int:
        """Images broken on the way that stand at the end."""
        return sum(record.correct and seen.broken for record, seen in self.faced)

    @property
    def moving(self) -> float:
        """The share of standing images whose best loss, rescaled to its range, rose by over 0.05 in the last 10."""
        standing = [seen.losses for record, seen in self.faced if record.correct]
        return sum(still_moving(losses) for losses in standing) / len(standing) if standing else 0.0

    def feasibility(self, threat: ThreatModel, n: int) -> Feasibility:
        """Return how the images that were judged look on a second look; ``n`` images in all."""
        sizes = [r.linf if threat.norm == "linf" else r.l2 for r, _ in self.faced]
        # Closer to the boundary than fp32 resolves, two passes over other batches may differ.
        changed = [abs(s.lead) > NOISE_GAP and (s.lead > 0) == r.correct for r, s in self.faced]
        before, after = (sum(lead <= 0 for lead in leads) for leads in zip(*self._leads(), strict=True))
        return Feasibility(
            n=n, excess=max(sizes, default=0.0) - threat.eps, outside=sum(s.outside for _, s in self.faced),
            changed=sum(changed), rounded=100 * (after - before) / n,
        )  # fmt: skip

    def _leads(self) -> list[tuple[float, float]]:
        return [(seen.lead, seen.lead_rounded) for _, seen in self.faced] or [(1.0, 1.0)]


def still_moving(losses: Sequence[float], last: int = 10) -> bool:
    """Return whether the best loss so far, rescaled to its own range, rose by over 0.05 in the ``last`` steps."""
    best = torch.tensor(losses).cummax(dim=0).values
    span = float(best[-1] - min(losses))
    return len(losses) > last and span > 0 and float(best[-1] - best[-1 - last]) > 0.05 * span


def watch(scene: Scene, attack: Attack, threat: ThreatModel | None = None) -> Watching:
    """Return a single-stage ``attack`` on the scene, watched."""
    log = Log()
    # The log has to be in the order of the images.
    records = under(scene, Watched.by(log, attack), threat, side_by_side=False)
    clean = {(r.task, r.sample_id): r.correct for r in records if r.condition == "none"}
    attacked = [r for r in records if r.condition != "none" and clean[r.task, r.sample_id]]
    return Watching(records=tuple(records), faced=tuple(zip(attacked, log.seen, strict=True)))


def ball_of(threat: ThreatModel, share: float, numbers: int) -> ThreatModel:
    """Return the ball that holds every image within ``share`` of a pixel's range: for l2 its corner's distance."""
    eps = share if threat.norm == "linf" else share * numbers**0.5
    return replace(threat, eps=eps)


def largest_class(scene: Scene) -> float:
    """Return the most images, in percent, that one answer per task can get right: what stands where all is grey."""
    most = sum(int(images.labels.bincount().max()) for images, _ in scene.tasks)
    return 100 * most / scene.n


def disagreeing(scene: Scene, records: Mapping[tuple[str, str], SampleRecord]) -> tuple[int, int]:
    """Return (how many images the classifier answers otherwise than their clean records say, of how many)."""
    differ = of = 0
    for r in under_none(scene):
        stored = records.get((r.task, r.sample_id))
        if stored is not None:
            of += 1
            differ += stored.pred != r.pred and max(abs(stored.margin), abs(r.margin)) > 1e-3
    return differ, of


def under_none(scene: Scene) -> list[SampleRecord]:
    """Return the clean records of every image of the scene."""
    records: list[SampleRecord] = []
    for images, text in scene.tasks:
        records += predict(
            scene.victim, images, text, [], [], seed=scene.seed, batch_size=scene.batch_size, device=scene.device
        )
    return records
