"""The training loop: one for all methods; it names none of them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import repeat
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from zsr_core.attacks import Pgd, Scored
from zsr_core.codec import require
from zsr_core.data import ImageSet
from zsr_core.events import EpochEnded, OnEvent, ignore
from zsr_core.methods import Method
from zsr_core.methods.views import Views, in_bf16, no_prompts
from zsr_core.model.distributed import ALONE, World, shared
from zsr_core.model.layout import Features
from zsr_core.model.load import Clip, towers_sha
from zsr_core.model.precision import TrainAttackPrecision, products_in
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower, frozen
from zsr_core.rng import generator
from zsr_core.text import TextBank, encode_classes, encode_prompt
from zsr_core.threat import ThreatModel
from zsr_core.training.captions import Captioner, captioner_of
from zsr_core.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from zsr_core.training.memory import Room, in_pieces
from zsr_core.training.optim import Optim, build_optimiser
from zsr_core.training.pauses import Partial, Pauses, TrainingStopped
from zsr_core.training.perturbation import Perturbation, climbed
from zsr_core.training.reading import accuracies, seen_by_teacher, whole_batches
from zsr_core.training.teacher_cache import TeacherCache, teacher_cache


class NonFinite(ArithmeticError):
    """A loss term became NaN or infinite: the message names the step and the term."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What ``fit`` needs to know beside the method: the part of a trial's config that shapes training."""

    optim: Optim
    threat: ThreatModel
    attack: Pgd
    epochs: int
    batch_size: int
    precision: Literal["fp32", "bf16"]
    seed: int
    attack_precision: TrainAttackPrecision = "fp32"
    perturbation: Perturbation | None = None  # elsewhere than in pixels


@dataclass(kw_only=True)
class Fitted:
    """The tuned towers, their history (a row per epoch), and what training cost."""

    tower: ImageTower
    texts: TextTower | None = None  # None: the model's own
    history: list[dict[str, float]] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)


def epoch_order(n: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Return the row numbers of each step of an epoch; the last, short batch is kept (as the papers do)."""
    order = torch.randperm(n, generator=generator(seed, "order", epoch))
    return list(order.split(batch_size))


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One training step as values: everything that stays the same between steps."""

    method: Method
    clip: Clip
    text: TextBank
    tower: ImageTower
    recipe: Recipe
    optimiser: torch.optim.Optimizer
    cache: TeacherCache | None
    total: int
    prompts: Callable[[str], TextBank] = no_prompts
    captioner: Captioner | None = None  # the text tower, where it is tuned too
    world: World = ALONE  # the processes that share this step
    room: Room = field(default_factory=Room)

    @property
    def texts(self) -> TextTower | None:
        """The text tower that is tuned; None where texts stay as they are."""
        return None if self.captioner is None else self.captioner.texts

    @property
    def student(self) -> Callable[[Tensor], Features]:
        """The tower that is tuned, over all processes."""
        return in_pieces(shared(self.tower.features, self.world), self.room.pieces)

    def views(
        self, x: Tensor, x_adv: Tensor, y: Tensor, rows: Tensor, *, bf16: bool = False, known: Features | None = None
    ) -> Views:
        """Return what a loss looks at; ``known`` are the teacher's cached features of ``x`` where they are at hand."""
        cache, student = self.cache, self.student
        teacher = in_pieces(shared(self.clip.tower.features, self.world), self.room.pieces)
        return Views(
            labels=y, text=self.text, teacher_text=self.text, scale=self.clip.scale, clean=x, adv=x_adv,
            student=in_bf16(student) if bf16 else student, teacher=in_bf16(teacher) if bf16 else teacher,
            cached_teacher=None if cache is None else lambda: known or cache.features(rows, x.device),
            prompts=self.prompts,
        )  # fmt: skip

    def attack(self, x: Tensor, y: Tensor, rows: Tensor, step: int) -> Tensor:
        """Return x_adv [B, 3, H, W] of step number ``step``."""
        return self.attack_from(self.views(x, x, y, rows), step)

    def attack_from(self, before: Views, step: int) -> Tensor:
        """Return x_adv: per-sample objective, gradient of the input only, then projected by us.

        In fp32, unless the recipe says otherwise; then nothing that the attack has encoded is shared with the loss.
        """
        x, precision, seen = before.clean, self.recipe.attack_precision, before
        if precision != "fp32":
            seen = replace(before, student=in_bf16(before.student) if precision == "bf16" else before.student)

        def objective(x_adv: Tensor, picked: Tensor) -> Scored:
            return Scored(loss=self.method.attack_objective(seen.facing(x_adv, picked)), fooled=None)

        def draws(purpose: str, _: Tensor) -> torch.Generator:
            return generator(self.recipe.seed, "train-attack", step, purpose, device=x.device)

        with frozen(self.tower), products_in(precision):
            x_adv = self.recipe.attack.climb(objective, x, self.recipe.threat, draws)
        return self.recipe.threat.project(x_adv, x)

    def __call__(
        self, x: Tensor, y: Tensor, rows: Tensor, step: int, known: Features | None = None
    ) -> dict[str, float]:
        """Take step number ``step`` (0-based) on images ``x`` [B, 3, H, W]; return the mean of each term, the
        gradient's norm, and the accuracies of the batch as it was seen. All of them are read in one go.

        Args:
            known: the teacher's cached features of ``x``; without it they are looked up.

        Raises:
            NonFinite: naming step and term, before the weights are touched.
            OutOfMemory: if the step does not fit, also not with its batch in two pieces.
        """
        place = f"step {step + 1} of {self.total}"
        said = self.room.fit(
            lambda: self._gradients(x, y, rows, step, known), place=place, batch=len(x), whole=self._kept_whole
        )
        values = dict(zip(said, torch.stack(list(said.values())).tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                what = "the gradient's norm" if name == "grad_norm" else f"loss term {name!r}"
                raise NonFinite(f"{place}: {what} is {value}")
        self._update(step, said["grad_norm"])
        return values

    @property
    def _kept_whole(self) -> str:
        """Why a batch is not encoded in pieces when memory runs out; empty if it is."""
        if self.world.size > 1:
            return "several processes share it"
        return "" if self.recipe.perturbation is None else "its tokens or embeddings are moved (perturbation)"

    def _gradients(self, x: Tensor, y: Tensor, rows: Tensor, step: int, known: Features | None) -> dict[str, Tensor]:
        """Leave the gradients of a step in the weights; return what the step reports, each []."""
        self.optimiser.zero_grad(set_to_none=True)
        views = self._attacked_views(x, y, rows, step, known)
        means = {name: term.mean() for name, term in self.method.loss(views).items()}
        loss = torch.stack(list(means.values())).sum()
        loss.backward()
        # Texts that no attack has asked for are those of the weights before the first step, and tell no accuracy.
        seen = accuracies(views) if self.captioner is None or _attacks(self.method) else {}
        return {**means, "loss": loss, **seen, "grad_norm": self._gradient_norm()}

    def _attacked_views(self, x: Tensor, y: Tensor, rows: Tensor, step: int, known: Features | None) -> Views:
        """Return what the loss looks at, after the training attack if the method has one."""
        bf16 = self.recipe.precision == "bf16"
        # The attack's views have the student in fp32; the teacher's features of clean images serve the loss too.
        before = replace(self.views(x, x, y, rows, bf16=bf16, known=known), student=self.student, text=self._text())
        if self.recipe.perturbation is None:
            x_adv = self.attack_from(before, step) if _attacks(self.method) else x
            views = self.views(x, x_adv, y, rows, bf16=bf16)
        else:
            views = replace(self.views(x, x, y, rows, bf16=bf16), moved_student=self._moved(before, step, bf16=bf16))
        return replace(
            views, text=before.text, cached_teacher=lambda: before.teacher_clean.features,
            captions=self._captions(y, step, bf16=bf16),
        )  # fmt: skip

    def _text(self) -> TextBank:
        """Return the class texts that an attack faces: of the text tower as it is now, where it is tuned."""
        if self.captioner is None or not _attacks(self.method):
            return self.text
        return encode_classes(self.captioner.texts.encode, self.text.classes, self.text.templates)

    def _captions(self, y: Tensor, step: int, *, bf16: bool) -> Callable[[], Tensor] | None:
        """Return what gives a caption for each image of the step; None where no text is tuned."""
        if self.captioner is None:
            return None
        draw = generator(self.recipe.seed, "captions", step, device=y.device)
        return partial(self.captioner.unit, y, draw, self.world, bf16=bf16)

    def _moved(self, before: Views, step: int, *, bf16: bool) -> Callable[[Tensor], Features] | None:
        """Return the student on images whose tokens or embeddings are moved; None where nothing is."""
        perturbation, recipe = self.recipe.perturbation, self.recipe
        if perturbation is None or perturbation.site == "none" or not _attacks(self.method):
            return None

        rows = torch.arange(len(before.clean), device=before.clean.device)

        def objective(moved: Callable[[Tensor], Features]) -> Tensor:
            seen = in_bf16(moved) if recipe.attack_precision == "bf16" else moved
            facing = before.facing(before.clean, rows)
            return self.method.attack_objective(replace(facing, moved_student=seen))

        noise = generator(recipe.seed, "train-attack", step, perturbation.site, device=before.clean.device)
        with frozen(self.tower), products_in(recipe.attack_precision):
            moves = climbed(perturbation, self.tower, before.clean, objective, noise)

        def student(x: Tensor) -> Features:
            return perturbation.features(self.tower, x, moves)

        return in_bf16(student) if bf16 else student

    @property
    def _weights(self) -> list[Tensor]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def _gradient_norm(self) -> Tensor:
        """Return the norm [] of the weights' gradients, which are summed over the processes first."""
        self.world.sum_gradients(self._weights)
        return nn.utils.get_total_norm([p.grad for p in self._weights if p.grad is not None])

    def _update(self, step: int, norm: Tensor) -> None:
        """Change the weights by their gradients, whose norm is ``norm``."""
        if self.recipe.optim.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self._weights, self.recipe.optim.clip_norm, norm)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.optim.lr_at(step, self.total)
        self.optimiser.step()


def _attacks(method: Method) -> bool:
    return bool(method.passes.student_adv or method.passes.teacher_adv)


def make_step(
    clip: Clip,
    method: Method,
    text: TextBank,
    recipe: Recipe,
    *,
    total: int,
    cache: TeacherCache | None = None,
    world: World = ALONE,
) -> Step:
    """Return a step over a student copied from ``clip``. The teacher is ``clip`` itself and stays as it is.

    Raises:
        ConfigError: if the method tunes texts and ``clip`` has no text tower, or if several processes share a
            perturbation.
    """
    alone = recipe.perturbation is None or world.size == 1
    require(
        alone, "perturbation", world.size, "one process: moves of tokens and embeddings are not shared among several"
    )
    tower = copy.deepcopy(clip.tower)
    for p in tower.parameters():
        p.requires_grad_(p.is_floating_point())
    captioner = captioner_of(clip, text) if method.passes.student_text else None
    tuned = tower if captioner is None else nn.ModuleList([tower, captioner.texts])
    return Step(
        method=method, clip=clip, text=text, tower=tower, recipe=recipe, captioner=captioner,
        optimiser=build_optimiser(tuned, recipe.optim), cache=cache, total=total, world=world,
        prompts=lru_cache(lambda template: encode_prompt(clip.encode_text, text.classes, template)),
    )  # fmt: skip


def fit(
    clip: Clip,
    method: Method,
    text: TextBank,
    images: ImageSet,
    recipe: Recipe,
    *,
    cache_folder: Path | None = None,
    checkpoint: Path | None = None,
    on_event: OnEvent = ignore,
    device: torch.device | str = "cpu",
    world: World = ALONE,
    pauses: Pauses | None = None,
) -> Fitted:
    """Return the tower tuned by ``method`` on ``images``, together with the other processes of ``world``.

    Args:
        cache_folder: where the teacher's features are kept; without it the teacher runs in every step that reads it.
        checkpoint: where the state is kept after each epoch and at each pause; if the file is there, training goes on
            from it and ends with the weights that an uninterrupted run gives.
        on_event: is called after each epoch.
        pauses: where training pauses. It changes no weight.

    Raises:
        NonFinite: naming step and term.
        ArithmeticError: if the processes end with different weights.
        TrainingStopped: if a pause says so.
    """
    per_epoch = math.ceil(len(images.labels) / recipe.batch_size)
    cache = None
    if cache_folder is not None and method.passes.teacher_clean and method.teacher_cacheable and recipe.epochs:
        cache = teacher_cache(clip.tower, clip.teacher_key, images, cache_folder, device=device, world=world)
    text = method.training_text(text, lambda: seen_by_teacher(clip, images, cache, device, world))
    step = make_step(clip, method, text, recipe, total=per_epoch * recipe.epochs, cache=cache, world=world)
    step.tower.tally.reset()
    progress = Progress()
    if checkpoint is not None and world.lead(checkpoint.is_file):
        progress = load_checkpoint(checkpoint, step.tower, step.optimiser, step.texts)
    history, partial = progress.history, progress.partial

    def keep(rest: Partial) -> None:
        if checkpoint is not None and world.leads:
            progress = Progress(history=history, partial=rest)
            save_checkpoint(checkpoint, step.tower, step.optimiser, progress, step.texts)

    def pause(rest: Partial) -> None:
        place = None if pauses is None else pauses.place(len(history) * per_epoch + rest.taken, step.total, per_epoch)
        if pauses is not None and place is not None:
            keep(rest)
            if reason := pauses.at(place, step.tower, step.texts):
                raise TrainingStopped(reason, history, _cost(step))

    for epoch in range(len(history), recipe.epochs):
        history.append(_epoch(step, images, epoch, device, partial, pause))
        partial = Partial()
        if epoch + 1 < recipe.epochs:
            keep(partial)
        on_event(EpochEnded(row=history[-1]))
    if world.size > 1:
        world.agree("the tuned weights", towers_sha(step.tower, step.texts))
    texts = None if step.texts is None else step.texts.requires_grad_(False)
    return Fitted(tower=step.tower.requires_grad_(False), texts=texts, history=history, cost=_cost(step))


def _epoch(
    step: Step,
    images: ImageSet,
    epoch: int,
    device: torch.device | str,
    done: Partial,
    pause: Callable[[Partial], None],
) -> dict[str, float]:
    """Take the steps of epoch number ``epoch`` (0-based) and return its row of the history: means over the images.

    ``done`` is the part of the epoch that was taken before. ``pause`` is called before each step.
    """
    started, n, recipe = time.perf_counter() - done.seconds, len(images.labels), step.recipe
    rows_of = epoch_order(n, recipe.batch_size, recipe.seed, epoch)
    left = rows_of[done.taken :]
    means: dict[str, float] = dict(done.means)
    cached = repeat(None) if step.cache is None else step.cache.in_order(left, device)
    for i, (x, y, rows) in enumerate(whole_batches(images, left, device, step.world), start=done.taken):
        seconds = time.perf_counter() - started
        pause(Partial(taken=i, means=dict(means), seconds=seconds))
        started = time.perf_counter() - seconds
        for name, value in step(x, y, rows, epoch * len(rows_of) + i, next(cached)).items():
            means[name] = means.get(name, 0.0) + value * len(rows) / n
    return {"epoch": epoch + 1, **means, "seconds": time.perf_counter() - started}


def _cost(step: Step) -> dict[str, float]:
    tally, pieces = step.tower.tally, step.room.pieces
    passes = {f"passes_{name}": float(getattr(tally, name)) for name in ("forward", "input_backward", "full_backward")}
    return passes if pieces == 1 else {**passes, "micro_batch": float(-(-step.recipe.batch_size // pieces))}
