"""Trials of the usual trainer on the miniature of 96 pixels, at 2/255: what tuned models reach, and in which time.

    python benchmarks/fine_trials.py --n 64 --split selection untouched fare pmg tecoa tga

Learning rates are those of an earlier experiment at this size and were not searched. Two epochs of batch 16, a training
attack of one step of 1.25 eps. A line per trial: mean clean and robust accuracy over the zero-shot sets, seconds of
training on the clock.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from zsr_core.attacks import Pgd
from zsr_core.data.miniature import FINE
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.methods import Fare, PmgAft, TeCoA, TgaZsr
from zsr_core.trial import presets
from zsr_core.trial.run import run_trial

EPS = 2 / 255
TRIALS: dict[str, tuple[Any, dict[str, Any]]] = {
    "untouched": (Fare(), {"epochs": 0}),
    "fare": (Fare(clean_weight=0.0), {"optim.lr": 1e-3}),
    "fare_clean": (Fare(clean_weight=0.2), {"optim.lr": 1e-3}),
    "pmg": (PmgAft(), {"optim.lr": 8e-4}),
    "tecoa": (TeCoA(), {"optim.lr": 4e-4}),
    "tga": (TgaZsr(alpha=0.03, beta=0.03), {"optim.lr": 4e-4}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Trials on the miniature of 96 pixels.")
    parser.add_argument("names", nargs="+", choices=tuple(TRIALS))
    parser.add_argument("--n", type=int, default=64, help="images of a set")
    parser.add_argument("--split", choices=("selection", "report"), default="selection")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "fine_trials")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        method, own = TRIALS[name]
        changes = {
            "model.name": FINE, "threat.eps": EPS, "eval_suite.eps": (EPS,), "eval_suite.n": given.n,
            "eval_suite.split": given.split, "epochs": given.epochs,
            "train_attack": Pgd(steps=1, step_ratio=1.25, keep="last"), **own,
        }  # fmt: skip
        config = presets.miniature(method).with_(changes)
        result = run_trial(config, given.out / config.trial_id, cache=given.out / "cache", device="cpu")
        if result.status != "done":
            print(f"{name}: {result.error}", flush=True)
            continue
        value = {(m.task, m.metric, m.attack): m.value for m in result.measurements}
        clean, robust = value[ZERO_SHOT_MEAN, "clean", "none"], value[ZERO_SHOT_MEAN, "robust", WORST]
        seconds = result.cost["seconds_train"]
        print(f"{name} {config.trial_id}: clean {clean:.1f}, robust {robust:.1f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
