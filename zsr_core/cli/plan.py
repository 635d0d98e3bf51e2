"""What an evaluation will cost, as text, and how far it is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsr_core.codec import require
from zsr_core.data.shifts.names import CORRUPTION
from zsr_core.duration import duration, size_text
from zsr_core.evaluation.meter import Part, Standing
from zsr_core.evaluation.metrics.retrieval import budget_under
from zsr_core.threat import Norm
from zsr_core.trial.cards import Cards, read_cards
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.cost import Estimate


def planned_on(options: argparse.Namespace) -> Cards | None:
    """Return the cards of ``--on``; None without it.

    Raises:
        ConfigError: for an unknown card, or without ``--plan``.
    """
    if options.on is None:
        return None
    require(options.plan, "--on", options.on, "--plan with it: cards are named to plan for them, not to run on them")
    return read_cards("--on", options.on)


def training_plan(config: TrialConfig, cost: Estimate, on: Cards | None = None) -> str:
    """Return what ``train`` will do and the time it takes at most, as lines."""
    lines = [
        f"trial {config.trial_id} ({config.method.title}): {cost.images:,} images, {cost.steps:,} steps of batch "
        f"{config.batch_size}, then {len(config.eval_suite.tasks)} sets under attack",
        f"{_passes_text(cost.forwards, cost, on)}.",
    ]
    if cost.absent:
        lines.append(f"Not here, and counted by their published sizes: {', '.join(cost.absent)}.")
    return "\n".join(lines)


def _passes_text(passes: float, cost: Estimate, on: Cards | None) -> str:
    took = duration(cost.seconds if on is None else cost.seconds_on(on.card) / on.count)
    where = "here" if on is None else f"on {on.text}"
    each = f"{cost.gflop_per_forward:.3g} GFLOP each"
    return f"At most {passes:,.0f} passes of the image encoder, {each}: about {took} {where}"


def plan_text(parts: Sequence[Part], cost: Estimate, norm: Norm = "linf", on: Cards | None = None) -> str:
    """Return the plan as Markdown: what each attack costs an image, on how many, and the time it takes at most."""
    lines = ["| set | attack | eps | runs | images | passes an image |", "|---|---|---|---|---|---|"]
    for (task, condition, eps), stages in by_condition(parts).items():
        ran = "+".join(p.stage for p in stages) or "one forward"
        passes = sum(p.passes for p in stages)
        budget = budget_under(condition, eps, norm) if eps else ""
        lines.append(f"| {task} | {condition} | {budget} | {ran} | {stages[0].images} | {passes} |")
    total = sum(p.images * p.passes for p in parts)
    lines += [
        "",
        f"{_passes_text(total, cost, on)}. Images that fall are dropped, so that a weaker model costs less.",
    ]
    if any(part.condition == CORRUPTION for part in parts):
        lines.append(
            "Making the corrupted images comes on top: on one core about 30 ms each at 96 pixels, 150 ms at 224."
        )
    if cost.embedding_bytes:
        lines.append(f"Embeddings to keep beside the records: {size_text(cost.embedding_bytes)}.")
    if cost.absent:
        lines.append(f"Not here, and counted by their published sizes: {', '.join(cost.absent)}.")
    return "\n".join(lines)


def by_condition(parts: Sequence[Part]) -> dict[tuple[str, str, float], list[Part]]:
    """Return the stages of each (task, condition, eps), in order."""
    stages: dict[tuple[str, str, float], list[Part]] = {}
    for part in parts:
        stages.setdefault((part.task, part.condition, part.eps), []).append(part)
    return stages


def standing_line(standing: Standing, norm: Norm) -> str:
    """Return how far an evaluation is, in one line."""
    at = standing.at
    left = "" if standing.left is None else f", about {duration(standing.left)} left"
    attacked = f"{at.condition} at {budget_under(at.condition, at.eps, norm)}, {at.stage}"
    stage = "clean" if at.condition == "none" else attacked if at.eps else at.condition
    return f"{100 * standing.share:5.1f} %  {at.task}: {stage} {at.done} of {at.of}{left}"
