"""What a method's loss adds to cross-entropy, for attacks that climb the defence's own terms."""

from __future__ import annotations

from dataclasses import replace

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
    """Return what the method's loss adds to cross-entropy, for attacks that climb the defence's own terms too.

    None where it adds nothing: one black image is asked which terms there are.
    """

    def views(x: Tensor, y: Tensor, text: TextBank) -> Views:
        return Views(
            labels=y, text=text, scale=clip.scale, clean=x, adv=x, student=tower.features, teacher=clip.tower.features,
            prompts=lambda template: encode_prompt(clip.encode_text, text.classes, template),
        )  # fmt: skip

    def beyond_ce(faced: Views) -> list[Tensor]:
        return [term for name, term in method.loss(faced).items() if name != "ce"]

    def of_batch(x: Tensor, y: Tensor, text: TextBank) -> PerImage:
        whole = views(x, y, text)

        def added(x_adv: Tensor, rows: Tensor) -> Tensor:
            faced = whole.facing(x_adv, rows)
            if not method.couples_batch:
                return torch.stack(beyond_ce(faced)).sum(dim=0)
            # What an attack finds must not depend on which images share its batch.
            shared = method.teacher_cacheable  # else the loss reads inner layers, which are not kept
            each = [
                faced.alone(i)
                if shared
                else replace(views(x[row : row + 1], y[row : row + 1], text), adv=x_adv[i : i + 1])
                for i, row in enumerate(rows.tolist())
            ]
            return torch.cat([torch.stack(beyond_ce(one)).sum(dim=0) for one in each])

        return added

    device = next(tower.parameters()).device
    black = torch.zeros(1, 3, tower.image_size, tower.image_size, device=device)
    text = encode_classes(clip.encode_text, ("a", "b"), ("{}",))
    with torch.no_grad():
        return of_batch if beyond_ce(views(black, torch.zeros(1, dtype=torch.int64, device=device), text)) else None
