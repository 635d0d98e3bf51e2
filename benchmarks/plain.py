"""A TGA-ZSR step written like the published scripts, without optimisation: the baseline of the benchmarks.

Written from the method's description alone and sharing no code with zsr_core, it is also an independent
implementation that tests hold ours to. Like the scripts it

- tokenises and encodes every class prompt in every attack step, with the text tower in the graph;
- takes the attack's gradient of the mean loss by ``backward()``, so that all weights get gradients too;
- encodes the adversarial images twice, for their logits and for their maps;
- runs the frozen model in every step with its graph, although its gradients are not used;
- resizes every attention map to the image's size and takes distances there.

One error is corrected, so that both compute the same: gradients are zeroed after the attack, not before it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Plain:
    """A student, its frozen twin and the optimiser over the student's image tower.

    Args:
        model: an open_clip CLIP whose image tower is a ViT; it is the student and changes in place.
        tokenize: prompts -> tokens for ``model.encode_text``.
        prompts: one per class.
        mean, std: pixel statistics.
    """

    def __init__(
        self,
        model: Any,
        tokenize: Callable[[Sequence[str]], Tensor],
        prompts: Sequence[str],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        alpha: float = 0.08,
        beta: float = 0.05,
        eps: float = 1 / 255,
        step_size: float = 1 / 255,
        steps: int = 2,
        lr: float = 1e-4,
        momentum: float = 0.9,
    ) -> None:
        model.visual.output_tokens = True
        self.model, self.frozen = model.train(), copy.deepcopy(model).train()
        self.tokenize, self.prompts = tokenize, list(prompts)
        device = next(model.parameters()).device
        self.mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, 3, 1, 1)
        self.alpha, self.beta = alpha, beta
        self.eps, self.step_size, self.steps = eps, step_size, steps
        self.optimiser = torch.optim.SGD(model.visual.parameters(), lr=lr, momentum=momentum)

    def text(self) -> Tensor:
        """[C, D]: unit embeddings of all prompts."""
        encoded: Tensor = self.model.encode_text(self.tokenize(self.prompts).to(self.mean.device))
        unit: Tensor = encoded / encoded.norm(dim=-1, keepdim=True)
        return unit

    def tokens(self, model: Any, x: Tensor) -> Tensor:
        """[B, 1 + P, D]: class token and patch tokens, projected."""
        pooled, patches = model.visual((x - self.mean) / self.std)
        return torch.cat([pooled[:, None], patches @ model.visual.proj], dim=1)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """[B, C]."""
        image = self.tokens(self.model, x)[:, 0]
        image = image / image.norm(dim=-1, keepdim=True)
        logits: Tensor = self.model.logit_scale.exp() * image @ text.T
        return logits

    def attention(self, model: Any, x: Tensor, own: Tensor) -> Tensor:
        """[B, S * S]: the text-guided map at the image's size S, each image against its ``own`` [B, D] text."""
        tokens = self.tokens(model, x)
        tokens = tokens / tokens.norm(dim=1, keepdim=True)  # each channel over all tokens
        scores = (tokens[:, 1:] @ own[:, :, None]).squeeze(-1)  # [B, P]
        low, high = scores.min(dim=1, keepdim=True).values, scores.max(dim=1, keepdim=True).values
        side = int(scores.shape[1] ** 0.5)
        maps = ((scores - low) / (high - low)).view(-1, 1, side, side)
        return F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=False).flatten(1)

    def attack(self, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
        """Return x_adv after PGD from ``start`` [B, 3, S, S], a point of the ball."""
        delta = (start - x).requires_grad_()
        for _ in range(self.steps):
            loss = F.cross_entropy(self.logits(x + delta, self.text()), y)
            loss.backward()
            assert delta.grad is not None
            moved = (delta.detach() + self.step_size * delta.grad.sign()).clamp(-self.eps, self.eps)
            delta = ((x + moved).clamp(0, 1) - x).requires_grad_()
        return (x + delta).detach()

    def loss(self, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return ``CE(adv) + alpha |A(adv) - A_0(clean)| + beta |A(clean) - A_0(clean)|``, each the batch's mean."""
        with torch.no_grad():
            text = self.text()
        ce = F.cross_entropy(self.logits(x_adv, text), y)
        own = text[y]
        wanted = self.attention(self.frozen, x, own)
        larm = torch.norm(self.attention(self.model, x_adv, own) - wanted, p=2, dim=1).mean()
        gacm = torch.norm(self.attention(self.model, x, own) - wanted, p=2, dim=1).mean()
        loss: Tensor = ce + self.alpha * larm + self.beta * gacm
        return loss

    def step(self, x: Tensor, y: Tensor, start: Tensor) -> float:
        """Take one training step; return its loss."""
        x_adv = self.attack(x, y, start)
        self.optimiser.zero_grad()
        loss = self.loss(x, x_adv, y)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())
