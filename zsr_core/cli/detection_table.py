"""Zero-shot detection by crops of an evaluation as Markdown."""

from __future__ import annotations

from zsr_core.cli.cells import cell
from zsr_core.evaluation.metrics import DETECTION
from zsr_core.threat import budget_text
from zsr_core.trial.result import TrialResult


def detection_table(result: TrialResult) -> list[str]:
    """Return a row per condition with every number of the scenes; none where detection was not measured."""
    suite = result.config.eval_suite
    if suite.detection is None:
        return []
    own = {(m.metric, m.attack, m.eps): m for m in result.measurements if m.task == suite.detection.name}
    names = [metric.name for metric in DETECTION]
    objects = next((m.n for m in own.values() if m.metric == names[0]), 0)
    lines = [
        f"\nDetection by crops on {suite.detection.name} in percent, {objects} objects.", "",
        "| condition | " + " | ".join(names) + " |", "|---|" + "---|" * len(names),
    ]  # fmt: skip
    for attack, eps in dict.fromkeys((attack, eps) for _, attack, eps in own):
        said = "clean" if attack == "none" else f"{attack} at {budget_text(eps, suite.norm)}"
        lines.append(f"| {said} | " + " | ".join(cell(own.get((name, attack, eps))) for name in names) + " |")
    return lines
