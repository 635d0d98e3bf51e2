"""What the parts of `gpu_first.py` share: the sizes, the models, and tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zsr_core.attacks import Pgd
from zsr_core.data import DataRef, open_data
from zsr_core.methods import Method, TgaZsr
from zsr_core.model.load import ModelRef, load_clip
from zsr_core.rng import generator
from zsr_core.text import TextBank, encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, Step, make_step
from zsr_core.training.optim import Optim

CLASSES, TOTAL = 200, 1000


@dataclass(kw_only=True)
class Table:
    """Rows of text; ``look`` says of each whether a person must look at it. ``expected`` is what should be seen."""

    columns: tuple[str, ...]
    rows: list[Sequence[str]] = field(default_factory=list)
    look: list[bool] = field(default_factory=list)
    expected: str = ""

    def add(self, *cells: object, fine: bool = True) -> None:
        self.rows.append([str(cell) for cell in cells])
        self.look.append(not fine)

    def markdown(self, title: str) -> str:
        head = [*self.columns, ""]
        lines = [f"### {title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row, look in zip(self.rows, self.look, strict=True):
            lines.append("| " + " | ".join([*row, "LOOK" if look else "OK"]) + " |")
        return "\n".join([*lines, "", *([f"Expected: {self.expected}", ""] if self.expected else [])])


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where it runs, and how large."""

    device: str
    quick: bool
    model: str

    def synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], times: int = 7) -> float:
        """Return the median of the seconds that ``work`` takes, after two runs that warm up."""
        found = []
        for i in range(1 + (1 if self.quick else times)):
            self.synchronise()
            begun = time.perf_counter()
            work()
            self.synchronise()
            found.append(time.perf_counter() - begun)
            if i == 0 and not self.quick:
                work()
        return statistics.median(found[1:])

    def recipe(self, batch: int, eps: float, start: bool, **changes: Any) -> Recipe:
        attack = Pgd(steps=2, step_size=eps, keep="last", random_start=start)
        return Recipe(
            optim=Optim(warmup_steps=0), threat=ThreatModel(eps=eps), attack=attack, epochs=1, batch_size=batch,
            **{"precision": "fp32", "seed": 0, **changes},
        )  # fmt: skip

    def small(
        self, device: str, method: Method, *, start: bool = False, **changes: Any
    ) -> tuple[Step, Tensor, Tensor, Tensor]:
        """Return a step of the built-in miniature, a little off its teacher, with 16 real images, labels and rows."""
        n = 4 if self.quick else 16
        clip = load_clip(ModelRef(), device)
        images = open_data(DataRef(limit=64), "train", clip.tower.image_size)
        text = encode_classes(clip.encode_text, images.classes, images.templates)
        step = make_step(clip, method, text, self.recipe(n, 4 / 255, start, **changes), total=TOTAL)
        drift(step.tower)
        x = images.pixels(range(n)).float() / 255
        return step, x.to(device), images.labels[:n].to(device), torch.arange(n)

    def large(self, batch: int, method: Method | None = None, **changes: Any) -> tuple[Step, Tensor, Tensor, Tensor]:
        """Return a step of the model of the papers' size on noise; the rehearsal takes the miniature."""
        method = TgaZsr() if method is None else method
        if self.quick:
            return self.small(self.device, method, start=True, **changes)
        clip = load_clip(ModelRef(name=self.model), self.device)
        side, draws = clip.tower.image_size, generator(0, "pixels")
        step = make_step(clip, method, self.texts(clip), self.recipe(batch, 1 / 255, True, **changes), total=TOTAL)
        drift(step.tower)
        x = torch.rand(batch, 3, side, side, generator=draws).to(self.device)
        labels = torch.randint(CLASSES, (batch,), generator=draws).to(self.device)
        return step, x, labels, torch.arange(batch)

    def texts(self, clip: Any) -> TextBank:
        """Return unit vectors in place of class texts, because a bare box has no tokenizer's vocabulary to fetch."""
        width = clip.tower(torch.zeros(1, 3, clip.tower.image_size, clip.tower.image_size, device=self.device)).shape[1]
        unit = torch.randn(CLASSES, width, generator=generator(0, "texts")).to(self.device)
        return TextBank(
            unit=nn.functional.normalize(unit, dim=-1), classes=tuple(map(str, range(CLASSES))), templates=("{}",)
        )


@torch.no_grad()
def drift(tower: nn.Module) -> None:
    """Move the student a little off the frozen model, so that no distance is zero."""
    draws = generator(0, "drift")
    for p in tower.parameters():
        if p.numel() > 1:
            p.add_((0.02 * p.std().cpu() * torch.randn(p.shape, generator=draws)).to(p.device))
