"""What an attack is: it moves images up an objective within a threat model; its caller projects and judges again.

An image falls when the classifier is wrong on what an attack made of it; until then it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from zsr_core.attacks.waiting import reads_every
from zsr_core.threat import ThreatModel


class Scored(NamedTuple):
    """An objective's answer for a batch of images."""

    loss: Tensor  # [b], per sample; the attack sums it, so that no sample's gradient depends on the batch
    fooled: Tensor | None  # [b] bool: the attack may stop here; None where success has no meaning (training)


# (images [b, 3, H, W], their rows in the batch [b]) -> what is to be maximised.
Objective = Callable[[Tensor, Tensor], Scored]
# (logits [b, C], labels [b]) -> [b], what is to be maximised
Loss = Callable[[Tensor, Tensor], Tensor]
# (images [b, 3, H, W], their rows in the batch [b]) -> [b, C]
Logits = Callable[[Tensor, Tensor], Tensor]
# (images [b, 3, H, W], their rows in the batch [b]) -> [b]
PerImage = Callable[[Tensor, Tensor], Tensor]
# (purpose, rows [b]) -> one generator for the batch, or one per row.
Draws = Callable[[str, Tensor], "torch.Generator | list[torch.Generator]"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """The classifier that an attack faces, on B labelled images: fp32, eval mode, weights that take no gradient.

    ``ask(x [b, 3, H, W], rows [b])`` gives logits [S, b, C], differentiable in ``x``: S draws of a randomised
    classifier, 1 otherwise. Every call is counted as queries of those rows. With ``certain`` the same input always
    gets the same answer, so that a wrong one is final and the image may be dropped; else no attack may stop early.
    An attack that asks ahead, to fill a batch, or that asks about images that need no further step, takes back with
    ``unask(rows [b], number [b])`` what it did not use, because an image's cost must not depend on the batch.
    """

    ask: Callable[[Tensor, Tensor], Tensor]
    labels: Tensor  # [B] int64
    classes: int
    certain: bool = True
    unask: Callable[[Tensor, Tensor], None] = lambda rows, number: None
    room: int = 64  # rows of one question that fit into memory, also where there are fewer images
    # Iterations after which an attack may leave out images that need no further step; None: as the device needs it.
    every: int | None = None
    # What the method's own loss adds to cross-entropy, [b]: adaptive attacks climb it too. None: it adds nothing.
    regulariser: PerImage | None = None
    # Other models' logits of the same images by name, e.g. "untouched": where transferred examples are made.
    others: Mapping[str, Logits] = field(default_factory=dict)
    scale: float = 1.0  # what the cosines were multiplied by to give logits

    @property
    def reads_every(self) -> int:
        """After how many iterations an attack reads which images need a further step; the host waits for it."""
        return self.every or reads_every(self.labels.device)

    def take_back(self, rows: Tensor, idle: Tensor) -> None:
        """Take back the question that was just asked about those of ``rows`` [b] that are ``idle`` [b].

        Where idle images are left out at once, there are none.
        """
        if self.reads_every > 1:
            self.unask(rows, idle.to(rows.dtype))

    def logits(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return [b, C], the mean over the classifier's draws."""
        asked = self.ask(x, rows)
        return asked[0] if len(asked) == 1 else asked.mean(dim=0)

    def fooled(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return [b] bool: which of these logits [b, C] are wrong, for good."""
        wrong = logits.detach().argmax(dim=1) != self.labels[rows]
        return wrong if self.certain else torch.zeros_like(wrong)

    def scored(self, asked: Tensor, rows: Tensor, loss: Loss) -> Scored:
        """Return the loss of an answer [S, b, C], the mean over its draws, and which images have fallen."""
        losses = [loss(logits, self.labels[rows]) for logits in asked]
        total = losses[0] if len(losses) == 1 else torch.stack(losses).mean(dim=0)
        return Scored(loss=total, fooled=self.fooled(asked[0], rows) if self.certain else None)

    def objective(self, loss: Loss) -> Objective:
        """Return the objective that an attack climbs to raise ``loss``."""
        return lambda x_adv, rows: self.scored(self.ask(x_adv, rows), rows, loss)


def one_each(drawn: torch.Generator | list[torch.Generator], images: int) -> list[torch.Generator]:
    """Return a generator per image; a single one for the batch is repeated."""
    return [drawn] * images if isinstance(drawn, torch.Generator) else list(drawn)


class Attack(Protocol):
    """A frozen dataclass of steps, step size, restarts, ...; eps comes with the threat model at call time."""

    @property
    def name(self) -> str:
        """How records and tables call it, e.g. "pgd10": everything that differs from the defaults is in it."""

    def stages(self, classes: int) -> tuple[Attack, ...]:
        """Return what is run in turn, each on the images that the ones before left standing; usually itself alone.

        An attack that cannot face so few ``classes`` names its replacement here, and the records say which ran.
        """

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W], the best found for each image."""

    def cost(self, classes: int) -> tuple[int, int]:
        """Return (forwards, input-only backwards) for an image that never falls: at most so many."""
