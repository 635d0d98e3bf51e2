"""A trial's scores at its rungs.

A rung changes nothing of the training: it works on a copy of the tower, and every draw has a seed of its own.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from zsr_core.codec import read_json, to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, measure
from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.suite import evaluate
from zsr_core.files import write_text
from zsr_core.model.load import Clip, towers_sha
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower
from zsr_core.records import write_samples
from zsr_core.training.fit import Fitted
from zsr_core.training.pauses import Pauses, Place
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import model_of
from zsr_core.trial.rung_score import RungScore, rung_records
from zsr_core.trial.rungs import Rungs

SCORED = {"clean": "none", "robust": WORST, "harmonic": WORST}  # metric -> the condition that it is read under


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """A trial's rungs while it trains: scores the tower, keeps the scores in the trial's folder, and asks to go on."""

    config: TrialConfig
    clip: Clip
    folder: Path
    rungs: Rungs
    where: torch.device
    goes_on: Callable[[RungScore], str]  # gets each score, and returns why the trial is stopped, or an empty text

    def pauses(self) -> Pauses:
        """Return where training pauses."""
        return Pauses(shares=self.rungs.shares, at=self._at)

    def rows(self) -> tuple[RungScore, ...]:
        """Return the scores of the rungs that this trial has reached, in order."""
        read = (read_json(RungScore, self._file(i + 1), "rung") for i in range(len(self.rungs.shares)))
        return tuple(score for score in read if score is not None)

    def _at(self, place: Place, tower: ImageTower, texts: TextTower | None) -> str:
        tuned = Fitted(
            tower=copy.deepcopy(tower).requires_grad_(False),
            texts=None if texts is None else texts.copied().requires_grad_(False),
        )
        sha = towers_sha(tuned.tower, tuned.texts)
        stored = read_json(RungScore, self._file(place.number), "rung")
        score = stored if stored is not None and stored.weights_sha == sha else self._measured(place, tuned, sha)
        return self.goes_on(score)

    def _measured(self, place: Place, tuned: Fitted, sha: str) -> RungScore:
        begun, config, suite = time.perf_counter(), self.config, self.rungs.suite(self.config)
        where, model = self.where, model_of(self.config, self.clip, tuned)

        # Loading images advances torch's own random state. No draw here depends on it, and a rung leaves it as it was.
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if where.type == "cuda" else []):
            records = evaluate(
                model.victim, suite, model.banks, model.image_size, seed=config.seed,
                trial_id=config.trial_id, device=where, trained_on=config.train_data,
            )  # fmt: skip
        names = [task.called for task in suite.tasks]
        found = {(m.metric, m.attack): m for m in measure(records, names, [metric_named(name) for name in SCORED])
                 if m.task == ZERO_SHOT_MEAN}  # fmt: skip
        scores = {name: found[name, condition].value for name, condition in SCORED.items()}
        score = RungScore(
            trial_id=config.trial_id, weights_sha=sha, rung=place.number, rungs=len(self.rungs.shares),
            step=place.step, share=place.share, epoch=place.epoch, images=found["clean", "none"].n,
            scores={name: value for name, value in scores.items() if value is not None},
            seconds=time.perf_counter() - begun,
        )  # fmt: skip
        write_samples(rung_records(self.folder, place.number), records)
        write_text(self._file(place.number), json.dumps(to_plain(score), indent=1) + "\n")
        return score

    def _file(self, number: int) -> Path:
        return self.folder / f"rung-{number}.json"
