"""FARE: the share of its clean term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# clean_weight is an option of the official code whose published models leave it at 0.
WEIGHTS = (
    Axis(
        path="method.clean_weight",
        domain=Real(low=0.0, high=0.5),
        levels=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        published=0.0,
        source="FARE, its repository's default",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "frozen reference": {"method.reference": "target"},
}
