"""What a sweep over the site of a training perturbation starts from, and its rows: site x budget, per preset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from zsr_core.data import DataRef
from zsr_core.data.captions import CaptionRef
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.methods import AnyMethod
from zsr_core.space import Variant
from zsr_core.threat import budget_text
from zsr_core.training.perturbation import Perturbation
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import Radii, scales

Feature = Literal["token", "embedding"]
Relative = Mapping[Feature, Sequence[float]]  # site -> budgets, as shares of a length


def site_variants(pixel: Radii, relative: Relative, block: int) -> Mapping[str, tuple[Variant, ...]]:
    """Return a row without a perturbation, then one per site and budget, per preset.

    Args:
        pixel: preset -> training radii in [0, 1] pixel units.
        relative: budgets of tokens and embeddings, as shares of their length.
        block: the block whose incoming tokens are moved.
    """
    rows = [Variant(label="none", overrides={"perturbation": Perturbation(site="none")}, reference=True)]
    for site in get_args(Feature):
        rows += [
            Variant(label=f"{site} {radius:g}", overrides={"perturbation": Perturbation(
                site=site, radius=radius, block=block if site == "token" else 0)})
            for radius in relative.get(site, ())
        ]  # fmt: skip
    variants = {}
    for preset in ("miniature", "miniature-long", "paper"):
        radii = pixel["miniature" if preset == "miniature-long" else preset]
        own = [Variant(label=f"pixel {budget_text(eps, 'linf')}", overrides={"threat.eps": eps}) for eps in radii]
        variants[preset] = (rows[0], *own, *rows[1:])
    return variants


def with_retrieval(method: AnyMethod, retrieval: RetrievalSuite, few: Sequence[DataRef]) -> Mapping[str, TrialConfig]:
    """Return the presets' recipes for ``method`` with ``retrieval``: on the miniature's captions, else on COCO's.

    On the miniature ``few`` are the sets that accuracy is measured on, because the question is about retrieval. COCO
    lies below ``$ZSR_DATA``; the paper's scale takes all images of its split, and corrupts them at every severity.
    """
    starts = {}
    for preset, start in scales(method).items():
        if preset == "paper":
            coco = CaptionRef(source="coco", root=os.environ.get("ZSR_DATA", "data"))
            asked: Mapping[str, object] = {
                "eval_suite.retrieval": replace(retrieval, sets=(coco,), n=None, corruptions=("common",))
            }
        else:
            asked = {"eval_suite.retrieval": retrieval, "eval_suite.tasks": tuple(few)}
        starts[preset] = start.with_(asked)
    return starts
