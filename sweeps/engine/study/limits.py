"""Limits and defaults that flags share with analyses and sweeps. Imports nothing, because help texts name them."""

from __future__ import annotations

from typing import Literal

CLIFF = 5.0  # points between the scores of two neighbours; above it, the space between them counts as unresolved
SAMPLES = 25  # proposals of a search whose sweep names no number

Best = Literal["high", "low"]
BEST: tuple[Best, ...] = ("high", "low")  # whether a difference of two scores should be high or low
