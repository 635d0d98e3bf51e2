"""What a trial will cost, in passes of the image encoder and in seconds, counted before anything starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from zsr_core.codec import require
from zsr_core.data import set_size
from zsr_core.data.shifts.names import CORRUPTION, is_shift
from zsr_core.evaluation.embeddings import kept_bytes
from zsr_core.evaluation.meter import Part, attacked_parts
from zsr_core.evaluation.outside import part_name
from zsr_core.evaluation.shifted import shifted_images
from zsr_core.evaluation.suite import fitting_set
from zsr_core.model.load import image_size_of, shapes_model
from zsr_core.trial.cards import Card
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.detecting import detection_parts
from zsr_core.trial.retrieving import retrieval_bytes, retrieval_parts


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a trial will cost, counted before it starts. Attack costs are for images that never fall: an upper bound."""

    images: int  # training images an epoch
    steps: int
    passes_forward: float  # encoder passes over one image
    passes_input_backward: float
    passes_full_backward: float
    gflop_per_forward: float  # of one image
    seconds: float  # on this machine, at its measured fp32 matmul rate
    absent: tuple[str, ...] = ()  # sets that are not here and were counted by their published size
    embedding_bytes: int = 0  # of the embeddings that are kept on disk, before compression
    forwards_in: Mapping[str, float] = field(default_factory=dict)  # ``forwards`` by the precision of a GPU's products
    batches: float = 0.0  # passes over a batch, forward or backward
    text_forwards: float = 0.0  # of a text tower that is tuned, in units of one forward of the image tower

    @property
    def forwards(self) -> float:
        """All passes in units of one forward: an input-only backward costs 1, a full one 2."""
        own = self.passes_forward + self.passes_input_backward + 2 * self.passes_full_backward
        return own + self.text_forwards

    def seconds_at(self, gflops: float) -> float:
        """Return the trial's seconds on a machine of so many fp32 GFLOP/s, of which it reaches :data:`EFFICIENCY`."""
        return self.forwards * self.gflop_per_forward / (gflops * EFFICIENCY)

    def seconds_on(self, card: Card) -> float:
        """Return the trial's seconds on one such card, by the table's rates."""
        gflop = {name: n * self.gflop_per_forward for name, n in self.forwards_in.items()}
        return card.seconds(gflop, self.batches)


def evaluation_parts(config: TrialConfig) -> tuple[Part, ...]:
    """Return what the evaluation will do, in its order. Opens the data to count images; those that fall cost less.

    A public set that is not here is counted by its published size.
    """
    parts: list[Part] = []
    clean: list[Part] = []
    size = image_size_of(config.model)
    outside = _outside_parts(config, size)
    for task in config.eval_suite.tasks:
        counted = set_size(task, config.eval_suite.split, size, config.eval_suite.n, trained_on=config.train_data)
        n, classes = counted.images, counted.classes
        require(classes >= 2, f"task {task.called!r}", classes, "at least two classes: with one, every answer is right")
        blank = Part(
            task=task.called, condition="none", eps=0.0, stage="", images=n, forwards=1, backwards=0,
            published=counted.published, looks=MAP_PASSES if config.eval_suite.attention else 0,
        )  # fmt: skip
        parts += [blank, *attacked_parts(blank, config.eval_suite.attacks, config.eval_suite.eps, classes)]
        parts += () if clean else outside  # once, with the first task
        plain = replace(blank, looks=0)
        parts += _detector_parts(config, plain, outside)
        clean.append(plain)
    return (*parts, *_shifted_parts(config, clean), *retrieval_parts(config), *detection_parts(config))


def _shifted_parts(config: TrialConfig, clean: Sequence[Part]) -> list[Part]:
    """Return what corruptions and factors add; under corruptions the untouched model is judged too."""
    suite = config.eval_suite
    return [
        replace(part, condition=name, images=n * (1 + int(name == CORRUPTION and _has_other_untouched(config))))
        for task, part in zip(suite.tasks, clean, strict=True)
        for name, n in shifted_images(suite, part.images, task).items()
    ]


def _has_other_untouched(config: TrialConfig) -> bool:
    """Return whether the untouched model is another one than the model that is measured."""
    return (
        config.epochs > 0 or config.defence is not None or None not in (config.model.pretrained, config.model.text_from)
    )


def _outside_parts(config: TrialConfig, size: int) -> list[Part]:
    """Return the passes that encode out-of-distribution images without an attack."""
    suite, parts = config.eval_suite, []
    for ref in suite.measured_ood:
        counted = set_size(ref, suite.split, size, suite.n, trained_on=config.train_data)
        parts.append(Part(task=ref.called, condition="none", eps=0.0, stage="", images=counted.images, forwards=1,
                          backwards=0, published=counted.published))  # fmt: skip
    return parts


def _detector_parts(config: TrialConfig, own: Part, outside: Sequence[Part]) -> list[Part]:
    """Return the attacks on the detector of one task, whose clean part is ``own``: on its images, then on each set."""
    suite = config.eval_suite
    sides = [own, *(replace(part, task=part_name(own.task, part.task)) for part in outside)] if outside else []
    conditions = [(eps, attack, attack.cost(2)) for eps in suite.eps for attack in suite.ood_attacks]
    return [
        replace(part, condition=attack.name, eps=eps, stage=attack.name, forwards=forwards + 1, backwards=backwards)
        for part in sides
        for eps, attack, (forwards, backwards) in conditions
    ]


def estimate(config: TrialConfig) -> Estimate:
    """Return the trial's cost. Opens the data to count images; builds the model without weights; starts nothing.

    A public set that is not here is counted by its published size, and named in ``absent``.
    """
    model = shapes_model(config.model.name)
    size = image_size_of(config.model)
    trained = set_size(config.train_data, "train", size) if config.epochs else None
    n = trained.images if trained is not None else 0
    absent = [config.train_data.called] if trained is not None and trained.published else []
    forwards, input_backwards = _attack_passes(config)
    reads = config.method.passes
    attacked = int(bool(reads.student_adv or reads.teacher_adv))
    student = reads.student_clean + reads.student_adv
    seen = float(n * config.epochs)
    frozen = (n if config.method.teacher_cacheable else seen) * reads.teacher_clean if config.epochs else 0
    fwd = seen * (attacked * forwards + reads.attack_clean + student + reads.teacher_adv) + frozen
    back_in, back_full = seen * attacked * input_backwards, seen * student
    parts, fitted = evaluation_parts(config), _fitting_images(config, size)
    trained_in: dict[str, float] = {
        config.attack_precision: seen * (attacked * (forwards + input_backwards) + reads.attack_clean),
    }
    rest = seen * (3 * student + reads.teacher_adv) + frozen
    trained_in[config.precision] = trained_in.get(config.precision, 0.0) + rest
    passes = seen * (attacked * (forwards + input_backwards) + reads.attack_clean + 2 * student + reads.teacher_adv)
    batches = (passes + frozen) / config.batch_size
    fwd += fitted
    for part in parts:
        absent += [part.task] if part.published else []
        fwd += part.images * (part.forwards + part.looks)
        back_in += part.images * part.backwards
        batches += -(-part.images // config.eval_suite.batch_size) * part.passes
    gflop, width = forward_cost(model.visual, size)
    captions = 3 * seen * reads.student_text * (_text_cost(model) / gflop if reads.student_text else 0.0)
    trained_in[config.precision] += captions
    cost = Estimate(
        images=n, steps=-(-n // config.batch_size) * config.epochs, passes_forward=fwd,
        passes_input_backward=back_in, passes_full_backward=back_full, gflop_per_forward=gflop, seconds=0.0,
        absent=tuple(dict.fromkeys(absent)),
        embedding_bytes=_embedding_bytes(config, size, parts, fitted, width) + retrieval_bytes(config, width),
        forwards_in=_added(trained_in, _evaluated_in(config, parts, fitted)), batches=batches,
        text_forwards=captions,
    )  # fmt: skip
    return replace(cost, seconds=cost.seconds_at(_machine_gflops()))


def _evaluated_in(config: TrialConfig, parts: Iterable[Part], fitted: int) -> dict[str, float]:
    """Return an evaluation's passes by precision: attacks are judged, images encoded, and maps made in fp32."""
    judged = attacking = 0.0
    for part in parts:
        own = 1 if part.eps else part.forwards  # the last forward of an attack judges it
        judged += part.images * (own + part.looks)
        attacking += part.images * (part.forwards - own + part.backwards)
    return _added({"fp32": judged + fitted}, {config.eval_suite.attack_precision: attacking})


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in (*one, *other)}


def _attack_passes(config: TrialConfig) -> tuple[int, int]:
    """Return (forwards, backwards) of one training attack on an image, whatever it moves."""
    moved = config.perturbation
    if moved is None:
        return config.train_attack.cost()
    return {"none": (0, 0), "token": (moved.steps, moved.steps), "embedding": (1, 0)}[moved.site]


class _Untracked(ModuleTracker):
    """Stands for the counter's tracker of modules, which hooks every module of the process.

    Costs are estimated while a trial runs in another thread, and such a hook stops the trial's attack with an error.
    """

    def __enter__(self) -> _Untracked:
        return self

    def __exit__(self, *error: object) -> None:
        return None


def forward_cost(visual: torch.nn.Module, size: int) -> tuple[float, int]:
    """Return the GFLOP of one image's forward through a module on the meta device, and the width of what it gives."""
    gflop, embedding = _counted(lambda: visual(torch.empty(1, 3, size, size, device="meta")))
    return gflop, int(embedding.shape[-1])


def _text_cost(model: Any) -> float:
    """Return the GFLOP of one text's forward through a model on the meta device."""
    tokens = torch.zeros(1, model.context_length, dtype=torch.int64, device="meta")
    return _counted(lambda: model.encode_text(tokens))[0]


def _counted(forward: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the GFLOP of a forward on the meta device, and what it gives."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Untracked()
    with counter, torch.no_grad():
        embedding = forward()
    return counter.get_total_flops() / 1e9, embedding


def _fitting_images(config: TrialConfig, size: int) -> int:
    """Return how many images beyond the suite's are encoded, to fit a temperature on."""
    suite = config.eval_suite
    extra = fitting_set(suite, config.train_data)
    if extra is None:
        return 0
    return set_size(extra, "selection", size, suite.n, trained_on=config.train_data).images


def _embedding_bytes(config: TrialConfig, size: int, parts: Sequence[Part], fitted: int, width: int) -> int:
    suite = config.eval_suite
    if not suite.keeps_embeddings:
        return 0
    captions = {ref.called for ref in suite.retrieval.sets} if suite.retrieval else set()
    own = [part for part in parts if part.task not in captions and not is_shift(part.condition)]
    conditions = {(part.task, part.condition, part.eps): part.images for part in own}
    sizes = (set_size(t, suite.split, size, suite.n, trained_on=config.train_data).classes for t in suite.tasks)
    return kept_bytes(sum(conditions.values()) + fitted, sum(sizes), width)


MAP_PASSES = 2  # at most, of an image's attention maps; under attack the clean image's maps are made again
# Share of the matmul rate that a whole trial reaches; measured on the miniature (small matrices) and on ViT-B/32.
EFFICIENCY = 0.35


@lru_cache(maxsize=1)
def _machine_gflops(seconds: float = 0.2) -> float:
    """fp32 matmul rate of one CPU thread's share, or of the GPU where there is one, in GFLOP/s, once it is warm."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = 12_800 if device == "cuda" else 1024  # enough for a GPU to be busy much longer than the host waits for it
    a = torch.randn(rows, 768, device=device)
    b = torch.randn(768, 768, device=device)
    for _ in range(3):  # picks kernels, and wakes the clock of a GPU
        (a @ b).sum().item()
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        (a @ b).sum().item()
        done += 1
    return done * 2 * rows * 768 * 768 / (time.perf_counter() - begun) / 1e9
