"""Rungs: scores of a trial while it trains, on a few selection images under a cheap attack.

A rung changes nothing of the training: it works on a copy of the tower, and every draw has a seed of its own.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from zsr_core.attacks import Pgd
from zsr_core.codec import is_finite, read_json, require, to_plain
from zsr_core.data import ImageSet, zero_shot_names
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, measure
from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.suite import EvalSuite, evaluate
from zsr_core.files import write_text
from zsr_core.model.load import Clip, weights_sha
from zsr_core.model.tower import ImageTower
from zsr_core.records import write_samples
from zsr_core.text import TextBank
from zsr_core.training.pauses import Pauses, Place, check_shares
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import deployed, evaluation_bank
from zsr_core.trial.rung_score import RungScore, rung_records

SCORED = {"clean": "none", "robust": WORST, "harmonic": WORST}  # metric -> the condition that it is read under


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """When a trial is scored while it trains, and on what.

    ``images`` of each zero-shot task are taken from the selection split, the same for every trial, and attacked at
    ``eps`` by ``attack``. PGD-3 with steps of half the budget finds most of what PGD-10 finds; it ranks trials and is
    no claim about robustness.
    """

    eps: float  # in [0, 1] pixel units
    shares: tuple[float, ...] = (1 / 9, 1 / 3)  # of the training steps
    images: int = 32
    attack: Pgd = field(default_factory=lambda: Pgd(steps=3, step_ratio=0.5))

    def __post_init__(self) -> None:
        check_shares(self.shares, "shares")
        require(self.images >= 1, "images", self.images, "at least 1 image of each task")
        require(is_finite(self.eps) and self.eps > 0, "eps", self.eps, "a budget above 0")

    def suite(self, config: TrialConfig) -> EvalSuite:
        """Return what a trial is scored on at a rung; its training set is left out where there are others."""
        whole = config.eval_suite
        names = zero_shot_names(whole.tasks, config.train_data)
        tasks = tuple(task for task in whole.tasks if task.called in names) or whole.tasks
        return replace(
            whole, tasks=tasks, split="selection", n=min(self.images, whole.n or self.images), attacks=(self.attack,),
            eps=(self.eps,),
        )  # fmt: skip

    def passes(self, config: TrialConfig) -> int:
        """Return the encoder passes of one rung at most, in units of one forward of one image."""
        forwards, backwards = self.attack.cost()
        suite = self.suite(config)
        return (suite.n or 0) * len(suite.tasks) * (2 + forwards + backwards)


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

    def _at(self, place: Place, tower: ImageTower) -> str:
        tuned = copy.deepcopy(tower).requires_grad_(False)
        sha = weights_sha(tuned)
        stored = read_json(RungScore, self._file(place.number), "rung")
        score = stored if stored is not None and stored.weights_sha == sha else self._measured(place, tuned, sha)
        return self.goes_on(score)

    def _measured(self, place: Place, tuned: ImageTower, sha: str) -> RungScore:
        begun, config, suite = time.perf_counter(), self.config, self.rungs.suite(self.config)
        where = self.where

        def bank(images: ImageSet) -> TextBank:
            return evaluation_bank(config, self.clip, images, str(where))

        # Loading images advances torch's own random state. No draw here depends on it, and a rung leaves it as it was.
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if where.type == "cuda" else []):
            records = evaluate(
                deployed(config, self.clip, tuned), suite, bank, self.clip.tower.image_size, seed=config.seed,
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
