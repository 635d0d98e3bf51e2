"""TTC: at test time an image whose features are suspiciously stable is moved by a counterattack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from zsr_core.attacks.pgd import ascend
from zsr_core.codec import is_finite, require, unknown
from zsr_core.defences.defence import Defended
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower
from zsr_core.threat import ThreatModel, check_eps


@dataclass(frozen=True, kw_only=True)
class Ttc:
    """CLIP is Strong Enough to Fight Back: Test-time Counterattacks (Xing et al., CVPR 2025, arXiv 2503.03613).
    Official code: Sxing2/CLIP-Test-time-Counterattacks, ``code/test_time_counterattack.py``.

    ``delta_0 ~ U(-eps, eps)``; ``delta_{k+1} = Proj(delta_k + step sign grad |f(x + delta_k) - f(x)|^2)``, k < steps.
    With ``r = |F(x + delta_0) - F(x)| / |F(x)|``: if r < ``threshold`` (falsely stable) the image is moved by
    ``sum_k w_k delta_k``, ``w_k ~ exp(beta k)``; otherwise by delta_0, as in the code. F is the original CLIP
    (``stability="original"``) or the tuned model.

    The published tables attack the model without its defence (``attack_samples=0``): such numbers say little
    about the defence. ``attack_samples`` = n attacks through it: the mean over n draws, with the counterattack taken as
    constant in the gradient (BPDA). Randomness is drawn per image, so results do not depend on the batch.
    """

    title: ClassVar[str] = "TTC"

    eps: float = 4 / 255  # all of these: TTC.sh and the code's defaults
    step: float = 1 / 255
    steps: int = 2
    threshold: float = 0.2
    beta: float = 2.0
    stability: Literal["original", "tuned"] = "original"
    attack_samples: int = 0

    def __post_init__(self) -> None:
        check_eps("eps", self.eps)
        require(is_finite(self.step) and 0 < self.step <= 1, "step", self.step, "a step in (0, 1] (write 1/255)")
        for name in ("steps", "attack_samples"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 0, name, value, "a whole number >= 0")
        require(is_finite(self.threshold), "threshold", self.threshold, "a finite number")
        require(is_finite(self.beta), "beta", self.beta, "a finite number")
        if self.stability not in ("original", "tuned"):
            raise unknown("stability", self.stability, ("original", "tuned"))

    def tower(self, tuned: ImageTower, original: ImageTower) -> ImageTower:
        return tuned

    def texts(self, tuned: TextTower, original: TextTower) -> TextTower:
        return tuned

    def defended(self, tower: ImageTower, original: ImageTower) -> Defended | None:
        def embed(x: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
            moved: Tensor = tower(x + self.counterattack(tower, original, x.detach(), draws))
            return moved

        return embed

    def counterattack(
        self, tower: ImageTower, original: ImageTower, x: Tensor, draws: Sequence[torch.Generator]
    ) -> Tensor:
        """Return delta [B, 3, H, W], without gradient."""
        ball = ThreatModel(eps=self.eps)
        moved = ball.random_start(x, list(draws))
        with torch.no_grad():
            still = tower(x)
            judge = original if self.stability == "original" else tower
            there = judge(x)
            ratio = (judge(moved) - there).norm(dim=-1) / there.norm(dim=-1)
        deltas = [moved - x]
        for _ in range(self.steps):
            with torch.enable_grad():
                moved = moved.detach().requires_grad_()
                (grad,) = torch.autograd.grad((tower(moved) - still).square().sum(), moved)
            moved = ascend(moved.detach(), grad, x, ball, self.step)
            deltas.append(moved - x)
        weight = torch.softmax(self.beta * torch.arange(len(deltas), device=x.device, dtype=x.dtype), dim=0)
        mixed = torch.einsum("k,kbchw->bchw", weight, torch.stack(deltas))
        return torch.where((ratio < self.threshold).view(-1, 1, 1, 1), mixed, deltas[0])
