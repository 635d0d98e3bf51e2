"""The driver's side of early stopping: decides about each trial that arrives at a rung, and writes down why.

``stops.jsonl`` in the study's folder has a line for every arrival at a rung, every finished trial, and every trial that
was taken up again. What is known when a trial arrives is read from the lines before, so a launch that goes on after a
kill decides as an uninterrupted one would, given the same arrivals. A decision that is in the log stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweeps.engine.analysis.early_stopping.arrivals import Arrival, Known, meet
from sweeps.engine.analysis.early_stopping.verdict import verdict
from sweeps.engine.analysis.outcomes import Outcomes, read_outcomes
from sweeps.engine.running.answers import write_answer
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, trial_folder
from sweeps.engine.study.objectives import deciding_score, headline
from sweeps.engine.study.stopping import Stopping
from zsr_core.codec import ConfigError, read_json, require
from zsr_core.trial.result import TrialResult
from zsr_core.trial.rung_score import RungScore, rung_records

LOG = "stops.jsonl"
PLAIN = "plain_asha_stops"  # in the log: whether plain ASHA, which knows no noise, would have stopped the trial


class Stops:
    """Decides at rungs. It is the only writer of the log."""

    def __init__(self, folder: Path, study: Callable[[], Study], rule: Stopping) -> None:
        self._folder, self._study, self._rule = folder, study, rule
        self._file = folder / LOG
        self._events = read_log(self._file)
        _drop_torn_line(self._file)
        self._known = known_from(self._events)
        self._exempt = {event["trial"] for event in self._events if event["event"] == "resumed"}
        self._read_once = lru_cache(maxsize=4096)(self._read)

    def arrived(self, trial_id: str, rung: int) -> bool:
        """Decide about a trial that was scored at a rung, leave the answer in its folder, and return if it stops."""
        place = trial_folder(self._folder, trial_id)
        rungs = (e for e in self._events if e["event"] == "rung")
        before = next((e for e in rungs if (e["trial"], e["rung"]) == (trial_id, rung)), None)
        event = before or self._decide(place, trial_id, rung)
        stop = event["decision"] == "stop" and trial_id not in self._exempt
        write_answer(place, rung, stop=stop, why=event["why"])
        return stop

    def ended(self, trial_id: str, result: TrialResult) -> None:
        """Note the scores of a trial that has finished, once."""
        trial = self._planned(trial_id)
        if trial.role != "cell" or trial.is_report or result.status != "done" or trial_id in self._known.finals:
            return
        read = {name: m.value for name, m in headline(result, self._study().score_eps).items()}
        scores = {name: value for name in self._study().objectives if (value := read.get(name)) is not None}
        if len(scores) == len(self._study().objectives):
            self._note({"event": "done", "trial": trial_id, "scores": scores})

    def resume(self, trial_id: str) -> None:
        """Note that a stopped trial is taken up again; nothing stops it any more."""
        self._note({"event": "resumed", "trial": trial_id})
        self._exempt.add(trial_id)

    def _decide(self, place: Path, trial_id: str, rung: int) -> dict[str, Any]:
        score = read_json(RungScore, place / f"rung-{rung}.json", "rung")
        if score is None:
            raise ConfigError(f"rung: {place} has no scores of rung {rung}, expected those that were reported")
        study, trial = self._study(), self._planned(trial_id)
        arrival = Arrival(trial_id=trial_id, cell=trial.cell, seed=trial.seed, rung=rung, scores=score.scores)
        cells = list(dict.fromkeys(t.cell for t in study.plan if t.role == "cell" and not t.is_report))
        met = meet(
            self._known, arrival, self._rule, study.objectives, study.seeds,
            lambda each: self._read_once(each.trial_id, each.rung),
            index=cells.index(trial.cell), exempt=trial_id in self._exempt,
        )  # fmt: skip
        judged = verdict(met, self._rule)
        where = f"rung {rung} of {score.rungs} ({score.share:.0%} of the steps)"
        event = {
            "event": "rung", "trial": trial_id, "cell": trial.cell, "seed": trial.seed, "rung": rung,
            "share": score.share, "scores": dict(score.scores), "decision": "stop" if judged.stop else "go on",
            PLAIN: judged.plain, "why": f"{where}, {judged.why}",
        }  # fmt: skip
        self._note(event)
        return event

    def _note(self, event: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as log:
            print(json.dumps(event), file=log, flush=True)
        self._events.append(event)
        self._known = _with(self._known, event)

    def _planned(self, trial_id: str) -> PlannedTrial:
        return next(trial for trial in self._study().plan if trial.trial_id == trial_id)

    def _read(self, trial_id: str, rung: int) -> Mapping[str, Outcomes]:
        budgets = read_outcomes(rung_records(trial_folder(self._folder, trial_id), rung), trial_id)
        return next(iter(budgets.values()), {})


def _drop_torn_line(file: Path) -> None:
    """Remove an incomplete last line, which a killed process leaves."""
    if file.is_file():
        complete, newline, tail = file.read_bytes().rpartition(b"\n")
        if tail:
            file.write_bytes(complete + newline)


def read_log(file: Path) -> list[dict[str, Any]]:
    """Return the events of a log, in order; an incomplete last line is left out."""
    if not file.is_file():
        return []
    complete = file.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines() if line]


def known_from(events: list[dict[str, Any]]) -> Known:
    """Return what is known after the events."""
    known = Known()
    for event in events:
        known = _with(known, event)
    return known


def _with(known: Known, event: Mapping[str, Any]) -> Known:
    if event["event"] == "rung":
        arrival = Arrival(
            trial_id=event["trial"], cell=event["cell"], seed=event["seed"], rung=event["rung"], scores=event["scores"]
        )
        return replace(known, arrivals=(*known.arrivals, arrival))
    if event["event"] == "done":
        return replace(known, finals={**known.finals, event["trial"]: event["scores"]})
    return known


def to_resume(folder: StudyFolder, count: int) -> list[PlannedTrial]:
    """Return the stopped trials of the ``count`` best stopped cells: those that came furthest, then by score."""
    by = deciding_score(folder.study.objectives).name

    def reached(trials: list[PlannedTrial]) -> tuple[float, float]:
        last = [result.rungs[-1] for t in trials if (result := folder.result(t)) is not None and result.rungs]
        return max(((float(score.rung), score.scores.get(by, 0.0)) for score in last), default=(0.0, 0.0))

    cells: dict[str, list[PlannedTrial]] = {}
    for trial in folder.study.plan:
        if folder.status(trial) == "pruned":
            cells.setdefault(trial.cell, []).append(trial)
    best = sorted(cells.values(), key=reached, reverse=True)[:count]
    return [trial for trials in best for trial in trials]


def taken_up(folder: StudyFolder, count: int) -> StudyFolder:
    """Return the study without the results of the ``count`` best stopped cells, which then run to their end.

    Raises:
        ConfigError: if nothing was stopped.
    """
    trials = to_resume(folder, count)
    require(bool(trials), "--resume-pruned", count, "a study in which trials were stopped early")
    stops = Stops(folder.path, lambda: folder.study, folder.study.stop or Stopping())
    for trial in trials:
        stops.resume(trial.trial_id)
        (trial_folder(folder.path, trial.trial_id) / "result.json").unlink(missing_ok=True)
    gone = {trial.trial_id for trial in trials}
    kept = {key: result for key, result in folder.results.items() if key not in gone}
    return StudyFolder(path=folder.path, study=folder.study, results=kept)


def stop_lines(folder: Path) -> list[str]:
    """Return what stopping has saved and what its caution has cost, in training steps; empty without decisions."""
    rungs = [event for event in read_log(folder / LOG) if event["event"] == "rung"]
    if not rungs:
        return []
    stopped = {e["trial"]: e["share"] for e in rungs if e["decision"] == "stop"}
    plain: dict[str, float] = {}
    for event in rungs:
        if event[PLAIN]:
            plain.setdefault(event["trial"], event["share"])
    trials = len({event["trial"] for event in rungs})
    saved, more = sum(1 - share for share in stopped.values()), sum(1 - share for share in plain.values())
    return [
        f"Stopped early: {len(stopped)} of {trials} trials, which saved {saved / trials:.0%} of their training steps. "
        f"Plain ASHA would have stopped {len(plain)} and saved {more / trials:.0%}; the difference is the price "
        f"of never deciding inside the noise. {folder / LOG} says why for each trial."
    ]
