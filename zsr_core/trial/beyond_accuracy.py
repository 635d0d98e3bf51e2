"""What a profile beyond accuracy evaluates and compares: every kind of measurement in one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from zsr_core.data import DataRef
from zsr_core.defences import WiseFt
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.methods import AnyMethod
from zsr_core.names import PROMPT_SETS, PromptSet
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


def with_outside() -> Mapping[str, TrialConfig]:
    """Return, per preset, the shared recipe with embeddings kept, and near and far sets where it is the miniature's."""
    narrow = {
        "eval_suite.n": 48,
        "eval_suite.ood_near": (DataRef(name="near_objects", limit=96),),
        "eval_suite.ood_far": (DataRef(name="far_patterns", limit=96),),
    }
    return {
        preset: start.with_({"eval_suite.embeddings": "all", **({} if preset == "paper" else narrow)})
        for preset, start in shared().items()
    }


def worded(method: AnyMethod) -> Mapping[str, tuple[Variant, ...]]:
    """Return, per preset, the method under each set of prompts, and under all but the base's the untouched model.

    Training is the same in all rows: only what the tasks' classes are asked as differs. The miniature's tokenizer drops
    full stops, so that ``agft`` would repeat ``tga`` there.
    """
    rows: dict[str, tuple[Variant, ...]] = {}
    for preset, (own,) in side_by_side((method,), same_data=True).items():
        tasks = shared()[preset].eval_suite.tasks
        base: PromptSet | None = "tga" if preset == "paper" else None
        found = [Variant(label=f"{own.label} {base or 'own'}", overrides=own.overrides, reference=True)]
        for prompts in PROMPT_SETS if preset == "paper" else ("tga", "openai-ensemble"):
            if prompts != base:
                asked = {"eval_suite.tasks": tuple(replace(task, prompts=prompts) for task in tasks)}
                found += [
                    Variant(label=f"{own.label} {prompts}", overrides={**own.overrides, **asked}),
                    Variant(label=f"untouched {prompts}", overrides={"epochs": 0, **asked}),
                ]
        rows[preset] = tuple(found)
    return rows


def and_half_way(methods: Sequence[AnyMethod]) -> Mapping[str, tuple[Variant, ...]]:
    """Return the methods as variants per preset, and the first one once more, half way to its original (WiSE-FT)."""
    return {
        preset: (*rows, Variant(label=WiseFt.title, overrides={**rows[0].overrides, "defence": WiseFt()}))
        for preset, rows in side_by_side(methods, same_data=True).items()
    }
