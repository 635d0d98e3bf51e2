"""What retrieval is measured on and under: a field of the evaluation suite."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from zsr_core.attacks import Pgd
from zsr_core.codec import LATER, is_finite, require, unknown
from zsr_core.data.captions import CaptionRef
from zsr_core.data.shifts.kinds import Cell, cells_of, generated

PixelAttack = Literal["query", "hiding", "gallery", "distractor"]
PIXEL_ATTACKS: tuple[PixelAttack, ...] = get_args(PixelAttack)
CERTIFIED = (0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, kw_only=True)
class TokenAttack:
    """Adversarial changes of the tokens that go into block ``block`` (0-based) of a ViT's image tower.

    A token may move by l2 ``budgets`` times the median length of the image's tokens there. ``steps`` steps of
    ``step_ratio`` times the budget along each token's gradient, the best kept.
    """

    block: int
    budgets: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    steps: int = 20
    step_ratio: float = 0.125

    def __post_init__(self) -> None:
        require(isinstance(self.block, int) and self.block >= 0, "block", self.block, "a block's number, from 0")
        _check_budgets("budgets", self.budgets)
        require(len(self.budgets) > 0, "budgets", self.budgets, "at least one budget")
        require(isinstance(self.steps, int) and self.steps >= 1, "steps", self.steps, "a whole number >= 1")
        require(is_finite(self.step_ratio) and self.step_ratio > 0, "step_ratio", self.step_ratio, "above 0")


@dataclass(frozen=True, kw_only=True)
class RetrievalSuite:
    """Retrieval on ``sets``, of at most ``n`` images each: clean, and under what is asked for here.

    ``pixel`` names threat models, which are never merged into one number: "query" attacks the image that asks;
    "hiding" of each caption its own image alone; "gallery" all images, by the same copies as "hiding"; "distractor"
    pushes the ``distractors`` most similar wrong images to each image's first caption. They run ``attack`` at the
    suite's budgets and norm. ``radii`` are l2 moves of the unit embedding that asks: a certificate, and random moves
    as a control. ``tokens`` attacks the tokens between two blocks. ``corruptions`` names kinds of corruptions of all
    images at once (:func:`zsr_core.data.shifts.kinds.cells_of`); nothing is attacked under them.
    """

    sets: tuple[CaptionRef, ...] = (CaptionRef(),)
    n: int | None = None
    pixel: tuple[PixelAttack, ...] = PIXEL_ATTACKS
    attack: Pgd = field(default_factory=lambda: Pgd(steps=20))
    distractors: int = 1
    radii: tuple[float, ...] = CERTIFIED
    tokens: TokenAttack | None = None
    corruptions: tuple[str, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        require(len(self.sets) > 0, "sets", self.sets, "at least one set of captions")
        names = [ref.called for ref in self.sets]
        require(len(set(names)) == len(names), "sets", names, "every set once, each under a name of its own")
        require(self.n is None or self.n >= 1, "n", self.n, "at least 1 image a set")
        for name in self.pixel:
            if name not in PIXEL_ATTACKS:
                raise unknown("pixel", name, PIXEL_ATTACKS)
        require(len(set(self.pixel)) == len(self.pixel), "pixel", self.pixel, "every threat model once")
        climbed = self.attack.loss
        require(climbed == "ce", "attack.loss", climbed, "'ce': retrieval has losses of its own")
        require(isinstance(self.distractors, int) and self.distractors >= 1, "distractors", self.distractors, ">= 1")
        _check_budgets("radii", self.radii)
        read = [cell.kind for cell in self.cells if not generated(cell)]
        require(
            not read,
            "corruptions",
            read[:1],
            "kinds that are made here: no folder of corrupted images is read for captions",
        )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The corruptions, by kind and severity."""
        return cells_of(self.corruptions)

    @property
    def copies(self) -> tuple[PixelAttack, ...]:
        """The pixel attacks that are run: "gallery" judges the copies of "hiding"."""
        asked = {"hiding" if name == "gallery" else name for name in self.pixel}
        return tuple(name for name in PIXEL_ATTACKS if name in asked)


def _check_budgets(name: str, budgets: tuple[float, ...]) -> None:
    good = all(is_finite(value) and value > 0 for value in budgets) and len(set(budgets)) == len(budgets)
    require(good, name, budgets, "different finite numbers above 0")
