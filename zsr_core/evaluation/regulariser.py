"""What a method's loss adds to cross-entropy, for attacks that climb the defence's own terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from zsr_core.attacks import PerImage
from zsr_core.evaluation.victim import Regulariser
from zsr_core.methods import AnyMethod
from zsr_core.methods.views import Views
from zsr_core.model.load import Clip
from zsr_core.model.tower import ImageTower
from zsr_core.text import TextBank, encode_classes, encode_prompt


def regulariser(method: AnyMethod, clip: Clip, tower: ImageTower) -> Regulariser | None:
    """Return what the method's loss adds to cross-entropy; None where it adds nothing.

    The loss of one black image shows which terms there are.
    """
    terms = MethodTerms(method=method, clip=clip, tower=tower)
    device = next(tower.parameters()).device
    black = torch.zeros(1, 3, tower.image_size, tower.image_size, device=device)
    text = encode_classes(clip.encode_text, ("a", "b"), ("{}",))
    with torch.no_grad():
        added = terms.beyond_cross_entropy(terms.views(black, torch.zeros(1, dtype=torch.int64, device=device), text))
    return terms if added else None


@dataclass(frozen=True, kw_only=True, eq=False)
class MethodTerms:
    """The terms of a method's loss beside cross-entropy, of the tuned tower; a :data:`Regulariser`."""

    method: AnyMethod
    clip: Clip
    tower: ImageTower

    def __call__(self, x: Tensor, y: Tensor, text: TextBank) -> PerImage:
        """Return the sum of the terms as a function of (x_adv [b, 3, H, W], rows [b]) of this batch."""
        return partial(self._added, self.views(x, y, text))

    def views(self, x: Tensor, y: Tensor, text: TextBank) -> Views:
        """Return the views of a batch before it is attacked."""
        return Views(
            labels=y, text=text, scale=self.clip.scale, clean=x, adv=x, student=self.tower.features,
            teacher=self.clip.tower.features, teacher_text=self._teacher_text(text),
            prompts=lambda template: encode_prompt(self.clip.encode_text, text.classes, template),
        )  # fmt: skip

    def _teacher_text(self, text: TextBank) -> TextBank | None:
        """Return the untouched model's texts of these classes; None where they are ``text`` itself."""
        if not self.method.passes.student_text:
            return None
        return encode_classes(self.clip.encode_text, text.classes, text.templates)

    def beyond_cross_entropy(self, views: Views) -> list[Tensor]:
        """Return the terms [B] beside cross-entropy."""
        return [term for name, term in self.method.loss(views).items() if name != "ce"]

    def _added(self, whole: Views, x_adv: Tensor, rows: Tensor) -> Tensor:
        """Return [b], the sum of the terms.

        A loss that couples the batch takes each image by itself, because what an attack finds must not depend on which
        images share its batch.
        """
        faced = whole.facing(x_adv, rows)
        if not self.method.couples_batch:
            return torch.stack(self.beyond_cross_entropy(faced)).sum(dim=0)
        each = [self._alone(whole, faced, i, row) for i, row in enumerate(rows.tolist())]
        return torch.cat([torch.stack(self.beyond_cross_entropy(one)).sum(dim=0) for one in each])

    def _alone(self, whole: Views, faced: Views, i: int, row: int) -> Views:
        """Return the views of image ``i`` of ``faced`` alone, which is image ``row`` of the batch."""
        if self.method.teacher_cacheable:
            return faced.alone(i)
        # The loss reads inner layers, which shared encodings do not keep: this image is encoded by itself.
        one = slice(row, row + 1)
        return replace(self.views(whole.clean[one], whole.labels[one], whole.text), adv=faced.adv[i : i + 1])
