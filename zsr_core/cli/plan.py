"""What an evaluation will cost, as text, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence

from zsr_core.data.shifts.names import CORRUPTION
from zsr_core.duration import duration, size_text
from zsr_core.evaluation.meter import Part, Standing
from zsr_core.evaluation.metrics.retrieval import budget_under
from zsr_core.threat import Norm
from zsr_core.trial.cost import Estimate


def plan_text(parts: Sequence[Part], cost: Estimate, norm: Norm = "linf") -> str:
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
        f"At most {total:,} passes of the image encoder, {cost.gflop_per_forward:.3g} GFLOP each: about "
        f"{duration(cost.seconds)} here. Images that fall are dropped, so that a weaker model costs less.",
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
