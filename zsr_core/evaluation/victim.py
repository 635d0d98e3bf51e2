"""The classifier that attacks face: a zero-shot model as it is deployed, and what an adaptive attack knows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import PerImage
from zsr_core.codec import fingerprint, require
from zsr_core.defences.defence import Defended
from zsr_core.model.layout import Features
from zsr_core.text import TextBank

# () -> one generator per image
DrawsOf = Callable[[], "list[torch.Generator]"]
# (x [B, 3, H, W], labels [B], the task's texts) -> (x_adv [b, 3, H, W], rows [b]) -> [b]
Regulariser = Callable[[Tensor, Tensor, TextBank], PerImage]


@dataclass(frozen=True, kw_only=True, eq=False)
class Victim:
    """Images in [0, 1] to zero-shot logits, in fp32, weights frozen, eval mode.

    Behind a test-time defence ``defended`` is what is deployed and judged. Attacks then climb ``embed`` without
    it, or with ``attack_samples`` above 0 the mean over so many draws of the defence (EOT).
    """

    embed: Callable[[Tensor], Tensor]  # [B, 3, H, W] -> raw [B, D]
    scale: float
    sha: str
    bias: float = 0.0
    # The network's features without the defence, for attention maps; None where it is not one of our towers.
    features: Callable[[Tensor], Features] | None = None
    defended: Defended | None = None
    attack_samples: int = 0
    # What the method's loss adds to cross-entropy, for adaptive attacks; None where it adds nothing.
    regulariser: Regulariser | None = None
    # Further models by name, e.g. "untouched", from which examples are transferred.
    others: Mapping[str, Victim] = field(default_factory=dict)
    # The classes of a bank by this model's own text tower; None where that is not at hand.
    own_text: Callable[[TextBank], TextBank] | None = None
    tuned_texts: bool = False  # whether the text tower was tuned, so that other models have other texts
    # Hash of what else decides an attack's outcome: the defence, the method whose regulariser is climbed.
    facts: str = ""

    @property
    def key(self) -> str:
        """Hash of everything that decides this classifier's answers and what attacks know of it."""
        others = {name: other.key for name, other in self.others.items()}
        return fingerprint([self.sha, self.scale, self.bias, self.attack_samples, self.facts, others])

    def text_beside(self, victim: Victim, text: TextBank) -> TextBank:
        """Return the class texts with which this model helps to attack ``victim``, which uses ``text``."""
        differs = self.tuned_texts or victim.tuned_texts
        return self.own_text(text) if differs and self.own_text is not None else text

    def logits(self, x: Tensor, text: TextBank, draws: DrawsOf | None = None) -> Tensor:
        """Return [B, C]; through the defence, if there is one, where ``draws()`` gives its randomness."""
        return self.classified(self.unit(x, text, draws), text)

    def unit(self, x: Tensor, text: TextBank, draws: DrawsOf | None = None) -> Tensor:
        """Return the unit image embeddings [B, D] in fp32; the other arguments are those of :meth:`logits`."""
        raw = self.embed(x) if self.defended is None or draws is None else self.defended(x, draws())
        width = text.unit.shape[-1]
        require(raw.shape[-1] == width, "model", raw.shape[-1], f"image embeddings as wide as the texts': {width}")
        return F.normalize(raw.float(), dim=-1)

    def classified(self, unit: Tensor, text: TextBank) -> Tensor:
        """Return the logits [B, C] of unit image embeddings [B, D]."""
        return self.scale * unit @ text.unit.T + self.bias
