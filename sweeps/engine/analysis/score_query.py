"""Which number of a trial a figure shows: one of its measurements named in a word, or the difference of two."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.engine.format import NAMES, eps_text, parse_eps
from sweeps.engine.study.folder import PlannedTrial, Role, Study
from sweeps.engine.study.objectives import AVERAGE, OBJECTIVES, WORST, score_eps
from zsr_core.codec import ConfigError, did_you_mean, flatten
from zsr_core.evaluation.measure import Measurement
from zsr_core.trial.result import TrialResult

GRAMMAR = re.compile(r"(?P<name>\w+)(?:\.(?P<attack>[^@:\s]+))?(?:@(?P<eps>[^:\s]+))?(?::(?P<task>\S+))?")
EXPECTED = "a score such as robust, robust@2/255, robust.pgd10@2/255:animals, or 'clean - robust'"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measurement: its metric, on one task or averaged; what is None is decided by the trial.

    Without an attack and a budget it is the clean number where there is one, else the number per image over all
    attacks at the budget that scores are read at.
    """

    name: str
    attack: str | None = None
    eps: float | None = None  # in [0, 1] pixel units
    task: str = AVERAGE


@dataclass(frozen=True, kw_only=True)
class Difference:
    """``first`` minus ``second``, in points."""

    first: Metric
    second: Metric


Score = Metric | Difference


def parse_score(text: str) -> Score:
    """Return the score that ``text`` names: ``name[.attack][@eps][:task]``, or two of them with `` - `` between.

    Raises:
        ConfigError: if the text is neither.
    """
    parts = [_metric(part, text) for part in text.split(" - ")]
    if len(parts) > 2:
        raise ConfigError(f"score: got {text!r}, expected {EXPECTED}")
    return parts[0] if len(parts) == 1 else Difference(first=parts[0], second=parts[1])


def _metric(part: str, text: str) -> Metric:
    found = GRAMMAR.fullmatch(part.strip())
    if found is None:
        raise ConfigError(f"score: got {text!r}, expected {EXPECTED}")
    eps = None if found["eps"] is None else parse_eps(found["eps"])
    return Metric(name=found["name"], attack=found["attack"], eps=eps, task=found["task"] or AVERAGE)


def score_text(score: Score) -> str:
    """Return the text that :func:`parse_score` reads as ``score``; it names files and columns."""
    if isinstance(score, Difference):
        return f"{score_text(score.first)} - {score_text(score.second)}"
    attack = f".{score.attack}" if score.attack else ""
    eps = "" if score.eps is None else f"@{eps_text(score.eps)}"
    return f"{score.name}{attack}{eps}" + ("" if score.task == AVERAGE else f":{score.task}")


def score_label(score: Score) -> str:
    """Return how a figure calls ``score``: ``robust accuracy at 2/255 on animals``."""
    if isinstance(score, Difference):
        return f"{score_label(score.first)} − {score_label(score.second)}"
    words = [NAMES.get(score.name, score.name)]
    words += [f"under {score.attack}"] if score.attack else []
    words += [f"at {eps_text(score.eps)}"] if score.eps is not None else []
    words += [f"on {score.task}"] if score.task != AVERAGE else []
    return " ".join(words)


def score_unit(score: Score) -> str:
    """Return the unit of a score: percent, or points for a difference of two percentages."""
    return "points" if isinstance(score, Difference) else "%"


def score_value(result: TrialResult, score: Score) -> float | None:
    """Return the score of one trial; None where its suite did not measure it."""
    if isinstance(score, Difference):
        first, second = score_value(result, score.first), score_value(result, score.second)
        return None if first is None or second is None else first - second
    found = [m for m in result.measurements if m.metric == score.name and m.task == score.task]
    chosen = _condition(found, score, score_eps(result.config))
    return None if chosen is None else chosen.value


def _condition(found: Sequence[Measurement], score: Metric, usual: float) -> Measurement | None:
    """Return the one that was measured under the score's attack and budget."""
    free = score.attack is None and score.eps is None
    eps = usual if score.eps is None else score.eps
    attacks = ["none", WORST] if free else [score.attack or WORST]
    for attack in attacks:
        budget = 0.0 if attack == "none" else eps
        for m in found:
            if m.attack == attack and math.isclose(m.eps, budget, rel_tol=1e-6, abs_tol=1e-9):
                return m
    return None


def check_score(score: Score, results: Iterable[TrialResult]) -> None:
    """Raise ``ConfigError``, saying what there is, unless one finished trial has the score."""
    done = [result for result in results if result.status == "done"]
    if any(score_value(result, score) is not None for result in done):
        return
    for part in (score.first, score.second) if isinstance(score, Difference) else (score,):
        rows = [m for result in done for m in result.measurements]
        known = list(dict.fromkeys(m.metric for m in rows))
        if part.name not in known:
            raise ConfigError(f"score: {part.name!r} was not measured; there are: {', '.join(known) or 'none'}"
                              f"{did_you_mean(part.name, known)}")  # fmt: skip
        tasks = list(dict.fromkeys(m.task for m in rows))
        if part.task not in tasks:
            raise ConfigError(f"score: nothing was measured on {part.task!r}; there are: {', '.join(tasks)}"
                              f"{did_you_mean(part.task, tasks)}")  # fmt: skip
        conditions = dict.fromkeys(f"{m.attack} at {eps_text(m.eps)}" for m in rows if m.metric == part.name)
        if all(score_value(result, part) is None for result in done):
            raise ConfigError(f"score: {score_text(part)!r} was not measured; {part.name} was under "
                              f"{', '.join(conditions)}")  # fmt: skip


def score_rows(
    study: Study, results: Mapping[str, TrialResult], score: Score, role: Role = "cell"
) -> list[dict[str, Any]]:
    """Return one flat row per planned trial of ``role``: its configuration by dotted path and the score by its text.

    ``method`` is the method's title; ``status`` is "missing" without a result.
    """
    name, base = score_text(score), flatten(study.base)
    return [_row(study, t, results.get(t.trial_id), score, name, base) for t in study.plan if t.role == role]


def _row(
    study: Study, trial: PlannedTrial, result: TrialResult | None, score: Score, name: str, base: Mapping[str, Any]
) -> dict[str, Any]:
    done = result is not None and result.status == "done"
    plain = all(v is None or isinstance(v, (bool, int, float, str)) for v in trial.overrides.values())
    config = study.base if plain else study.config(trial)  # to build each of thousands takes seconds
    return {
        **(base if plain else flatten(config)),
        **trial.overrides,
        "overrides": trial.overrides,
        "method": config.method.title,
        "study": study.study,
        "trial_id": trial.trial_id,
        "cell": trial.cell,
        "seed": trial.seed,
        "status": "missing" if result is None else result.status,
        name: score_value(result, score) if result is not None and done else None,
    }


def over(score: Score, **fields: Any) -> Score:
    """Return ``score`` with ``fields`` (eps, task, attack) set; clean accuracy has neither a budget nor an attack."""
    if isinstance(score, Difference):
        first, second = over(score.first, **fields), over(score.second, **fields)
        assert isinstance(first, Metric)
        assert isinstance(second, Metric)
        return Difference(first=first, second=second)
    kept = {k: v for k, v in fields.items() if k == "task" or score.name != "clean"}
    return replace(score, **kept)


OBJECTIVE_SCORES: tuple[Metric, ...] = tuple(Metric(name=name) for name in OBJECTIVES)
