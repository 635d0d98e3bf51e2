"""The plan of a study whose ``study.json`` is torn or lost, as far as the trial folders tell it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsr_core.codec import ConfigError, read_json, require, to_plain
from zsr_core.space import short
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import read_result

TRIAL_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
UNKNOWN = (
    "the question, the search space, which scores decide, and trials that never began; "
    "the sweep's own script plans them again"
)
OWN_FIELDS = ("seed", "schema", "type")  # of a configuration; the cells of a table do not differ by them
SPLIT = ("eval_suite", "split")
PathOf = tuple[str, ...]  # the names on the way to a field of a configuration


def check_trial_id(trial_id: str, path: str = "trial_id") -> None:
    """Raise ``ConfigError`` unless ``trial_id`` can name a folder among the trials, and nothing outside of them."""
    require(bool(TRIAL_ID.fullmatch(trial_id)), path, trial_id, "an id of letters, digits, - and _, as a sweep gives")


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A trial that has begun: its configuration, and when it started if its result says so."""

    config: TrialConfig
    started: str


def begun_trials(folder: Path) -> dict[str, Begun]:
    """Return the trials in a study's ``folder`` by id, in the order in which they started.

    A folder counts whose name is the id of the configuration in it.
    """
    places = sorted(place for place in (folder / "trials").glob("*") if TRIAL_ID.fullmatch(place.name))
    found = {place.name: begun for place in places if (begun := _begun(place)) is not None}
    return dict(sorted(found.items(), key=lambda item: (item[1].started, item[0])))


def _begun(place: Path) -> Begun | None:
    for read in (_from_result, _from_config):
        try:
            begun = read(place)
        except (ConfigError, OSError):
            continue
        if begun is not None and begun.config.trial_id == place.name:
            return begun
    return None


def _from_result(place: Path) -> Begun | None:
    result = read_result(place)
    return None if result is None else Begun(config=result.config, started=result.provenance.get("started", "~"))


def _from_config(place: Path) -> Begun | None:
    config = read_json(TrialConfig, place / "config.json", "trial")
    return None if config is None else Begun(config=config, started="~")  # after all that have started


def rebuilt_plan(folder: Path) -> dict[str, Any] | None:
    """Return the plain form of the study in ``folder`` from its trial folders; None if it has no trials.

    What varies between the trials becomes their overrides.
    """
    begun = begun_trials(folder)
    if not begun:
        return None
    configs = {trial_id: each.config for trial_id, each in begun.items()}
    base = _base(list(configs.values()))
    paths = _varying(to_plain(base), [to_plain(c) for c in configs.values() if not _is_untouched(c, base)])
    return {
        "name": folder.name, "study": folder.name, "question": f"{folder.name}, from its trials alone",
        "preset": "miniature" if base.model.name == "miniature" else "unknown", "mode": "matrix", "search": None,
        "space": {}, "objectives": ["clean", "robust"], "surfaces": [], "published": {}, "base": to_plain(base),
        "seeds": sorted({c.seed for c in configs.values()}), "fingerprint": "", "created": "", "zsr": "",
        "score_eps": base.headline_eps, "plan": _plan(configs, base, paths),
    }  # fmt: skip


def _base(configs: Sequence[TrialConfig]) -> TrialConfig:
    """Return the untouched model's configuration with the epochs of the first trained trial, which is the sweep's."""
    trained = next((c for c in configs if c.epochs), configs[0])
    untouched = next((c for c in configs if not c.epochs), trained)
    return untouched.with_({"epochs": trained.epochs, ".".join(SPLIT): "selection"})


def _is_untouched(config: TrialConfig, base: TrialConfig) -> bool:
    own = {"epochs": 0, "seed": config.seed, ".".join(SPLIT): config.eval_suite.split}
    return base.with_(own).trial_id == config.trial_id


def _plan(configs: Mapping[str, TrialConfig], base: TrialConfig, paths: Iterable[PathOf]) -> list[dict[str, Any]]:
    rows = [_trial(trial_id, config, base, paths) for trial_id, config in configs.items()]
    order = {"baseline": 0, "cell": 1, "final": 2}
    rows.sort(key=lambda row: (row["split"] == "report", order[row["role"]]))
    labels: dict[str, dict[str, None]] = {}
    for row in rows:
        labels.setdefault(row["cell"], {})[str(row["overrides"])] = None
    for row in rows:  # two cells may look alike after rounding
        alike = list(labels[row["cell"]])
        number = alike.index(str(row["overrides"]))
        row["cell"] += f" ({number + 1})" if number and row["split"] == "selection" else ""
        row["label"] = f"{row['cell']} seed={row['seed']}"
    return rows


def _trial(trial_id: str, config: TrialConfig, base: TrialConfig, paths: Iterable[PathOf]) -> dict[str, Any]:
    plain, split = to_plain(config), config.eval_suite.split
    overrides: dict[str, Any] = {".".join(SPLIT): split} if split == "report" else {}
    if _is_untouched(config, base):
        cell, role, overrides = "untouched", "baseline", {"epochs": 0, **overrides}
    else:
        own = {".".join(path): _at(plain, path) for path in paths}
        cell = " ".join(f"{path.rpartition('.')[2]}={_short(value)}" for path, value in own.items()) or "as planned"
        role, overrides = "final" if split == "report" else "cell", {**own, **overrides}
    return {
        "trial_id": trial_id, "cell": cell, "overrides": overrides, "seed": config.seed, "role": role, "split": split
    }  # fmt: skip


def _short(value: Any) -> str:
    return str(value["type"]) if isinstance(value, dict) and "type" in value else short(value)


def _varying(base: dict[str, Any], others: Iterable[dict[str, Any]]) -> list[PathOf]:
    """Return the paths at which configurations differ from the base; a branch of another type is one path."""
    paths = dict.fromkeys(path for other in others for path in _differences(base, other))
    return [path for path in paths if not any(path[:n] in paths for n in range(1, len(path)))]


def _differences(base: dict[str, Any], other: dict[str, Any], at: PathOf = ()) -> Iterator[PathOf]:
    for name, value in other.items():
        path = (*at, name)
        if path == SPLIT or (not at and name in OWN_FIELDS) or value == base[name]:
            continue
        known = base[name]
        if isinstance(value, dict) and isinstance(known, dict) and value.keys() == known.keys():
            alike = value.get("type") == known.get("type")
            yield from _differences(known, value, path) if alike else [path]
        else:
            yield path


def _at(plain: Any, path: PathOf) -> Any:
    for name in path:
        plain = plain[name]
    return plain
