"""Tables of an evaluation under corruptions and of visual factors, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from zsr_core.cli.cells import cell
from zsr_core.data.shifts.kinds import Cell
from zsr_core.data.shifts.names import CORRUPTION, FACTOR, corruption_cell, factor_level, kind_name
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, Measurement, classified, shift_task
from zsr_core.trial.result import TrialResult

SUMMARY = {
    "corrupted_accuracy": "accuracy", "relative_corrupted_accuracy": "share of the clean accuracy",
    "corrupted_ece": "calibration error", "corruption_error": "mean corruption error",
}  # fmt: skip
Rows = Mapping[tuple[str, str], Measurement]  # (metric, attack) -> of the task that is scored


def corruption_lines(result: TrialResult) -> list[str]:
    """Return accuracy by kind and severity with the corruption error of each kind; nothing without corruptions."""
    of, rows = _scored(result, CORRUPTION)
    cells = {at: m for (metric, attack), m in rows.items()
             if metric == "corrupted_accuracy" and (at := corruption_cell(attack)) is not None}  # fmt: skip
    if not cells:
        return _without_mean(result, CORRUPTION, "Corruptions were evaluated")
    severities = sorted({at.severity for at in cells})
    head = ["corruption", *(f"severity {s}" for s in severities), "corruption error"]
    lines = ["", f"Accuracy under corruptions in percent, without attack, {of}.", "", *_head(head)]
    for kind in dict.fromkeys(at.kind for at in cells):
        own = [cells.get(Cell(kind=kind, severity=s)) for s in severities]
        lines.append(_line([kind, *map(cell, own), cell(rows.get(("corruption_error", kind_name(kind))))]))
    means = [f"{title} {cell(rows.get((name, 'none')))}" for name, title in SUMMARY.items()]
    errors = [m for (name, _), m in rows.items() if name == "corruption_error" and m.value is not None]
    own_reference = bool(errors) and all(m.value == 100 and m.low is None for m in errors)
    same = " The errors are 100 % because the model is itself the untouched one; --text-from names another."
    return [*lines, "", f"Over all kinds, in percent: {', '.join(means)}.{same if own_reference else ''}"]


def factor_lines(result: TrialResult) -> list[str]:
    """Return accuracy, gap and ratio of errors by factor, and the accuracy at each level; nothing without factors."""
    of, rows = _scored(result, FACTOR)
    shown = [(attack, *at) for metric, attack in rows if metric == "factor_gap" and (at := factor_level(attack))]
    if not shown:
        return _without_mean(result, FACTOR, "Visual factors were evaluated")
    levels = sorted({level for _, _, level in shown if level is not None})
    heads = ["factor", "accuracy", "gap to all images", "error ratio", *(f"level {level}" for level in levels)]
    lines = [
        "",
        f"Visual factors without attack, {of}; accuracy in percent, gap in points.",
        "",
        *_head(heads),
    ]
    place = {(factor, level): attack for attack, factor, level in shown}
    for factor in dict.fromkeys(factor for _, factor, _ in shown):
        whole = place.get((factor, None), "")
        numbers = [cell(rows.get((f"factor_{name}", whole)), digits)
                   for name, digits in (("accuracy", 1), ("gap", 1), ("error_ratio", 2))]  # fmt: skip
        by_level = [cell(rows.get(("factor_accuracy", place.get((factor, level), "")))) for level in levels]
        lines.append(_line([factor, *numbers, *by_level]))
    return lines


def _without_mean(result: TrialResult, kind: str, begun: str) -> list[str]:
    """Return why nothing is shown although some sets were evaluated so; nothing where none was."""
    own = classified(result.measurements)
    sets = dict.fromkeys(m.task for m in own if m.attack.partition("-")[0] == kind)
    if not sets:
        return []
    return ["", f"{begun} for {', '.join(sets)} alone, so there is no mean over the zero-shot sets to show here; the "
                "numbers of each set are in result.json."]  # fmt: skip


def _scored(result: TrialResult, kind: str) -> tuple[str, Rows]:
    """Return what the numbers are of, and those of that task without a budget."""
    task = shift_task(result.measurements, kind)
    of = "mean of the zero-shot sets" if task == ZERO_SHOT_MEAN else task
    return of, {(m.metric, m.attack): m for m in result.measurements if m.task == task and not m.eps}


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
