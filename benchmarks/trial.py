"""How long is one trial on the built-in miniature, training and evaluation, on one thread?

`python benchmarks/trial.py` runs a TGA-ZSR trial in a fresh folder, after one warm-up that is not counted and leaves
the shared teacher cache behind, as the first trial of a study does. CPU seconds are printed beside wall seconds:
on a machine with other work they are the steadier number.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from zsr_core.methods import TgaZsr
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import base
from zsr_core.trial.run import run_trial


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="timed trials")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    for name in ("repeats", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: got {getattr(args, name)}, expected at least 1")
    torch.set_num_threads(args.threads)
    config = base(TgaZsr(), "miniature")
    rows: list[tuple[float, float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.repeats + 1):
            begun = time.process_time()
            trial = config.with_({"seed": i})  # other weights each time, so that the cache has no tuned tower
            result = run_trial(trial, Path(folder) / trial.trial_id, RunContext(cache=Path(folder), device="cpu"))
            cpu = time.process_time() - begun
            if result.status != "done":
                raise SystemExit(f"the trial failed: {result.error}")
            cost = result.cost
            rows.append((cost["seconds_train"], cost["seconds_eval"], cost["seconds_total"], cpu))
    train, evaluation, total, cpu = (statistics.median(column) for column in zip(*rows[1:], strict=True))
    print(
        f"TGA-ZSR trial on the miniature, {args.threads} thread(s), median of {args.repeats}, "
        f"load average {os.getloadavg()[0]:.1f}\n\n"
        "| training | evaluation | total | CPU time |\n|---|---|---|---|\n"
        f"| {train:.1f} s | {evaluation:.1f} s | {total:.1f} s | {cpu:.1f} s |"
    )


if __name__ == "__main__":
    main()
