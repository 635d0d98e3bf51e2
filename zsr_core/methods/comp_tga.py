"""Comp-TGA: attention to the class and away from what is not the class, held to the frozen model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import require
from zsr_core.methods.attention import Distance, NormAxis, folded, folded_product, l2_norm, min_max, resize, text_map
from zsr_core.methods.method import Defaults, Passes, Terms, check_options, check_weight, class_cross_entropy
from zsr_core.methods.views import Encoded, Views

NON_CLASS = "This is not a photo of a {}"
OTHER = "This is the background of the image"  # the code's comment; the paper prints "of the photo"
OPTIONS = {
    "fusion": ("complement", "class", "non_class"),
    "distance": ("l2", "l1", "cos"),
    "norm_axis": ("token", "channel"),
}


@dataclass(frozen=True, kw_only=True)
class CompTga(Defaults):
    """Complementary Text-Guided Attention for Zero-Shot Adversarial Robustness (arXiv 2603.18598), the journal version
    of TGA-ZSR. Official code: zhyblue424/TGA-ZSR, ``Comp-TGA.py``, ``attention_map.py``.

    ``L = CE(x + d) + alpha |A(x + d) - A_0(x)|_2 + beta |A(x) - A_0(x)|_2``: terms ``ce``, ``larm``, ``gacm``, with
    ``A = Up(a+) (1 - Up(a-))``: a+ the map of patch tokens against the true class's text, a- against the same class
    in ``prompt``, each scaled to [0, 1] before its resize to ``map_side``; the product is not scaled again.

    ``fusion="class"`` keeps Up(a+) alone, ``"non_class"`` 1 - Up(a-) alone; ``prompt`` without ``{}`` is one text for
    all classes (:data:`OTHER`, the paper's "other prompts"). Tokens are normalised as in TGA-ZSR, per channel over
    the tokens (``norm_axis``; the paper names no such step). The code draws the same attack noise in every step from
    the second on; here each step has its own. Its default beta, 0.07, is that of the AutoAttack table.
    """

    title: ClassVar[str] = "Comp-TGA"

    alpha: float = 0.10  # paper, PGD and CW tables
    beta: float = 0.10  # same tables; 0.07 in the AutoAttack table: another checkpoint
    prompt: str = NON_CLASS
    fusion: Literal["complement", "class", "non_class"] = "complement"
    distance: Distance = "l2"
    norm_axis: NormAxis = "token"
    map_side: int = 224

    def __post_init__(self) -> None:
        check_weight(self, "alpha", "beta")
        check_options(self, OPTIONS)
        require(bool(self.prompt.strip()), "prompt", self.prompt, "a text, with {} where the class name goes")
        require(isinstance(self.map_side, int) and self.map_side > 0, "map_side", self.map_side, "pixels, above 0")

    @property
    def passes(self) -> Passes:
        guided = int(self.alpha > 0 or self.beta > 0)
        return Passes(student_adv=1, student_clean=int(self.beta > 0), teacher_clean=guided)

    def loss(self, views: Views) -> Terms:
        terms = {"ce": class_cross_entropy(views.student_adv, views)}
        if self.alpha == 0 and self.beta == 0:
            return terms
        frozen = self.attention(views.teacher_clean, views).detach()
        if self.alpha > 0:
            terms["larm"] = self.alpha * self._distance(self.attention(views.student_adv, views), frozen)
        if self.beta > 0:
            terms["gacm"] = self.beta * self._distance(self.attention(views.student_clean, views), frozen)
        return terms

    def attention(self, encoded: Encoded, views: Views) -> Tensor:
        """Return rows [B, n] whose inner products are those of the attention maps: folded, or pixels for ``l1``."""
        one = folded if self.distance != "l1" else pixels
        if self.fusion == "class":
            return one(self._class_map(encoded, views), self.map_side)
        rest = self._rest_map(encoded, views)
        if self.fusion == "non_class":
            return one(rest, self.map_side)
        own = self._class_map(encoded, views)
        if self.distance != "l1":
            return folded_product(own, rest, self.map_side)
        return pixels(own, self.map_side) * pixels(rest, self.map_side)

    def _class_map(self, encoded: Encoded, views: Views) -> Tensor:
        return min_max(text_map(encoded, views.own_text, self.norm_axis))

    def _rest_map(self, encoded: Encoded, views: Views) -> Tensor:
        """1 - a-: since a resize keeps constants, it may be taken before the resize."""
        other = views.prompts(self.prompt).unit[views.labels]
        return 1 - min_max(text_map(encoded, other, self.norm_axis))

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        if self.distance == "l2":
            return l2_norm(a - b)
        return 1 - F.cosine_similarity(a, b, dim=1, eps=1e-8) if self.distance == "cos" else (a - b).abs().mean(dim=1)


def pixels(maps: Tensor, side: int) -> Tensor:
    """Return [B, side * side]: the resized maps themselves."""
    return resize(maps, side).flatten(1)
