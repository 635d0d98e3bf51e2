"""The result of an evaluation as a Markdown table, with what a reader must know about it below."""

from __future__ import annotations

from collections.abc import Sequence

from zsr_core.attacks import AnyAttack
from zsr_core.cli.detection import ood_table
from zsr_core.cli.detection_table import detection_table
from zsr_core.cli.plan import by_condition
from zsr_core.cli.retrieval_table import retrieval_tables
from zsr_core.cli.shifts import corruption_lines, factor_lines
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement, classified
from zsr_core.evaluation.meter import Part
from zsr_core.names import MINIATURES
from zsr_core.threat import budget_text
from zsr_core.trial.result import TrialResult

ENOUGH = 1000  # classes: no attack replaces a stage then


def table(result: TrialResult, parts: Sequence[Part]) -> str:
    """Return the numbers as Markdown, a row per set: clean, robust per attack and budget, the worst per image."""
    suite = result.config.eval_suite
    attacks = [*(x.name for x in suite.attacks), WORST] if suite.attacks else []
    columns = [("clean", "none", 0.0), *(("robust", a, eps) for eps in suite.eps for a in attacks)]
    own = classified(result.measurements)
    value = {(m.task, m.metric, m.attack, m.eps): m for m in own}
    names = ["clean", *(f"{a} at {budget_text(eps, suite.norm)}" for _, a, eps in columns[1:])]
    lines = [_caption(result), "", "| set | n | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    mark = "†" if "FAIL" in result.audit.values() else ""
    for task in dict.fromkeys(m.task for m in own):
        cells = [value[task, metric, attack, eps] for metric, attack, eps in columns]
        name = "mean of the zero-shot sets" if task == ZERO_SHOT_MEAN else task
        lines.append(f"| {name} | {cells[0].n} | " + " | ".join(_cell(m, mark) for m in cells) + " |")
    lines += ood_table(result)
    notes = [*_replaced(parts, suite.attacks), *_left_out(result), *_verdicts(result)]
    below = [*corruption_lines(result), *factor_lines(result), *retrieval_tables(result), *detection_table(result)]
    return "\n".join([*lines, *notes, *below])


def _caption(result: TrialResult) -> str:
    model, suite = result.config.model, result.config.eval_suite
    of_file = f" ({model.pretrained})" if model.pretrained else ""
    images = "every image of folders without splits" if suite.split == "all" else f"{suite.split} split"
    return (
        f"Accuracy in percent with 95 % intervals over images; {model.name}, weights "
        f"{result.provenance.get('weights_sha', '')}{of_file}, {images}, seed {result.config.seed}."
        + (" Measured on the built-in miniature." if model.name in MINIATURES else "")
    )


def _cell(m: Measurement, mark: str) -> str:
    span = "" if m.low is None else f" [{m.low:.1f}, {m.high:.1f}]"
    return f"– ({m.reason})" if m.value is None else f"{m.value:.1f}{mark if m.metric == 'robust' else ''}{span}"


def _left_out(result: TrialResult) -> list[str]:
    """Return a sentence for every set of which images could not be decoded, with the first of them."""
    of = f"skipped_{result.config.eval_suite.split}_"
    return [
        f"\n{what.partition(':')[0]} images of {name.removeprefix(of)} cannot be decoded and are left out, "
        f"first {what.partition(': ')[2].partition(', ')[0]} (all in result.json)."
        for name, what in result.provenance.items()
        if name.startswith(of)
    ]


def _verdicts(result: TrialResult) -> list[str]:
    """Return what the audit says, in a sentence: which rules fail, how many hold, how many were not tested and why."""
    if not result.audit:
        return ["\nNot audited."]
    rules = {
        status: [rule for rule, verdict in result.audit.items() if verdict == status]
        for status in ("FAIL", "WARN", "PASS", "SKIP")
    }
    said = [f"{status} {', '.join(rules[status])}" for status in ("FAIL", "WARN") if rules[status]]
    held, untested = len(rules["PASS"]), len(rules["SKIP"])
    said += [f"{held} rule holds" if held == 1 else f"{held} rules hold"]
    if untested:
        said += [f"{untested} not tested, because only `--audit full` runs their probes or something that they compare "
                 "with is not here (audit.json has the reason of each)"]  # fmt: skip
    doubt = "† robustness unverified. " if rules["FAIL"] else ""
    return [f"\n{doubt}Audit: {'; '.join(said)}."]


def _replaced(parts: Sequence[Part], attacks: Sequence[AnyAttack]) -> list[str]:
    """Return a sentence for every attack and the sets whose classes are too few for some of its stages."""
    usual = {a.name: "+".join(stage.name for stage in a.stages(ENOUGH)) for a in attacks}
    instead: dict[tuple[str, str], list[str]] = {}
    for (task, condition, _), stages in by_condition(parts).items():
        ran = "+".join(p.stage for p in stages)
        if condition in usual and ran != usual[condition]:
            instead.setdefault((condition, ran), []).append(task)
    return [
        f"\n{condition} ran {ran} on {', '.join(dict.fromkeys(tasks))}: too few classes for {usual[condition]}."
        for (condition, ran), tasks in instead.items()
    ]
