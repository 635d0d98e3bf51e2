"""LP-FT: a linear probe on the frozen model first, then the image tower is tuned against the probe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import require
from zsr_core.methods.method import Defaults, Passes, Seen, Terms, check_options, check_scale, class_cross_entropy
from zsr_core.methods.views import Views
from zsr_core.text import TextBank


@dataclass(frozen=True, kw_only=True)
class LpFt(Defaults):
    """Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution (Kumar et al., ICLR 2022,
    arXiv 2202.10054).

    ``L = CE(s cos(f(x), w), y)``, w the class directions that a linear probe found on the frozen model's clean
    features, from the class texts as its start: term ``ce``. ``images="adv"`` tunes on attacks (ours).

    Known differences, because the tuned model must stay zero-shot: only the image tower is trained, so the probe does
    not change in the second stage (the paper goes on training it); the probe is on unit features at CLIP's scale, so
    that its classes are directions like texts; the tuned tower is used with texts, on every task.
    """

    title: ClassVar[str] = "LP-FT"

    images: Literal["clean", "adv"] = "clean"
    probe_steps: int = 100  # of L-BFGS over the whole training set; ours
    probe_decay: float = 1e-2  # on the squared distance of the probe from the class texts, its start; ours

    def __post_init__(self) -> None:
        check_options(self, {"images": ("clean", "adv")})
        require(isinstance(self.probe_steps, int) and self.probe_steps >= 1, "probe_steps", self.probe_steps, ">= 1")
        check_scale(self, "probe_decay")

    @property
    def passes(self) -> Passes:
        return Passes(student_clean=int(self.images == "clean"), student_adv=int(self.images == "adv"))

    def training_text(self, text: TextBank, seen: Seen) -> TextBank:
        raw, labels = seen()
        unit = F.normalize(raw.float(), dim=-1)
        return replace(text, unit=linear_probe(unit, labels, text.unit, self.probe_steps, self.probe_decay))

    def loss(self, views: Views) -> Terms:
        encoded = views.student_clean if self.images == "clean" else views.student_adv
        return {"ce": class_cross_entropy(encoded, views)}


def linear_probe(
    unit: Tensor, labels: Tensor, start: Tensor, steps: int, decay: float, *, scale: float = 100.0
) -> Tensor:
    """Return unit class directions [C, D] that minimise cross-entropy on unit features [N, D] plus the decay.

    ``scale`` is CLIP's logit scale, so that the decay means the same for every model.
    """
    with torch.enable_grad():
        w = start.detach().clone().requires_grad_()
        optimiser = torch.optim.LBFGS([w], max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            towards = F.normalize(w, dim=-1)
            fit = F.cross_entropy(scale * unit @ towards.T, labels)
            loss: Tensor = fit + decay * (towards - start).square().sum()
            loss.backward()
            return loss

        optimiser.step(closure)
    return F.normalize(w.detach(), dim=-1)
