"""How long does the driver take for a proposal of a large search, and how often do many workers get the same one?

`python benchmarks/proposals.py` runs a search of 1,000 trials on 64 pretended workers, without training: each trial
ends with a score of a made surface and a little noise. Then it times further proposals, with the writing of plan and
journal. The same search runs on plain Optuna with its default sampler beside it, in the same process. On a busy machine
the processor's time says more than the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.engine.analysis.searching.duplicates import near, placed
from sweeps.engine.running.jobs import Job
from sweeps.engine.running.search import Proposals
from sweeps.engine.study.folder import trial_folder, write_study
from sweeps.engine.study.optuna_space import distributions
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from zsr_core.codec import to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.methods import TgaZsr
from zsr_core.space import Domain, Real
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

SPACE: Mapping[str, Domain] = {
    "method.alpha": Real(low=0.001, high=1.0, log=True),
    "method.beta": Real(low=0.001, high=1.0, log=True),
    "optim.lr": Real(low=1e-6, high=1e-2, log=True),
    "threat.eps": Real(low=1 / 255, high=4 / 255),
}
NOISE = 0.5  # points, standard deviation of a score
Point = Mapping[str, float]
Tell = Callable[[Sequence[float]], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one search has shown."""

    name: str
    seconds: tuple[float, ...]  # of each proposal after the finished ones: asked for and told, on the clock
    processor: tuple[float, ...]  # the same of the processor
    repeated: float  # share of proposals within 1 % of one that was in flight, on every axis


def scores(point: Point, draw: random.Random) -> tuple[float, float]:
    """Return clean and robust accuracy at a point: best at alpha = beta = 0.05, and in conflict over the radius."""
    off = sum((math.log10(point[path]) + 1.3) ** 2 for path in ("method.alpha", "method.beta"))
    off += (math.log10(point["optim.lr"]) + 4) ** 2
    radius = 255 * point["threat.eps"]
    return 80 - 4 * off - 2 * radius + draw.gauss(0, NOISE), 30 - 4 * off + 3 * radius + draw.gauss(0, NOISE)


def run(
    name: str, propose: Callable[[], tuple[Point, Tell] | None], finished: int, timed: int, workers: int
) -> Measured:
    """Run ``finished`` trials on ``workers`` workers that end in random order, then time ``timed`` more."""
    draw = random.Random(0)
    running: list[tuple[Point, Tell]] = []
    seconds: list[float] = []
    processor: list[float] = []
    repeats = asked = 0
    while asked < finished + timed:
        began = time.perf_counter(), time.process_time()
        proposal = propose()
        took = time.perf_counter() - began[0], time.process_time() - began[1]
        if proposal is None:
            break
        asked += 1
        at = placed(proposal[0], SPACE)
        repeats += any(near(at, placed(other, SPACE)) for other, _ in running)
        running.append(proposal)
        if len(running) == workers:
            point, tell = running.pop(draw.randrange(workers))
            values = scores(point, draw)
            began = time.perf_counter(), time.process_time()
            tell(values)
            took = took[0] + time.perf_counter() - began[0], took[1] + time.process_time() - began[1]
        if asked > finished:
            seconds.append(took[0])
            processor.append(took[1])
    return Measured(name=name, seconds=tuple(seconds), processor=tuple(processor), repeated=repeats / max(1, asked))


def ours(folder: Path, sampler: str, finished: int, timed: int, workers: int) -> Measured:
    """Return what a search of this lab shows: plan, journal and results are written as in a launch."""
    sweep = Sweep(name="s", question="?", base={"miniature": TrialConfig(method=TgaZsr())}, space=dict(SPACE))
    study = new_study(sweep, preset="miniature", search=sampler, seeds=(0,), objectives=("clean", "robust"))
    write_study(folder, study)
    proposals = Proposals(
        folder, study, samples=finished + timed + workers, seeds=(0,),
        publish=lambda study: write_study(folder, study),
    )  # fmt: skip
    untouched = proposals.next()
    assert untouched is not None
    proposals.finished(untouched)

    def propose() -> tuple[Point, Tell] | None:
        job = proposals.next()
        if job is None:
            return None
        return dict(job.trials[0].overrides), lambda values: _finish(folder, proposals, job, values)

    return run(f"zsr --search {sampler}", propose, finished, timed, workers)


def _finish(folder: Path, proposals: Proposals, job: Job, values: Sequence[float]) -> None:
    (trial,), (config,) = job.trials, job.configs
    rows = tuple(
        Measurement(
            trial_id=trial.trial_id, weights_sha="w", task=ZERO_SHOT_MEAN, split="selection", attack=attack,
            eps=0.0 if attack == "none" else job.score_eps, metric=metric, value=value, n=10, low=None, high=None,
        )
        for metric, attack, value in zip(("clean", "robust"), ("none", WORST), values, strict=True)
    )  # fmt: skip
    result = TrialResult(trial_id=trial.trial_id, config=config, status="done", measurements=rows)
    write_text(trial_folder(folder, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    proposals.finished(job)


def plain(folder: Path, finished: int, timed: int, workers: int) -> Measured:
    """Return what plain Optuna shows, with its default sampler and a journal file."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "plain.journal")))
    study = optuna.create_study(storage=storage, directions=["maximize", "maximize"])
    space = distributions(SPACE)

    def propose() -> tuple[Point, Tell]:
        trial = study.ask(space)
        return trial.params, lambda values: _tell(study, trial.number, values)

    return run("plain Optuna", propose, finished, timed, workers)


def _tell(study: optuna.Study, number: int, values: Sequence[float]) -> None:
    study.tell(number, list(values))


def lines(found: Sequence[Measured], finished: int, workers: int) -> list[str]:
    """Return the table."""

    def milliseconds(value: float) -> str:
        return f"{1000 * value:>9.0f} ms"

    rows = [
        f"  {each.name:<20} {milliseconds(float(np.median(each.seconds)))} "
        f"{milliseconds(float(np.quantile(each.seconds, 0.9)))} {milliseconds(float(np.median(each.processor)))} "
        f"{each.repeated:>12.1%}"
        for each in found
    ]
    return [
        f"Driver time of a proposal after {finished} trials, {workers} workers, {len(SPACE)} axes, 2 objectives",
        f"  {'search':<20} {'median':>12} {'90th pct.':>12} {'processor':>12} {'duplicates':>12}",
        *rows,
        "duplicates: proposals within 1 % of one in flight, on every axis, over the whole search",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--search", nargs="+", default=["tpe", "random"], metavar="NAME")
    parser.add_argument("--finished", type=int, default=1000, metavar="N")
    parser.add_argument("--timed", type=int, default=64, metavar="N", help="further proposals, which are timed")
    parser.add_argument("--workers", type=int, default=64, metavar="N")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="zsr-proposals-") as name:
        folder, size = Path(name), (options.finished, options.timed, options.workers)
        found = [ours(folder / each, each, *size) for each in options.search]
        found.append(plain(folder / "plain", *size))
    print("\n".join(lines(found, options.finished, options.workers)))


if __name__ == "__main__":
    main()
