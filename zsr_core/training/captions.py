"""Captions of training images, by a text tower that is tuned with the image tower."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import require
from zsr_core.model.distributed import ALONE, World
from zsr_core.model.load import Clip
from zsr_core.model.text_tower import TextTower
from zsr_core.text import TextBank, prompts_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Captioner:
    """A text tower that is tuned, and the tokens of every class in every template."""

    texts: TextTower
    tokens: Tensor  # [C, M, L]

    def unit(self, y: Tensor, draw: torch.Generator, world: World = ALONE, *, bf16: bool = False) -> Tensor:
        """Return the unit embeddings [B, D] of a caption for each label: its class in a template that is drawn.

        Gradients reach the text tower. The processes of ``world`` share the captions.

        Args:
            y: [B] int64, on the device of the tokens.
            draw: which templates; the same draws give the same captions.
        """
        template = torch.randint(self.tokens.shape[1], y.shape, generator=draw, device=draw.device).to(y.device)
        tokens = self.tokens[y, template]
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16):
            raw: Tensor = self.texts(world.share(tokens))
        return F.normalize(world.gather(raw.float(), len(y)), dim=-1)


def captioner_of(clip: Clip, text: TextBank) -> Captioner:
    """Return a captioner with a copy of the text tower of ``clip``, for the classes and templates of ``text``.

    Raises:
        ConfigError: if ``clip`` has no text tower.
    """
    tower = clip.text_tower
    require(tower is not None, "method", "passes.student_text 1", "a model with a text tower that can be tuned")
    assert tower is not None, "it has just been required"
    tokens = tower.tokens(prompts_of(text.classes, text.templates))
    return Captioner(texts=tower.tuned(), tokens=tokens.view(len(text.classes), len(text.templates), -1))
