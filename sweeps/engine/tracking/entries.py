"""What a tracked run shows: a trial's and a study's parameters, metrics, tags and notes, as plain values.

Names are chosen for the tracker's compare view, which lists them by the alphabet and puts the first on its axes:
a method's own fields and the few that everyone asks for go by their last name (``alpha``, ``lr``), the rest of the
configuration stays under ``config.``; training curves start with ``train_``, costs with ``cost_``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.scores import CellScore, headline, scores
from sweeps.engine.format import eps_text, leaf
from sweeps.engine.study.folder import PlannedTrial, Study, trial_folder
from sweeps.engine.study.objectives import OBJECTIVES
from sweeps.engine.wording.answer import answer
from sweeps.engine.wording.study import scale_note
from zsr_core.audit.finding import gravest
from zsr_core.codec import fingerprint, flatten, to_plain
from zsr_core.evaluation.measure import Measurement
from zsr_core.space import Domain
from zsr_core.threat import Norm
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

# dotted path -> the name that everyone knows it by
KNOWN_AS: Mapping[str, str] = {
    "model.name": "model",
    "model.pretrained": "pretrained",
    "threat.eps": "eps",
    "threat.norm": "norm",
    "optim.name": "optimizer",
    "optim.lr": "lr",
    "epochs": "epochs",
    "seed": "seed",
}
# what has no meaning where nothing is trained: the untouched model has no alpha
OF_TRAINING = ("method.", "optim.", "threat.", "train_attack.", "train_data.", "batch_size", "precision")
# how far a trial is, not how well it does
PROGRESS = ("epoch", "epochs", "step", "steps", "task", "tasks", "phase", "done_share")
VERSIONS = ("zsr", "torch", "open_clip", "python", "ray", "optuna", "mlflow")
WHEN = ("started", "finished")
PARAM_LIMIT = 6000
TAG_LIMIT = 5000
NOTE_LIMIT = 7500
BEFORE = -1  # the step of a score that is still to come
LINKED = 100  # trials in the comparison that a study's note links to: an address has an end


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a metric: ``step`` is the epoch of a curve, ``at`` the time in ms since 1970."""

    name: str
    value: float
    step: int
    at: int


@dataclass(frozen=True, kw_only=True)
class Data:
    """An image set that a trial used, and what for ("training", "evaluation")."""

    name: str
    digest: str
    source_type: str
    source: str
    context: str


def swept(study: Study) -> frozenset[str]:
    """Return the dotted paths that the study moves."""
    moved = (path for trial in study.plan if trial.role == "cell" for path in trial.overrides)
    return frozenset((*study.space, *moved))


def params(config: TrialConfig, moved: Collection[str] = (), *, without: Collection[str] = ()) -> dict[str, str]:
    """Return the configuration as parameters: numbers as numbers, ``eps`` also as text.

    ``moved`` are the paths that go by their last name because the study sweeps them; ``without`` are left out.
    """
    flat = {path: value for path, value in flatten(config).items() if path != "type" and not path.endswith(".type")}
    if config.epochs == 0:
        flat = {path: value for path, value in flat.items() if not path.startswith(OF_TRAINING)}
    names = _names(flat, moved)
    found = {names[path]: _text(_unfolded(value)) for path, value in flat.items() if path not in without}
    if config.epochs == 0:
        return {**found, "method": "untouched"}
    budget = eps_text(config.threat.eps)
    return {**found, "method": config.method.title, "eps_text": budget, "trained_on": config.train_data.called}


def _names(paths: Iterable[str], moved: Collection[str]) -> dict[str, str]:
    short = {path: _short(path, moved) for path in paths}
    taken = Counter(short.values())
    return {path: name if taken[name] == 1 else f"config.{path}" for path, name in short.items()}


def _short(path: str, moved: Collection[str]) -> str:
    if path in KNOWN_AS:
        return KNOWN_AS[path]
    return leaf(path) if path in moved or path.startswith("method.") else f"config.{path}"


def _text(value: Any) -> str:
    """Return a value as the tracker keeps it. A text over its limit ends in its own hash: different stays different."""
    text = _line(value)
    if len(text) <= PARAM_LIMIT:
        return text
    return f"{text[: PARAM_LIMIT - 40]}... sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _unfolded(value: Any) -> Any:
    """Return the list that a flattened configuration holds as text, anything else as it is."""
    if not (isinstance(value, str) and value.startswith("[")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value  # a name that starts so


def _line(value: Any) -> str:
    """Return a plain value in one line; as JSON the tracker would unfold it over the page."""
    if isinstance(value, dict):
        return " ".join(f"{k}={_line(v)}" for k, v in value.items() if k != "type" and v is not None)
    if isinstance(value, list):
        return ", ".join(map(_line, value))
    return "none" if value is None else repr(value) if isinstance(value, float) else str(value)


def metric_name(m: Measurement, norm: Norm) -> str:
    """Return ``clean_<task>``, ``robust_pgd10_eps1_<task>``: eps in 1/255 for linf, in pixel units for l2."""
    condition = "" if m.attack == "none" else f"_{m.attack}_{_budget(m.eps, norm)}"
    return re.sub(r"[^\w./ -]", "_", f"{m.metric}{condition}_{m.task}")


def _budget(eps: float, norm: Norm) -> str:
    return f"eps{eps * 255:.4g}" if norm == "linf" else f"l2eps{eps:.4g}"


def final_points(result: TrialResult, at: int) -> list[Point]:
    """Return what a trial came to: every measurement, the zero-shot headline, and what it cost."""
    norm = result.config.eval_suite.norm
    values = {str(name): m.value for name, m in headline(result).items()}  # first: a comparison opens on the first
    values |= {metric_name(m, norm): m.value for m in result.measurements}
    values |= {f"cost_{name}": value for name, value in result.cost.items()}
    return [Point(name=name, value=float(value), step=0, at=at) for name, value in values.items()]


def awaited(at: int) -> list[Point]:
    """Return the scores of a trial that still trains, not a number, at a step that every number comes after.

    Parallel coordinates open on the metric that a run had first, and the scores are the last to be known.
    """
    return [Point(name=name, value=math.nan, step=BEFORE, at=at) for name in OBJECTIVES]


def curve_points(metrics: Mapping[str, float], step: int, at: int) -> list[Point]:
    """Return one report of a running trial as points of its training curves; an evaluating one has none."""
    if metrics.get("phase"):
        return []
    curves = {name: value for name, value in metrics.items() if name not in PROGRESS}
    return [Point(name=f"train_{name}", value=float(value), step=step, at=at) for name, value in curves.items()]


def history_points(result: TrialResult, start: int) -> list[Point]:
    """Return a finished trial's training curves, each epoch at the time it ended."""
    points, seconds = [], 0.0
    for number, row in enumerate(result.history):
        seconds += row.get("seconds", 0.0)
        points += curve_points(row, int(row.get("epoch", number)), start + round(1000 * seconds))
    return points


def span(result: TrialResult, fallback: float) -> tuple[int, int]:
    """Return when a trial started and ended, in ms since 1970; ``fallback`` is an end in seconds if none was noted."""
    end = _ms(result.provenance.get("finished", "")) or round(1000 * fallback)
    length = round(1000 * result.cost.get("seconds_total", 0.0))
    return _ms(result.provenance.get("started", "")) or end - length, end


def _ms(text: str) -> int | None:
    try:
        return round(1000 * datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None


def created_ms(study: Study) -> int | None:
    """Return when the study was created, in ms since 1970, or None where that cannot be read."""
    return _ms(study.created)


def datasets(config: TrialConfig) -> list[Data]:
    """Return what the trial trained on, if it did, and what it was measured on."""
    suite = config.eval_suite
    part = {"split": suite.split, "n": suite.n}
    trained = [_data(config.train_data, {"split": "train"}, "training")] if config.epochs else []
    return trained + [_data(task, part, "evaluation") for task in suite.tasks]


def _data(ref: Any, part: Mapping[str, Any], context: str) -> Data:
    plain = {"data": to_plain(ref), **part}
    return Data(
        name=ref.called, digest=fingerprint(plain), source_type=ref.source, source=json.dumps(plain), context=context
    )


def trial_tags(study: Study, trial: PlannedTrial, config: TrialConfig) -> dict[str, str]:
    """Return what is known of a trial before it ends."""
    return {
        "mlflow.source.type": "JOB",
        "mlflow.source.name": f"sweeps/{study.name}.py",
        "study": study.study,
        "variant": trial.label,
        "cell": trial.cell,
        "role": trial.role,
        "seed": str(trial.seed),
        "method": config.method.title if config.epochs else "untouched",
        "scale": _scale(study),
        "config_hash": trial.trial_id,
        "status": "running",
    }


def result_tags(study: Study, trial: PlannedTrial, result: TrialResult, folder: Path) -> dict[str, str]:
    """Return the tags of a trial that ended: how, on what, with which code and weights, and the audit's verdicts."""
    facts = {k: v for k, v in result.provenance.items() if k not in (*VERSIONS, *WHEN)}
    tags = {
        **facts,
        **{f"version.{name}": text for name, text in versions(study, result.provenance).items()},
        **{f"audit.{rule}": verdict for rule, verdict in result.audit.items()},
        "audit": gravest(result.audit.values()) if result.audit else "",
        **{f"cost.{name}": f"{value:.6g}" for name, value in result.cost.items()},
        **trial_tags(study, trial, result.config),
        "status": result.status,
        "error": result.error,
        "folder": str(trial_folder(folder, trial.trial_id)),
        "mlflow.source.git.commit": facts.get("git_sha", ""),
        "mlflow.note.content": trial_note(study, trial, result),
    }
    return {name: text[:TAG_LIMIT] for name, text in tags.items() if text}


def versions(study: Study, provenance: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that made a number: as the trial noted them, else the study, else what is installed here."""
    noted = {name: provenance.get(name) or study.notes.get(name) or _installed(name) for name in VERSIONS}
    return {name: text for name, text in noted.items() if text}


@cache
def _installed(name: str) -> str:
    try:
        return version({"open_clip": "open_clip_torch"}.get(name, name))
    except PackageNotFoundError:
        return ""


def _scale(study: Study) -> str:
    return "miniature" if scale_note(study) else "full"


def _scale_line(study: Study) -> list[str]:
    note = scale_note(study)
    return [f"**Numbers {note}.**", ""] if note else []


def trial_note(study: Study, trial: PlannedTrial, result: TrialResult) -> str:
    """Return a trial's description, in Markdown: its headline with intervals, or why it failed."""
    lines = [f"{trial.label} ({trial.role}) of study {study.study}.", "", *_scale_line(study)]
    if result.error:
        lines += [f"**{result.status}**: {result.error}", ""]
    found = headline(result)
    if found:
        lines += ["| zero-shot mean | % | 95 % interval |", "|---|---|---|"]
        lines += [f"| {name} | {m.value:.1f} | {_interval(m)} |" for name, m in found.items()]
    return "\n".join(lines)[:NOTE_LIMIT]


def version_tags(study: Study, trial: PlannedTrial, result: TrialResult) -> dict[str, str]:
    """Return the tags of tuned weights in the model registry: whose they are, made from what, scored as what."""
    model, config = result.config.model, result.config
    names = ("weights_sha", "initial_weights_sha", "git_sha", "git_dirty")
    tags: dict[str, str] = {
        **{name: result.provenance.get(name, "") for name in names},
        "study": study.study,
        "trial_id": trial.trial_id,
        "config_hash": trial.trial_id,
        "training_hash": config.training_id,
        "variant": trial.label,
        "seed": str(trial.seed),
        "method": config.method.title,
        "base_model": model.name if model.pretrained is None else f"{model.name} {model.pretrained}",
        "trained_on": config.train_data.called,
        "scale": _scale(study),
        "audit": gravest(result.audit.values()) if result.audit else "",
        **{name: f"{m.value:.2f}" for name, m in headline(result).items()},
    }
    return {name: text[:TAG_LIMIT] for name, text in tags.items() if text}


def version_note(study: Study, trial: PlannedTrial, result: TrialResult, *, run_id: str, file: str) -> str:
    """Return the description of tuned weights in the model registry: what they are, and how to load them."""
    model = result.config.model
    texts = f" --text-from {model.text_from or model.pretrained}" if model.text_from or model.pretrained else ""
    defended = "" if result.config.defence is None else " The scores are of it within the defence that the run names."
    return "\n".join([
        trial_note(study, trial, result), "",
        f"An image tower tuned from {model.name} on {result.config.train_data.called}, as safetensors.{defended}", "",
        "```",
        f"mlflow artifacts download --run-id {run_id} --artifact-path weights/{file} --dst-path .",
        f"zsr evaluate --model {model.name} --weights {file}{texts}",
        "```",
    ])  # fmt: skip


def _interval(measured: Measurement) -> str:
    """Return the interval; a harmonic mean is no proportion of images and has none here."""
    return "–" if measured.low is None or measured.high is None else f"{measured.low:.1f} to {measured.high:.1f}"


def study_params(study: Study) -> dict[str, str]:
    """Return the base configuration, without the axes that the study moves: they have no one value."""
    moved = swept(study)
    return params(study.base, moved, without={*moved, "seed"})


def study_values(study: Study, results: Mapping[str, TrialResult]) -> dict[str, float]:
    """Return a study's own metrics: how many trials ended how, and the scores of the rows that matter."""
    ended = Counter(result.status for result in results.values())
    values: dict[str, float] = {
        "trials_planned": len(study.plan),
        "trials_done": ended["done"],
        "trials_failed": ended["failed"],
        "trials_missing": len(study.plan) - len(results),
    }
    shown = {"best": chosen(study, results), **_rows(study, results)}
    for name, row in shown.items():
        found = {objective: row.value(objective) for objective in OBJECTIVES} if row else {}
        values |= {f"{name}_{objective}": value for objective, value in found.items() if value is not None}
    return {name: float(value) for name, value in values.items()}


def _rows(study: Study, results: Mapping[str, TrialResult]) -> dict[str, CellScore]:
    """Return the untouched model and the final choice, by the split that they were scored on."""
    rows = {}
    for trial in study.plan:
        if trial.role != "cell":
            split = study.config(trial).eval_suite.split
            found = [row for row in scores(study, results, trial.role) if row.cell == trial.cell]
            rows[f"{trial.role}_{split}"] = found[0]
    return rows


def study_tags(study: Study, results: Mapping[str, TrialResult], *, folder: Path, link: str) -> dict[str, str]:
    """Return the tags of a study's own run; its note opens the comparison of its cells, which is ``link``."""
    done = next((r for r in results.values() if r.status == "done"), None)
    provenance = done.provenance if done else {}
    return {
        "mlflow.source.type": "JOB",
        "mlflow.source.name": f"sweeps/{study.name}.py",
        "mlflow.note.content": _study_note(study, results, folder, link),
        "study": study.study,
        "preset": study.preset,
        "mode": study.search or study.mode,
        "objectives": ", ".join(study.objectives),
        "space": "; ".join(f"{path} {_range(domain)}" for path, domain in study.space.items())[:TAG_LIMIT] or "listed",
        "scale": _scale(study),
        "folder": str(folder),
        **{f"version.{name}": text for name, text in versions(study, provenance).items()},
        **{name: provenance[name] for name in ("git_sha", "git_dirty", "device") if provenance.get(name)},
        **({"mlflow.source.git.commit": provenance["git_sha"]} if provenance.get("git_sha") else {}),
    }


def _range(domain: Domain) -> str:
    plain = to_plain(domain)
    if "values" in plain:
        return ", ".join(map(str, plain["values"]))
    return f"{plain['low']:g} to {plain['high']:g}{' (log)' if plain['log'] else ''}"


def _study_note(study: Study, results: Mapping[str, TrialResult], folder: Path, link: str) -> str:
    compare = f" [Compare the cells]({link})" if link else ""  # first, as the page folds a note after three lines
    lines = [f"**{study.question}**{compare}", "", *_markdown(answer(study, results)), "", *_scale_line(study)]
    text = "\n".join(lines)
    table = folder / "table.md"
    rows = table.read_text(encoding="utf-8") if table.is_file() else ""
    room = NOTE_LIMIT - len(text)
    return text + (rows if len(rows) <= room else "The table is too long for here: see the artifact table.md.")


def _markdown(lines: Iterable[str]) -> list[str]:
    """Return lines that Markdown keeps apart; what was indented is a list."""
    return [f"- {line.strip()}" if line.startswith("  ") else f"{line}  " for line in lines]
