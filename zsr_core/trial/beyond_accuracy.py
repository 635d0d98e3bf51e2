"""What a profile beyond accuracy evaluates and compares: every kind of measurement in one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zsr_core.data import DataRef
from zsr_core.defences import WiseFt
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.methods import AnyMethod
from zsr_core.space import Variant
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import shared, side_by_side


def whole_suites() -> Mapping[str, TrialConfig]:
    """Return, per preset, the shared recipe with everything that its images allow, embeddings kept.

    The miniature is asked for few images of each, so that a trial takes minutes.
    """
    narrow = {
        "eval_suite.n": 48,
        "eval_suite.ood_near": (DataRef(name="near_objects", limit=96),),
        "eval_suite.ood_far": (DataRef(name="far_patterns", limit=96),),
        "eval_suite.corruptions": ("gaussian_noise:3", "defocus_blur:3", "contrast:3"),
        "eval_suite.factors": ("all",),
        "eval_suite.retrieval": RetrievalSuite(n=96, pixel=("query",)),
        "eval_suite.attention": True,
    }
    wide = {"eval_suite.corruptions": ("common",)}
    return {
        preset: start.with_({"eval_suite.embeddings": "all", **(wide if preset == "paper" else narrow)})
        for preset, start in shared().items()
    }


def and_half_way(methods: Sequence[AnyMethod]) -> Mapping[str, tuple[Variant, ...]]:
    """Return the methods as variants per preset, and the first one once more, half way to its original (WiSE-FT)."""
    return {
        preset: (*rows, Variant(label=WiseFt.title, overrides={**rows[0].overrides, "defence": WiseFt()}))
        for preset, rows in side_by_side(methods, same_data=True).items()
    }
