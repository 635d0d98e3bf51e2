"""Limits that flags and analyses share. Imports nothing, because help texts name them."""

from __future__ import annotations

CLIFF = 5.0  # points of a score between neighbouring configurations, above which what lies between is unresolved
