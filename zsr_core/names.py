"""Names that a command line offers, kept apart from what they stand for, so that ``--help`` imports no torch.

Each table takes its keys from here, and :func:`rows_of` refuses a table that lacks one or has another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar, get_args

Row = TypeVar("Row")

MINIATURE, MINIATURE_LONG = "miniature", "miniature-long"  # presets
MINIATURES = ("miniature", "miniature-96")  # the built-in models; what is measured on them is labelled so
PromptSet = Literal["tga", "agft", "openai-ensemble"]  # whose class names and templates
PROMPT_SETS: tuple[PromptSet, ...] = ("tga", "agft", "openai-ensemble")
Tier = Literal["none", "cheap", "full"]  # of the audit
TIERS: tuple[Tier, ...] = ("none", "cheap", "full")
CARDS = ("h100", "h200", "a100", "rtx3090")  # that a plan can be made for
PRESETS = (MINIATURE, MINIATURE_LONG, "paper", "flyp")
ATTACKS = (
    "pgd100-tga", "cw100-tga", "pgd20-agft", "aa-standard", "aa-official", "aa-plus", "aa-rand", "aa-tecoa", "aa-fare",
    "aa-agft", "pgd10", "pgd100", "cw100", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square", "adaptive",
    "transfer-untouched", "noise100", "confidence-away-mu0.1", "confidence-away-mu1", "confidence-away-mu10",
    "confidence-flip-mu0.1", "confidence-flip-mu1", "confidence-flip-mu10",
)  # fmt: skip

LISTED_BY = "`zsr measure --study DIR`"  # prints the table of metrics
# the scores of out-of-distribution detectors, which attacks on a detector are named by
ScoreName = Literal["msp", "max_logit", "energy", "mcm", "entropy"]
DETECTORS: tuple[ScoreName, ...] = get_args(ScoreName)
OodKind = Literal["near", "far"]  # of images that are out of distribution
OOD_KINDS: tuple[OodKind, ...] = get_args(OodKind)


def rows_of(names: Sequence[str], rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return ``rows`` in the order of ``names``.

    Raises:
        KeyError: naming a name without its row, or a row without its name.
    """
    stray = set(names) ^ set(rows)
    if stray:
        raise KeyError(f"names and rows differ in {', '.join(sorted(stray))}")
    return {name: rows[name] for name in names}
