"""What a loss may look at: student and teacher on clean and adversarial images, each encoded once, on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.model.layout import Features
from zsr_core.text import TextBank


def in_bf16(features: Callable[[Tensor], Features]) -> Callable[[Tensor], Features]:
    """Return ``features`` with the tower alone in bf16: cosines, maps and losses made of what it returns stay fp32."""

    def call(x: Tensor) -> Features:
        def under(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def wrapped(*args: Tensor) -> Tensor:
                with torch.autocast(x.device.type, torch.bfloat16):
                    return compute(*args)

            return wrapped

        def last_norm() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            source, embed_from = seen.last_norm()
            return source, under(embed_from)

        with torch.autocast(x.device.type, torch.bfloat16):
            seen = features(x)
        return Features(embedding=seen.embedding, patches=under(seen.patches), last_norm=last_norm, grid=seen.grid)

    return call


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """An image batch in the joint space, in fp32 whatever the tower computed in. A method applies its own scale."""

    features: Features
    text: TextBank

    @cached_property
    def embedding(self) -> Tensor:
        """[B, D], raw."""
        return self.features.embedding.float()

    @cached_property
    def unit(self) -> Tensor:
        """[B, D], rows of norm 1."""
        return F.normalize(self.embedding, dim=-1)

    @cached_property
    def cosines(self) -> Tensor:
        """[B, C]: cosine of each image with each class text."""
        return self.unit @ self.text.unit.T

    @cached_property
    def patches(self) -> Tensor:
        """[B, P, D]: patch tokens after the last layer norm and the visual projection, raw."""
        return self.features.patches().float()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patch grid."""
        return self.features.grid


def no_prompts(template: str) -> TextBank:
    """Raise ``ConfigError``: the value of ``prompts`` where no text tower is at hand."""
    raise ConfigError(f"prompts: {template!r} was asked for where there is no text tower to encode it")


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """All a method's loss and attack objective see of one batch. Nothing is encoded until it is asked for."""

    labels: Tensor  # [B] int64
    text: TextBank
    scale: float  # exp(logit_scale) of the model
    clean: Tensor  # [B, 3, H, W] in [0, 1]
    adv: Tensor  # [B, 3, H, W] in [0, 1]
    student: Callable[[Tensor], Features]
    teacher: Callable[[Tensor], Features]
    cached_teacher: Callable[[], Features] | None = None  # the teacher on these clean images, known before
    cached_student: Callable[[], Features] | None = None  # the student on these clean images, known before
    prompts: Callable[[str], TextBank] = no_prompts  # template -> the training classes in another wording
    captions: Callable[[], Tensor] | None = None  # unit embeddings [B, D] by the student's text tower
    # The student on ``adv`` where training moves its tokens or embeddings in place of pixels; None: the student.
    moved_student: Callable[[Tensor], Features] | None = None
    # The frozen model's own class texts, where training changes those of the student; None: ``text``.
    teacher_text: TextBank | None = None

    @cached_property
    def student_clean(self) -> Encoded:
        known = self.cached_student
        return Encoded(features=self.student(self.clean) if known is None else known(), text=self.text)

    @cached_property
    def student_adv(self) -> Encoded:
        see = self.student if self.moved_student is None else self.moved_student
        return Encoded(features=see(self.adv), text=self.text)

    @cached_property
    def teacher_clean(self) -> Encoded:
        """The frozen model on clean images: no gradient; from the cache where there is one."""
        if self.cached_teacher is not None:
            return Encoded(features=self.cached_teacher(), text=self._frozen_text)
        return Encoded(features=without_gradient(self.teacher, self.clean), text=self._frozen_text)

    @cached_property
    def teacher_adv(self) -> Encoded:
        """The frozen model on adversarial images; a gradient reaches only images that require one, as an attack's."""
        if self.adv.requires_grad:
            return Encoded(features=self.teacher(self.adv), text=self._frozen_text)
        return Encoded(features=without_gradient(self.teacher, self.adv), text=self._frozen_text)

    @property
    def _frozen_text(self) -> TextBank:
        return self.text if self.teacher_text is None else self.teacher_text

    def encoded(self, which: Literal["student_clean", "student_adv"]) -> Encoded | None:
        """Return this encoding if a loss has asked for it, else None; nothing is encoded here."""
        encoding: Encoded | None = self.__dict__.get(which)  # where cached_property keeps it
        return encoding

    @cached_property
    def own_text(self) -> Tensor:
        """[B, D]: the unit text embedding of each image's true class."""
        return self.text.unit[self.labels]

    @cached_property
    def caption_text(self) -> Tensor:
        """[B, D]: the unit embedding of a caption for each image; of its class's text where nothing tunes texts."""
        return self.own_text if self.captions is None else self.captions()

    def facing(self, adv: Tensor, rows: Tensor) -> Views:
        """Return the views of these ``rows`` [b] of the batch, with ``adv`` [b, 3, H, W] for adversarial images.

        The encodings of the clean images are shared, so that an attack of many steps encodes them once.
        """
        return replace(
            self, labels=self.labels[rows], clean=self.clean[rows], adv=adv,
            cached_student=lambda: picked(self.student_clean.features, rows),
            cached_teacher=lambda: picked(self.teacher_clean.features, rows),
            captions=None if self.captions is None else lambda: self.caption_text[rows],
        )  # fmt: skip

    def alone(self, row: int) -> Views:
        """Return the views of one image of the batch, for a loss that would otherwise read its neighbours.

        All encodings are shared with the batch; inner layers are not among them.
        """
        one = slice(row, row + 1)
        return replace(
            self, labels=self.labels[one], clean=self.clean[one], adv=self.adv[one],
            student=lambda _: picked(self.student_adv.features, one), moved_student=None,
            teacher=lambda _: picked(self.teacher_adv.features, one),
            cached_student=lambda: picked(self.student_clean.features, one),
            cached_teacher=lambda: picked(self.teacher_clean.features, one),
            captions=None if self.captions is None else lambda: self.caption_text[one],
        )  # fmt: skip


@torch.no_grad()
def without_gradient(model: Callable[[Tensor], Features], x: Tensor) -> Features:
    """Return the features of ``x`` without gradient; patch tokens that are computed later have none either."""
    seen = model(x)
    return replace(seen, patches=torch.no_grad()(seen.patches))


def picked(features: Features, rows: Tensor | slice) -> Features:
    """Return the features of these ``rows`` of the batch; inner layers are not among them."""
    return Features(
        embedding=features.embedding[rows], patches=lambda: features.patches()[rows], last_norm=_no_layers,
        grid=features.grid,
    )  # fmt: skip


def _no_layers() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    raise ConfigError("method.attack_objective: reads inner layers of clean images, which an attack does not keep")
