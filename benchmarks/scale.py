"""How long do export, table, plot, report and the decision what is left take in a large study, in how much memory?

`python benchmarks/scale.py` writes a synthetic study of 2,000 trials with 504 numbers each, in the format of real
trials, and runs each command on it in a process of its own; `--trials 10000` is the scale of a cluster. Trials have no
records per image unless `--images` is given. The first command on a study reads every result; the index of results that
it leaves behind is read by all others, so `first` and `again` are printed apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from search_spaces.tga_zsr import WEIGHTS
from sweeps.engine.study.folder import PlannedTrial, Study, trial_folder, write_study
from sweeps.engine.study.plan import new_study, report_trials
from sweeps.engine.study.sweep import Sweep
from zsr_core.attacks import Apgd, Pgd
from zsr_core.codec import to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.methods import TgaZsr
from zsr_core.records import SampleRecord, write_samples
from zsr_core.space import Variant
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import base
from zsr_core.trial.result import TrialResult

ON_CLEAN = ("clean", "ece", "overconfidence", "aurc")
UNDER_ATTACK = ("robust", "ece", "overconfidence", "aurc", "auroc_adv")
UNDER_WORST = (*UNDER_ATTACK[:1], "harmonic", *UNDER_ATTACK[1:])
LEVELS = (0.001, 10.0)  # of alpha and beta
PLACEHOLDER = 0.123456789  # stands for a value in the text of a result
COMMANDS = {
    "export": ("export",),
    "table": ("table",),
    "table --published": ("table", "--published"),
    "plot": ("plot",),
    "report": ("report",),
}
DECIDE = (
    "import sys; from pathlib import Path; from sweeps.engine.study.folder import open_study; "
    "folder = open_study(Path(sys.argv[1])); print(len(folder.unfinished()), 'left to run')"
)


def sweep_of(side: int, seeds: Sequence[int]) -> Sweep:
    """Return a sweep over a grid of ``side`` x ``side`` weights with two attacks at two budgets."""
    config = base(TgaZsr(), "miniature")
    eps = config.threat.eps
    config = config.with_({"eval_suite.attacks": (Pgd(steps=10), Apgd(steps=10)), "eval_suite.eps": (eps, 2 * eps)})
    at = [float(value) for value in np.geomspace(*LEVELS, side)]
    cells = [
        Variant(label=f"alpha={a:.6g} beta={b:.6g}", overrides={"method.alpha": a, "method.beta": b})
        for a in at
        for b in at
    ]
    return Sweep(
        name="scale", question="How does a study of many trials read?", base={"miniature": config}, space=WEIGHTS,
        variants=tuple(cells), seeds=tuple(seeds), surfaces=(("method.alpha", "method.beta"),),
    )  # fmt: skip


def synthetic_study(folder: Path, *, trials: int, seeds: int, images: int) -> Study:
    """Write a study of about ``trials`` finished trials to ``folder`` and return it."""
    side = max(2, round((trials / seeds) ** 0.5))
    sweep = sweep_of(side, range(seeds))
    study = new_study(sweep, preset="miniature", search=None, seeds=sweep.seeds, objectives=sweep.objectives)
    finals = report_trials(study.base, sweep.cells("miniature")[:1], study.seeds)
    study = replace(study, plan=(*study.plan, *finals))
    write_study(folder, study)
    texts: dict[str, str] = {}
    random = np.random.default_rng(0)
    for planned in study.plan:
        write_trial(folder, study, planned, random, texts)
        if images:
            write_samples(trial_folder(folder, planned.trial_id) / "samples.parquet", records(study, planned, images))
    return study


def write_trial(
    folder: Path, study: Study, planned: PlannedTrial, random: np.random.Generator, texts: dict[str, str]
) -> None:
    """Write ``config.json`` and ``result.json`` as a trial does, with random numbers."""
    config = study.config(planned)
    rows = measurements(planned.trial_id, config)
    if planned.split not in texts:
        plain = [{**to_plain(row), "trial_id": "@ID@", "weights_sha": "@SHA@"} for row in rows]
        text = json.dumps(plain, indent=1).replace("\n", "\n ")
        texts[planned.split] = text.replace("%", "%%").replace(repr(PLACEHOLDER), "%r")
    values = [
        value
        for row, draw in zip(rows, random.random(len(rows)).tolist(), strict=True)
        for middle in [(70.0 if row.attack == "none" else 30.0) + 5.0 * draw]
        for value in (middle, middle - 4.0, middle + 4.0)
    ]
    numbers = texts[planned.split] % tuple(values)
    numbers = numbers.replace("@ID@", planned.trial_id).replace("@SHA@", planned.trial_id)
    head = TrialResult(
        trial_id=planned.trial_id, config=config, status="done",
        history=({"epoch": 0.0, "loss": 1.0 + values[0] / 100, "seconds": 10.0},),
        cost={"seconds_train": 12.0, "seconds_eval": 10.0, "seconds_total": 22.0, "passes_forward": 222.0},
        provenance={
            "zsr": "0.1.0", "torch": "2.15.0", "device": "cpu: x86_64", "host": "vm", "git_sha": "0" * 40,
            "git_dirty": "false", "weights_sha": planned.trial_id, "started": "2026-11-28T17:52:24+00:00",
            "finished": "2026-11-28T17:52:46+00:00",
        },
    )  # fmt: skip
    text = json.dumps(to_plain(head), indent=1).replace('"measurements": []', f'"measurements": {numbers}', 1)
    place = trial_folder(folder, planned.trial_id)
    place.mkdir(parents=True, exist_ok=True)
    (place / "result.json").write_text(text + "\n", encoding="utf-8")
    (place / "config.json").write_text(json.dumps(to_plain(config), indent=1) + "\n", encoding="utf-8")


def measurements(trial_id: str, config: TrialConfig) -> list[Measurement]:
    """Return the rows of a trial's measurements, with a placeholder for every number."""
    suite = config.eval_suite
    attacked = [
        (name, eps, UNDER_WORST if name == WORST else UNDER_ATTACK)
        for eps in suite.eps
        for name in (*(attack.name for attack in suite.attacks), WORST)
    ]
    return [
        Measurement(
            trial_id=trial_id, weights_sha=trial_id, task=task, split=suite.split, attack=attack, eps=eps,
            metric=metric, value=PLACEHOLDER, n=64, low=PLACEHOLDER, high=PLACEHOLDER,
        )
        for task in (*(ref.called for ref in suite.tasks), ZERO_SHOT_MEAN)
        for attack, eps, metrics in (("none", 0.0, ON_CLEAN), *attacked)
        for metric in metrics
    ]  # fmt: skip


def records(study: Study, planned: PlannedTrial, images: int) -> list[SampleRecord]:
    """Return the records of a trial: ``images`` per set, right or wrong at random."""
    suite = study.config(planned).eval_suite
    random = np.random.default_rng(int(planned.trial_id, 16))
    conditions = [("none", 0.0), *((attack.name, eps) for attack in suite.attacks for eps in suite.eps)]
    return [
        SampleRecord(
            trial_id=planned.trial_id, weights_sha=planned.trial_id, task=ref.called, split=suite.split,
            sample_id=f"{i:04d}", condition=condition, attack_id="", ran="", stage="", norm=suite.norm,
            threat_space=suite.space, eps=eps, label=0, pred=int(wrong), correct=not wrong, p_max=0.5, entropy=0.1,
            margin=0.1, linf=eps, l2=eps, queries=1,
        )
        for ref in suite.tasks
        for condition, eps in conditions
        for i, wrong in enumerate((random.random(images) < (0.3 if condition == "none" else 0.7)).tolist())
    ]  # fmt: skip


def timed(command: Sequence[str], limit: float) -> tuple[float, float, int]:
    """Return wall seconds, peak memory in GB and the exit code of a command; -9 where it ran past ``limit`` seconds."""
    begun = time.perf_counter()
    child = os.posix_spawn(
        command[0], list(command), os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )  # fmt: skip
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return time.perf_counter() - begun, usage.ru_maxrss / 1e6, os.waitstatus_to_exitcode(status)
        if time.perf_counter() - begun > limit:
            os.kill(child, 9)
            limit = float("inf")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=0, help="per set, as records; 0: none are written")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a command is ended")
    parser.add_argument("--study", type=Path, help="an earlier synthetic study, or where to keep it")
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help=f"of: {', '.join(['decide', *COMMANDS])}")
    args = parser.parse_args()
    for name in ("trials", "seeds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: got {getattr(args, name)}, expected at least 1")
    with contextlib.ExitStack() as stack:
        folder = args.study or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "scale"
        if not (folder / "study.json").exists():
            synthetic_study(folder, trials=args.trials, seeds=args.seeds, images=args.images)
        if not args.only or "decide" in args.only:
            shutil.rmtree(folder / ".index", ignore_errors=True)
        size = sum((place / "result.json").stat().st_size for place in (folder / "trials").iterdir())
        print(f"{sum(1 for _ in (folder / 'trials').iterdir())} trials, {size / 1e9:.2f} GB of results\n")
        print("| what | time | peak memory |\n|---|---|---|")
        jobs: dict[str, tuple[str, ...]] = {
            "decide, first": ("-c", DECIDE, str(folder)),
            "decide, again": ("-c", DECIDE, str(folder)),
        }
        jobs |= {k: ("-m", "sweeps.engine", *words, "--study", str(folder)) for k, words in COMMANDS.items()}
        for called, words in jobs.items():
            if args.only and called.partition(",")[0] not in args.only:
                continue
            seconds, peak, code = timed((sys.executable, *words), args.limit)
            end = "" if code == 0 else f" (exit code {code})"
            print(f"| {called} | {seconds:.1f} s{end} | {peak:.2f} GB |", flush=True)


if __name__ == "__main__":
    main()
