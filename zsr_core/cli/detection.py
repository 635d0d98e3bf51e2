"""Out-of-distribution (OOD) detection on the command line: the sets that ``--ood`` names, and their table."""

from __future__ import annotations

from collections.abc import Mapping

from zsr_core.attacks import Detector
from zsr_core.attacks.detector import detector
from zsr_core.cli.cells import cell
from zsr_core.codec import ConfigError, parse_names, require
from zsr_core.data import DataRef, task_ref
from zsr_core.evaluation.measure import WORST, score_task
from zsr_core.evaluation.metrics.ood import SCORES
from zsr_core.evaluation.metrics.outside import AGAINST, slug
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.names import OOD_KINDS, OodKind
from zsr_core.threat import budget_text
from zsr_core.trial.result import TrialResult

FLAG = "--ood"


def ood_sets(text: str, root: str, on_corrupt: str = "fail") -> dict[OodKind, tuple[DataRef, ...]]:
    """Return the sets of a list with commas by their kind: names of sets, and "near:" or "far:" before any other.

    Raises:
        ConfigError: naming the flag, for a piece that is no set, or of which nothing says the kind.
    """
    found: dict[OodKind, list[DataRef]] = {"near": [], "far": []}
    for piece in parse_names(text):
        prefix, _, rest = piece.partition(":")
        said = next((kind for kind in OOD_KINDS if kind == prefix and rest), None)
        try:
            ref = task_ref(rest if said else piece, root, on_corrupt="skip" if on_corrupt == "skip" else "fail")
        except ConfigError as error:
            raise ConfigError(f"{FLAG}: {str(error).removeprefix('task: ')}") from None
        kind = said or ref.outside
        if kind is None:
            raise ConfigError(f"{FLAG}: got {piece!r}, expected near:{piece} or far:{piece}: nothing says which it is")
        found[kind].append(ref)
    require(not text or any(found.values()), FLAG, text, "at least one set, e.g. near_objects,far_noise")
    return {kind: tuple(refs) for kind, refs in found.items()}


def ood_attacks(text: str) -> tuple[Detector, ...]:
    """Return the attacks of a list with commas, as :func:`zsr_core.attacks.detector.detector` names them."""
    try:
        return tuple(detector(name) for name in parse_names(text))
    except ConfigError as error:
        raise ConfigError(f"--ood-attacks: {error}") from None


def ood_table(result: TrialResult) -> list[str]:
    """Return AUROCs as Markdown: a row per OOD set and kind, clean and with one side attacked; none without OOD sets.

    They are means over the zero-shot sets, each of which is in distribution in turn.
    """
    suite = result.config.eval_suite
    if not suite.measured_ood:
        return []
    scored = score_task(result.measurements)
    values = {(m.metric, m.attack, m.eps): m for m in result.measurements if m.task == scored}
    lines = ["", "AUROC in percent of out-of-distribution detection, the mean over the sets in distribution.", ""]
    scores = " | ".join(by for by, _ in SCORES.values())
    lines += [f"| OOD set | condition | {scores} |", "|---|---|" + "---|" * len(SCORES)]
    for condition, side, attack, eps in _conditions(suite):
        for name, row in _rows(suite, side).items():
            cells = [cell(values.get((row.format(score=score), attack, eps))) for score in SCORES]
            lines.append(f"| {name} | {condition} | " + " | ".join(cells) + " |")
    return lines


def _conditions(suite: EvalSuite) -> list[tuple[str, str, str, float]]:
    found = [("clean", "", "none", 0.0)]
    named = [attack.name for attack in suite.ood_attacks]
    for eps in suite.eps if named else ():
        for attack in [*named, *([WORST] if len(named) > 1 else [])]:
            at = f"{attack} at {budget_text(eps, suite.norm)}"
            found += [(f"ID under {at}", "_adv_id", attack, eps), (f"OOD under {at}", "_adv_ood", attack, eps)]
    return found


def _rows(suite: EvalSuite, side: str) -> Mapping[str, str]:
    """Return name in the table -> metric, with a place for the score."""
    of_kinds = {f"mean of {kind}": f"{kind}_auroc_{{score}}{side}" for kind in OOD_KINDS if suite.kinds.count(kind) > 1}
    of_sets = {
        f"{ref.called} ({kind})": f"auroc_{{score}}{side}{AGAINST}{slug(ref.called)}"
        for kind, ref in zip(suite.kinds, suite.ood, strict=True)
    }
    return {**of_sets, **of_kinds}
