"""Limits and defaults that flags share with analyses and sweeps. Imports nothing, because help texts name them."""

from __future__ import annotations

CLIFF = 5.0  # points between the scores of two neighbours; above it, the space between them counts as unresolved
SAMPLES = 25  # proposals of a search whose sweep names no number
