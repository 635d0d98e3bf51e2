"""What graphics cards compute in a second, so that a plan can be made where there is none of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from zsr_core.codec import require, unknown
from zsr_core.names import CARDS, rows_of

MOST = 4096  # cards of one plan
# Counted on a TGA-ZSR training step of ViT-B/32 (batch 128, 200 classes, two attack steps): 10.96 TFLOP of products
# move 144 GB of activations, in 2,700 kernels for 10 passes over the batch.
BYTES_PER_FLOP = 144e9 / 10.96e12
KERNELS_PER_PASS = 270
SECONDS_PER_KERNEL = 5e-6  # that the host takes to start one; assumed


@dataclass(frozen=True, kw_only=True)
class Card:
    """A graphics card: products in TFLOP/s by precision, and the memory's TB/s, both as a loop of ViT-B/32 is taken to
    reach them. ``source`` says where they come from, ``measured`` whether it is a measurement of this code.
    """

    title: str
    tflops: Mapping[str, float]
    bandwidth: float
    source: str
    measured: bool = False

    def seconds(self, gflop: Mapping[str, float], batches: float) -> float:
        """Return the seconds of so many GFLOP by precision, done in so many passes over a batch.

        Products and the memory's traffic come one after the other; starting the kernels goes on beside both.
        """
        memory = BYTES_PER_FLOP / (self.bandwidth * 1e12)
        busy = sum(amount * 1e9 * (1 / (self.tflops[name] * 1e12) + memory) for name, amount in gflop.items())
        return max(busy, batches * KERNELS_PER_PASS * SECONDS_PER_KERNEL)

    @property
    def label(self) -> str:
        """What stands behind a number of seconds on this card."""
        return "measured" if self.measured else "counted, not measured"


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Cards of one kind that trials are spread over."""

    card: Card
    count: int = 1

    @property
    def text(self) -> str:
        return f"{f'{self.count} x ' if self.count > 1 else ''}{self.card.title} ({self.card.label})"


def _counted(title: str, sheet: str, *, fp32: float, tf32: float, bf16: float, bandwidth: float, share: float) -> Card:
    """Return a card by its data sheet: dense peaks in TFLOP/s and TB/s, of which shares are assumed to be reached.

    0.75 of fp32, 0.9 of the bandwidth, and ``share`` of the tensor cores, whose peak products of this size reach less
    the higher it is.
    """
    reached = {"fp32": 0.75 * fp32, "tf32": share * tf32, "bf16": share * bf16}
    return Card(title=title, tflops=reached, bandwidth=0.9 * bandwidth, source=sheet)


TABLE = rows_of(
    CARDS,
    {
        "h100": _counted("H100", "NVIDIA H100 data sheet, SXM", fp32=67, tf32=495, bf16=989, bandwidth=3.35, share=0.5),
        "h200": _counted("H200", "NVIDIA H200 data sheet, SXM", fp32=67, tf32=495, bf16=989, bandwidth=4.8, share=0.5),
        "a100": _counted(
            "A100", "NVIDIA A100 data sheet, SXM, 80 GB", fp32=19.5, tf32=156, bf16=312, bandwidth=2.04, share=0.7
        ),
        "rtx3090": _counted(
            "RTX 3090", "NVIDIA GA102 white paper", fp32=35.6, tf32=35.6, bf16=71, bandwidth=0.936, share=0.85
        ),
    },
)


def read_cards(flag: str, text: str) -> Cards:
    """Return the cards that ``h100`` or ``8xh100`` names.

    Raises:
        ConfigError: naming the flag, for an unknown card or a number out of range.
    """
    found = re.fullmatch(r"(?:(\d+)x)?(.+)", text.strip().lower())
    number, name = found.groups() if found else (None, text)
    if name not in TABLE:
        raise unknown(flag, text, CARDS)
    count = int(number or 1)
    require(1 <= count <= MOST, flag, text, f"1 to {MOST} cards, such as 8x{name}")
    return Cards(card=TABLE[name], count=count)
