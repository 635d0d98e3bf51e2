"""Parameters, tags and data sets of a tracked run, as plain values; ``points`` has its metrics, ``notes`` its texts.

The tracker's compare view lists parameters in alphabetical order and puts the first ones on its axes. So a method's own
fields and a few well-known ones go by their last name (``alpha``, ``lr``); the other fields start with ``config.``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sweeps.engine.format import eps_text, leaf
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, trial_folder
from sweeps.engine.study.objectives import shown_headline
from sweeps.engine.tracking.notes import study_note, trial_note
from sweeps.engine.wording.study import scale_note
from zsr_core.audit.finding import gravest
from zsr_core.codec import fingerprint, flatten, to_plain
from zsr_core.space import Domain
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

# dotted path -> its well-known name
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
# fields without a meaning where nothing is trained, for example alpha of the untouched model
OF_TRAINING = ("method.", "optim.", "threat.", "train_attack.", "train_data.", "batch_size", "precision")
VERSIONS = ("zsr", "torch", "open_clip", "python", "ray", "optuna", "mlflow")
WHEN = ("started", "finished")
PARAM_LIMIT = 6000  # characters; MLflow cuts a longer value without a word
TAG_LIMIT = 5000  # characters


@dataclass(frozen=True, kw_only=True)
class Data:
    """An image set that a trial used; ``context`` says for what ("training", "evaluation")."""

    name: str
    digest: str
    source_type: str
    source: str
    context: str


def swept(study: Study) -> frozenset[str]:
    """Return the dotted paths that differ between the cells of the study."""
    moved = (path for trial in study.plan if trial.role == "cell" for path in trial.overrides)
    return frozenset((*study.space, *moved))


def params(config: TrialConfig, moved: Collection[str] = (), *, without: Collection[str] = ()) -> dict[str, str]:
    """Return the configuration as parameters: numbers as numbers, ``eps`` also as text.

    The study sweeps the paths in ``moved``, so they go by their last name. The paths in ``without`` are left out.
    """
    flat = {path: value for path, value in flatten(config).items() if path != "type" and not path.endswith(".type")}
    if config.epochs == 0:
        flat = {path: value for path, value in flat.items() if not path.startswith(OF_TRAINING)}
    names = _names(flat, moved)
    shown = {names[path]: _text(_unfolded(value)) for path, value in flat.items() if path not in without}
    if config.epochs == 0:
        return {**shown, "method": "untouched"}
    budget = eps_text(config.threat.eps)
    return {**shown, "method": config.method.title, "eps_text": budget, "trained_on": config.train_data.called}


def _names(paths: Iterable[str], moved: Collection[str]) -> dict[str, str]:
    short = {path: _short(path, moved) for path in paths}
    taken = Counter(short.values())
    return {path: name if taken[name] == 1 else f"config.{path}" for path, name in short.items()}


def _short(path: str, moved: Collection[str]) -> str:
    if path in KNOWN_AS:
        return KNOWN_AS[path]
    return leaf(path) if path in moved or path.startswith("method.") else f"config.{path}"


def _text(value: Any) -> str:
    """Return a value as the tracker keeps it. A text over the limit ends in its hash, so that two stay different."""
    text = _line(value)
    if len(text) <= PARAM_LIMIT:
        return text
    return f"{text[: PARAM_LIMIT - 40]}... sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _unfolded(value: Any) -> Any:
    """Return the list that a flattened configuration holds as text, and any other value unchanged."""
    if not (isinstance(value, str) and value.startswith("[")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value  # a name that starts with a bracket


def _line(value: Any) -> str:
    """Return a plain value in one line, because the tracker spreads JSON over many lines."""
    if isinstance(value, dict):
        return " ".join(f"{k}={_line(v)}" for k, v in value.items() if k != "type" and v is not None)
    if isinstance(value, list):
        return ", ".join(map(_line, value))
    return "none" if value is None else repr(value) if isinstance(value, float) else str(value)


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
    """Return the tags that are known before a trial ends."""
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
    """Return the tags of a trial that ended: its status, device, code, weights and the audit's verdicts."""
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
    """Return the versions that the trial noted, else those that the study noted, else the installed ones."""
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


def version_tags(study: Study, trial: PlannedTrial, result: TrialResult) -> dict[str, str]:
    """Return the tags of tuned weights in the model registry: study and trial, base model, training data, scores."""
    model, config = result.config.model, result.config
    shown = shown_headline(result, study.score_eps, study.objectives)
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
        **{name: f"{m.value:.2f}" for name, m in shown.items() if m.value is not None},
    }
    return {name: text[:TAG_LIMIT] for name, text in tags.items() if text}


def study_params(study: Study) -> dict[str, str]:
    """Return the base configuration without the axes of the study, because an axis has many values."""
    moved = swept(study)
    return params(study.base, moved, without={*moved, "seed"})


def study_tags(folder: StudyFolder, *, link: str) -> dict[str, str]:
    """Return the tags of a study's own run. Its note holds ``link``, which opens the comparison of the cells."""
    study = folder.study
    done = next(iter(folder.done().values()), None)
    provenance = done.provenance if done else {}
    return {
        "mlflow.source.type": "JOB",
        "mlflow.source.name": f"sweeps/{study.name}.py",
        "mlflow.note.content": study_note(folder, link),
        "study": study.study,
        "preset": study.preset,
        "mode": study.search or study.mode,
        "objectives": ", ".join(study.objectives),
        "space": "; ".join(f"{path} {_range(domain)}" for path, domain in study.space.items())[:TAG_LIMIT] or "listed",
        "scale": _scale(study),
        "folder": str(folder.path),
        **{f"version.{name}": text for name, text in versions(study, provenance).items()},
        **{name: provenance[name] for name in ("git_sha", "git_dirty", "device") if provenance.get(name)},
        **({"mlflow.source.git.commit": provenance["git_sha"]} if provenance.get("git_sha") else {}),
    }


def _range(domain: Domain) -> str:
    plain = to_plain(domain)
    if "values" in plain:
        return ", ".join(map(str, plain["values"]))
    return f"{plain['low']:g} to {plain['high']:g}{' (log)' if plain['log'] else ''}"
