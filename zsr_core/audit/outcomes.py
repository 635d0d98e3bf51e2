"""Robust accuracies and how two of them are compared.

A robust accuracy is a :data:`Share`: the per-image outcomes of an attack, or a published percentage. Outcomes are
compared image by image with the exact one-sided McNemar test. Of two percentages only the difference is known.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from zsr_core.codec import require
from zsr_core.records import SampleRecord

ImageKey = tuple[str, str]  # (task, sample id)
TOLERANCE = 0.5  # points; ours: smaller differences between two attacks are ignored
SIGNIFICANT = 0.01  # p value below which one attack is stronger than another; ours


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Which images are still classified correctly under one attack. An image that is wrong when clean is broken."""

    name: str  # for figures; nothing is looked up by it
    standing: Mapping[ImageKey, bool]

    def __post_init__(self) -> None:
        require(len(self.standing) > 0, f"outcomes of {self.name}", 0, "at least one image")

    @property
    def n(self) -> int:
        return len(self.standing)

    def on(self, keys: Collection[ImageKey]) -> Outcomes:
        """Return the outcomes restricted to these images."""
        return Outcomes(name=self.name, standing={k: stands for k, stands in self.standing.items() if k in keys})


Share = Outcomes | float  # a float is robust accuracy in percent


def percent(share: Share) -> float:
    """Return robust accuracy in percent."""
    return 100 * sum(share.standing.values()) / share.n if isinstance(share, Outcomes) else float(share)


def outcomes(records: Iterable[SampleRecord], condition: str, eps: float) -> Outcomes | None:
    """Return the outcomes of ``condition`` ("none": clean) at ``eps``; None if there is no such record."""
    of = [r for r in records if r.condition == condition and math.isclose(r.eps, eps, rel_tol=1e-6, abs_tol=1e-9)]
    return Outcomes(name=condition, standing={image_key(r): r.correct for r in of}) if of else None


def image_key(record: SampleRecord) -> ImageKey:
    """Return the task and the id of the image that a record is of."""
    return record.task, record.sample_id


def together(name: str, parts: Sequence[Outcomes]) -> Outcomes:
    """Return the worst case per image over ``parts``, on the images that all of them attacked."""
    common = [key for key in parts[0].standing if all(key in part.standing for part in parts)]
    return Outcomes(name=name, standing={key: all(part.standing[key] for part in parts) for key in common})


def only_first_breaks(a: Outcomes, b: Outcomes) -> int:
    """Return how many images ``a`` breaks and ``b`` does not, of the images that both attacked."""
    return sum(not stands and b.standing.get(key, False) for key, stands in a.standing.items())


def mcnemar(b: int, c: int) -> float:
    """Return the exact one-sided p value of ``b`` against ``c`` discordant images: P(X >= b), X ~ Bin(b + c, 1/2).

    By hand: mcnemar(7, 0) = 1/128; mcnemar(3, 1) = (4 + 1)/16; mcnemar(0, 5) = 1.
    """
    tail = sum(math.comb(b + c, k) for k in range(b, b + c + 1))
    return float(Fraction(tail, 1 << (b + c)))


def beats(a: Share, b: Share, limit: float = TOLERANCE) -> bool:
    """Return whether robust accuracy under ``a`` is significantly more than ``limit`` points below that under ``b``.

    Outcomes must also pass the exact one-sided McNemar test (p < 0.01), so that one image of a small set decides
    nothing. For percentages only the difference counts.
    """
    if percent(b) - percent(a) <= limit + 1e-9:
        return False
    if not (isinstance(a, Outcomes) and isinstance(b, Outcomes)):
        return True
    require(a.standing.keys() == b.standing.keys(), "outcomes", [a.name, b.name], "attacks on the same images")
    return mcnemar(only_first_breaks(a, b), only_first_breaks(b, a)) < SIGNIFICANT


def of_images(*shares: Share) -> str:
    """Return " of N images" for the figure of a verdict; "" for percentages."""
    counts = {share.n for share in shares if isinstance(share, Outcomes)}
    return f" of {min(counts)} images" if counts else ""


def points(value: float) -> str:
    return f"{value:.2f} points"
