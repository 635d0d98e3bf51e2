"""Measure how well the miniature detects images that are out of distribution (OOD), untouched and after FARE.

    python benchmarks/ood_miniature.py --n 32 --out /tmp/ood

AUROC in percent, means over the twelve zero-shot sets, each in distribution in turn, report split: clean, and with
either side under attacks on the detector of the column (APGD of ``--steps`` at the default budget, 2/255). Trials that
are done in ``--out`` are not run again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from zsr_core.attacks import Detector, Pgd
from zsr_core.data import DataRef
from zsr_core.data.miniature import OUTSIDE, ZERO_SHOT
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN
from zsr_core.methods import Fare
from zsr_core.names import ScoreName
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import base
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import run_trial

ATTACKED: tuple[ScoreName, ...] = ("msp", "max_logit")
SIDES = {"clean": "", "ID attacked": "_adv_id", "OOD attacked": "_adv_ood"}


def config_of(n: int, steps: int, epochs: int) -> TrialConfig:
    """Return the trial: FARE's recipe, or with 0 epochs the untouched model."""
    refs = {kind: tuple(DataRef(name=name) for name, own in OUTSIDE.items() if own == kind) for kind in ("near", "far")}
    start = base(Fare(), "miniature")
    suite = replace(
        start.eval_suite, tasks=tuple(DataRef(name=name) for name in ZERO_SHOT), split="report", n=n,
        attacks=(Pgd(steps=10),), ood_near=refs["near"], ood_far=refs["far"],
        ood_attacks=tuple(Detector(score=score, steps=steps) for score in ATTACKED),
    )  # fmt: skip
    return replace(start, epochs=epochs, eval_suite=suite)


def rows(name: str, result: TrialResult) -> list[str]:
    """Return the result as lines of a Markdown table."""
    means = {(m.metric, m.attack): m for m in result.measurements if m.task == ZERO_SHOT_MEAN}
    names = {attack.score: attack.name for attack in result.config.eval_suite.ood_attacks}
    lines = []
    for condition, side in SIDES.items():
        cells = [means[f"{kind}_auroc_{score}{side}", names[score] if side else "none"]
                 for kind in ("near", "far") for score in ATTACKED]  # fmt: skip
        told = " | ".join("–" if m.value is None else f"{m.value:.1f}" for m in cells)
        lines.append(f"| {name} | {condition} | {told} |")
    accuracy = ", ".join(f"{metric} {means[metric, attack].value:.1f}" for metric, attack in
                         (("clean", "none"), ("robust", "pgd10")))  # fmt: skip
    return [*lines, f"{name}: {accuracy}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the miniature's detection of OOD images.")
    parser.add_argument("--n", type=int, default=32, help="images of each set")
    parser.add_argument("--steps", type=int, default=20, help="of the attacks on the detectors")
    parser.add_argument("--out", type=Path, required=True, help="where the trials' folders go")
    given = parser.parse_args()
    print("| model | condition | near, MSP | near, max logit | far, MSP | far, max logit |\n|---|---|---|---|---|---|")
    for name, epochs in (("untouched", 0), ("FARE, 1 epoch", 1)):
        config = config_of(given.n, given.steps, epochs)
        result = run_trial(config, given.out / config.trial_id, RunContext(cache=given.out, device="cpu"))
        print("\n".join(rows(name, result) if result.status == "done" else [result.error]), flush=True)


if __name__ == "__main__":
    main()
