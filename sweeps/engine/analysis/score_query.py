"""Text queries for a trial's scores, such as ``robust@2/255``: one measurement, or the difference of two."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.engine.format import eps_text, parse_eps
from sweeps.engine.study.folder import PlannedTrial, Role, StudyFolder
from sweeps.engine.study.limits import Best
from sweeps.engine.study.objectives import CLEAN, TITLES, Score, score_named, shown_scores
from zsr_core.codec import ConfigError, did_you_mean, flatten, require
from zsr_core.data import Split
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement, score_task
from zsr_core.evaluation.measurement import distinct_among, picked
from zsr_core.evaluation.metrics import OWN_SETS, RETRIEVAL_NAMES
from zsr_core.trial.result import TrialResult

GRAMMAR = re.compile(r"(?P<name>\w+)(?:\.(?P<attack>[^@:\s]+))?(?:@(?P<eps>[^:\s]+))?(?::(?P<task>\S+))?")
EXPECTED = "a score such as robust, robust@2/255, robust.pgd10@2/255:animals, or 'clean - robust'"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One measurement: its metric, on one task or averaged.

    Without an attack and a budget it is the number without attack if there is one; else it is the worst case per image
    over all attacks, at the study's budget.
    """

    name: str
    attack: str | None = None
    eps: float | None = None  # in [0, 1] pixel units
    task: str = ZERO_SHOT_MEAN


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """``first`` minus ``second``, in points. Whether it should be high or low is known only if ``best`` says so."""

    first: Reading
    second: Reading
    best: Best | None = None


Query = Reading | Contrast


def parse_score(text: str, best: Best | None = None) -> Query:
    """Return the score that ``text`` names: ``name[.attack][@eps][:task]``, or two of them separated by `` - ``.

    ``best`` says whether a difference of two should be high or low; a score's own direction is that of its metric.

    Raises:
        ConfigError: if the text has another form, or ``best`` is given for a score whose direction is known.
    """
    parts = [_metric(part, text) for part in text.split(" - ")]
    if len(parts) > 2:
        raise ConfigError(f"score: got {text!r}, expected {EXPECTED}")
    if len(parts) == 2:
        return Contrast(first=parts[0], second=parts[1], best=best)
    require(best is None, "--best", best, f"a difference of two scores with it; {text!r} has its metric's direction")
    return parts[0]


def _metric(part: str, text: str) -> Reading:
    parsed = GRAMMAR.fullmatch(part.strip())
    if parsed is None:
        raise ConfigError(f"score: got {text!r}, expected {EXPECTED}")
    eps = None if parsed["eps"] is None else parse_eps(parsed["eps"])
    return Reading(name=parsed["name"], attack=parsed["attack"], eps=eps, task=parsed["task"] or ZERO_SHOT_MEAN)


def score_text(score: Query) -> str:
    """Return the text that :func:`parse_score` parses to ``score``; files and columns are named by it."""
    if isinstance(score, Contrast):
        return f"{score_text(score.first)} - {score_text(score.second)}"
    attack = f".{score.attack}" if score.attack else ""
    eps = "" if score.eps is None else f"@{eps_text(score.eps)}"
    return f"{score.name}{attack}{eps}" + ("" if score.task == ZERO_SHOT_MEAN else f":{score.task}")


def score_label(score: Query) -> str:
    """Return the name of ``score`` in a figure: ``robust accuracy at 2/255 on animals``."""
    if isinstance(score, Contrast):
        return f"{score_label(score.first)} − {score_label(score.second)}"
    words = [TITLES.get(score.name, score.name)]
    words += [f"under {score.attack}"] if score.attack else []
    words += [f"at {eps_text(score.eps)}"] if score.eps is not None else []
    words += [f"on {score.task}"] if score.task != ZERO_SHOT_MEAN else []
    return " ".join(words)


def score_unit(score: Query) -> str:
    """Return the unit of a score, ``points`` for a difference of two percentages."""
    unit = _score(score).unit
    return "points" if isinstance(score, Contrast) and unit == "%" else unit


def score_sense(score: Query) -> float:
    """Return 1 for a score that should be high, -1 for one that should be low, 0 for a contrast without ``best``."""
    if isinstance(score, Contrast):
        return {"high": 1.0, "low": -1.0, None: 0.0}[score.best]
    return _score(score).sense


def readings(score: Query) -> tuple[Reading, ...]:
    """Return the one or two readings of a score."""
    return (score.first, score.second) if isinstance(score, Contrast) else (score,)


def _score(score: Query) -> Score:
    return score_named((score.first if isinstance(score, Contrast) else score).name)


def under_attack(part: Reading) -> bool:
    """Return whether a reading is of attacked images, so that it has a budget."""
    return part.attack not in (None, "none") or part.eps is not None or score_named(part.name).attacked


def score_value(result: TrialResult, score: Query, usual: float) -> float | None:
    """Return the score of one trial; None where its suite did not measure it. ``usual``: the study's budget."""
    if isinstance(score, Contrast):
        first, second = (score_value(result, part, usual) for part in (score.first, score.second))
        return None if first is None or second is None else first - second
    mean = score.task == ZERO_SHOT_MEAN and score.name not in OWN_SETS
    task = score_task(result.measurements) if mean else score.task

    def read(rows: Sequence[Measurement]) -> dict[Reading, Measurement]:
        chosen = _condition([m for m in rows if m.metric == score.name and m.task == task], score, usual)
        return {} if chosen is None else {score: chosen}

    found = picked(result.measurements, ("value", score, usual), read)
    return found[score].value if found else None


def _condition(candidates: Sequence[Measurement], score: Reading, usual: float) -> Measurement | None:
    """Return the measurement under the score's attack and budget; None without one."""
    if score.name in RETRIEVAL_NAMES:
        own = [m for m in candidates if score.attack in (None, m.attack)]
        if score.eps is not None:
            own = [m for m in own if math.isclose(m.eps, score.eps, rel_tol=1e-6)]
        return next(
            iter(score_named(score.name).read(own, own[0].eps if own and score.eps is not None else usual)), None
        )
    free = score.attack is None and score.eps is None
    eps = usual if score.eps is None else score.eps
    attacks = ["none", WORST] if free else [score.attack or WORST]
    for attack in attacks:
        budget = 0.0 if attack == "none" else eps
        for m in candidates:
            if m.attack == attack and math.isclose(m.eps, budget, rel_tol=1e-6, abs_tol=1e-9):
                return m
    return None


def check_score(score: Query, folder: StudyFolder) -> None:
    """Raise ``ConfigError`` with the known names, unless at least one finished trial has the score."""
    done, usual = list(folder.done().values()), folder.study.score_eps
    if any(score_value(result, score, usual) is not None for result in done):
        return
    for part in readings(score):
        rows = distinct_among([result.measurements for result in done], "metric", "task", "attack", "eps")
        known = list(dict.fromkeys(metric for metric, *_ in rows))
        if part.name not in known:
            raise ConfigError(f"score: {part.name!r} was not measured{did_you_mean(part.name, known)}; there are: "
                              f"{', '.join(known) or 'none'}")  # fmt: skip
        tasks = list(dict.fromkeys(task for _, task, *_ in rows))
        if part.task not in tasks:
            raise ConfigError(f"score: nothing was measured on {part.task!r}{did_you_mean(part.task, tasks)}; there "
                              f"are: {', '.join(tasks)}")  # fmt: skip
        own = [(attack, eps) for metric, _, attack, eps in rows if metric == part.name]
        conditions = dict.fromkeys(f"{attack} at {eps_text(eps)}" for attack, eps in own)
        if all(score_value(result, part, usual) is None for result in done):
            raise ConfigError(f"score: {score_text(part)!r} was not measured; {part.name} was under "
                              f"{', '.join(conditions)}")  # fmt: skip


def score_rows(
    folder: StudyFolder, score: Query, role: Role = "cell", split: Split | None = None
) -> list[dict[str, Any]]:
    """Return one flat row per planned trial of ``role``: its configuration by dotted path and the score by its text.

    ``method`` is the method's title; ``status`` is "missing" without a result.
    """
    name, base = score_text(score), flatten(folder.study.base)
    rows = folder.study.rows(role=role, split=split)
    return [_row(folder, trial, score, name, base) for row in rows for trial in row.trials]


def _row(folder: StudyFolder, trial: PlannedTrial, score: Query, name: str, base: Mapping[str, Any]) -> dict[str, Any]:
    study, result = folder.study, folder.result(trial)
    plain = all(v is None or isinstance(v, (bool, int, float, str)) for v in trial.overrides.values())
    config = study.base if plain else study.config(trial)  # because building thousands of them takes seconds
    done = result is not None and folder.is_done(trial)
    return {
        **(base if plain else flatten(config)),
        **trial.overrides,
        "overrides": trial.overrides,
        "method": config.method.title,
        "study": study.study,
        "trial_id": trial.trial_id,
        "cell": trial.cell,
        "seed": trial.seed,
        "status": folder.status(trial),
        name: score_value(result, score, study.score_eps) if result is not None and done else None,
    }


def over(score: Query, **fields: Any) -> Query:
    """Return ``score`` with ``fields`` (eps, task, attack) set; clean accuracy has neither a budget nor an attack."""
    if isinstance(score, Contrast):
        first, second = over(score.first, **fields), over(score.second, **fields)
        assert isinstance(first, Reading)
        assert isinstance(second, Reading)
        return replace(score, first=first, second=second)
    kept = {k: v for k, v in fields.items() if k == "task" or score.name != CLEAN.name}
    return replace(score, **kept)


def shown_readings(objectives: Sequence[str]) -> tuple[Reading, ...]:
    """Return the study's shown scores as readings."""
    return tuple(Reading(name=score.name) for score in shown_scores(objectives))
