"""Which learning rate and weights suit each method on the miniature, every method given the same budget?

Prints the table ``MINIATURE`` of ``zsr_core/trial/presets.py``. Every method gets the same number of trials, each the
same training images, epochs and evaluation: the shared recipe first, then points of its learning rate and at most two
of its weights, spread evenly over their ranges. The rule was fixed before the search: the point with the highest clean
accuracy is chosen among those of at least ``--robust`` percent, over the zero-shot sets, on 32 selection renders of
each, seed 0. If no point reaches it, the point with the best harmonic mean is chosen. A method that sees no attack is
chosen by clean accuracy. (By the harmonic mean alone most methods would go to the learning rate that buys the last
point of robustness with twenty of clean accuracy.)

One point says little of a method, so a second table compares methods along the trade-off: the clean accuracy at several
robust ones, the robust accuracy at several clean ones, and the hypervolume above the untouched model's robustness.

Run: ``python benchmarks/find_recipes.py [--trials 12] [--robust 15] [--methods Agft Ucat]``; an hour of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search_spaces import Axis
from sweeps.engine.analysis import curves
from zsr_core.codec import ConfigError
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.methods import METHODS
from zsr_core.space import Choice, Real
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import shared
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import run_trial

LR = Axis(path="optim.lr", domain=Real(low=1e-4, high=2e-3, log=True))
# Scales fitted to CLIP's 100 that the miniature's 33 does not share, and papers' weights for losses of other sizes.
MORE: Mapping[str, tuple[Axis, ...]] = {
    "PmgAft": (
        Axis(path="method.logit_scale", domain=Real(low=1.0, high=33.0, log=True)),
        Axis(path="method.alpha", domain=Real(low=0.01, high=3.0, log=True)),
    ),
    "Laat": (
        Axis(path="method.tau", domain=Real(low=0.01, high=1.0, log=True)),
        Axis(path="method.beta", domain=Real(low=0.05, high=5.0, log=True)),
    ),
    "LpFt": (),  # its numbers shape the probe alone, which is fitted before training begins
}
FACTOR = 10.0  # a field without a search space is varied from its default divided by this to its default times this
IMAGES = 32  # of a set
ROBUST_LEVELS, CLEAN_LEVELS = (12, 15, 20), (70, 60)  # percent, of the table along the trade-off
MOST = 2  # fields of a method that are varied beside the learning rate


def axes_of(kind: type) -> tuple[Axis, ...]:
    """Return the axes searched for a method: the learning rate and up to two of its weights.

    They are those of its search space; without a search space they are made from its numeric fields.
    """
    if kind.__name__ in MORE:
        return (LR, *MORE[kind.__name__])
    file = kind.__module__.rpartition(".")[2]
    spec = importlib.util.find_spec(f"search_spaces.{file}")
    weights = field_axes(kind) if spec is None else importlib.import_module(f"search_spaces.{file}").WEIGHTS
    return (LR, *[axis for axis in weights if isinstance(axis.domain, Real)][:MOST])


def field_axes(kind: type) -> tuple[Axis, ...]:
    """Return an axis per float field of a method, in log steps around its default; from 0 to 1 for a default of 0.

    An end that the method refuses is drawn in to the default; a field with both ends at the default is left out.
    """
    axes = []
    for field in dataclasses.fields(kind):
        if isinstance(field.default, float) and field.default >= 0:
            ends = (0.0, 1.0) if field.default == 0 else (field.default / FACTOR, field.default * FACTOR)
            low, high = (end if accepts(kind, field.name, end) else field.default for end in ends)
            if low < high:
                axes.append(Axis(path=f"method.{field.name}", domain=Real(low=low, high=high, log=low > 0)))
    return tuple(axes)


def accepts(kind: type, field: str, value: float) -> bool:
    """Return whether a method takes a value of one of its fields."""
    try:
        kind(**{field: value})
    except ConfigError:
        return False
    return True


def varied_text(kind: type, axes: Sequence[Axis]) -> str:
    """Return what is varied of a method, and which of its numbers are not."""
    varied = {axis.path for axis in axes}
    ranges = [f"{a.path} {a.domain.low:g} to {a.domain.high:g}" for a in axes if isinstance(a.domain, Real)]
    numbers = [f.name for f in dataclasses.fields(kind) if isinstance(f.default, (int, float))
               and not isinstance(f.default, bool)]  # fmt: skip
    kept = [name for name in numbers if f"method.{name}" not in varied]
    return f"varies {', '.join(ranges)}" + (f"; keeps {', '.join(kept)} at the default" if kept else "")


def points(axes: tuple[Axis, ...], trials: int) -> Iterator[dict[str, float]]:
    """Yield the shared recipe, then points that fill the box evenly (additive recurrence, Roberts' R_d sequence)."""
    yield {}
    phi = 2.0
    for _ in range(30):
        phi = (1 + phi) ** (1 / (len(axes) + 1))
    for n in range(1, trials):
        at = [(0.5 + n / phi ** (i + 1)) % 1 for i in range(len(axes))]
        yield {axis.path: place(axis, t) for axis, t in zip(axes, at, strict=True)}


def place(axis: Axis, t: float) -> float:
    """Return the point of an axis at share ``t`` of its length, to three digits."""
    domain = axis.domain
    if isinstance(domain, Choice):
        raise TypeError(f"{axis.path}: a choice has no length")
    value = domain.low * (domain.high / domain.low) ** t if domain.log else domain.low + t * (domain.high - domain.low)
    return float(f"{value:.3g}")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One point with its scores over the zero-shot sets, in percent."""

    point: Mapping[str, float]
    clean: float
    robust: float
    harmonic: float


def tried(point: Mapping[str, float], result: TrialResult) -> Tried:
    """Return a point's scores; a failed trial scores below all others."""
    if result.status != "done":
        return Tried(point=point, clean=-1.0, robust=-1.0, harmonic=-1.0)
    means = (m for m in result.measurements if m.task == ZERO_SHOT_MEAN)
    at = {(m.attack, m.metric): m.value for m in means if m.value is not None}
    return Tried(
        point=point, clean=at["none", "clean"], robust=at[WORST, "robust"], harmonic=at[WORST, "harmonic"]
    )  # fmt: skip


def chosen(points: Sequence[Tried], robust: float) -> Tried:
    """Return the cleanest point among those of ``robust`` percent; where none is, that of the best harmonic mean."""
    enough = [p for p in points if p.robust >= robust]
    return max(enough, key=lambda p: p.clean) if enough else max(points, key=lambda p: p.harmonic)


def clean_at(points: Sequence[Tried], robust: float) -> float | None:
    """Return the highest clean accuracy at this robust accuracy or more; None if no point reaches it."""
    return max((p.clean for p in points if p.robust >= robust), default=None)


def robust_at(points: Sequence[Tried], clean: float) -> float | None:
    """Return the highest robust accuracy at this clean accuracy or more; None if no point reaches it."""
    return max((p.robust for p in points if p.clean >= clean), default=None)


def hypervolume(points: Sequence[Tried], above: float) -> float:
    """Return the area in percent squared that the points dominate, above a robust accuracy and above 0 % clean."""
    return curves.hypervolume(((p.clean, p.robust) for p in points), reference=(0.0, above))


def trade_off_lines(found: Mapping[str, Sequence[Tried]], untouched: float) -> list[str]:
    """Return the methods along their trade-off as Markdown, from the largest hypervolume down."""
    heads = [*(f"clean at ≥ {r} robust" for r in ROBUST_LEVELS), *(f"robust at ≥ {c} clean" for c in CLEAN_LEVELS)]
    lines = [f"| method | {' | '.join(heads)} | hypervolume |", "|---" * (len(heads) + 2) + "|"]
    for name, points in sorted(found.items(), key=lambda item: -hypervolume(item[1], untouched)):
        values = [*(clean_at(points, r) for r in ROBUST_LEVELS), *(robust_at(points, c) for c in CLEAN_LEVELS)]
        cells = ["–" if value is None else f"{value:.1f}" for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} | {hypervolume(points, untouched):.0f} |")
    return lines


def scores(of: Tried) -> str:
    """Return the scores as text."""
    return f"clean {of.clean:5.2f}  robust {of.robust:5.2f}  harmonic {of.harmonic:5.2f}"


def main() -> None:
    """Search, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--robust", type=float, default=15.0, help="percent; the untouched model has 7")
    parser.add_argument("--out", default="results/find_recipes")
    parser.add_argument("--methods", nargs="*", default=[kind.__name__ for kind in METHODS])
    args = parser.parse_args()
    table: dict[str, Mapping[str, float]] = {}
    every: dict[str, list[Tried]] = {}
    start: TrialConfig = shared()["miniature"].with_({"eval_suite.n": IMAGES})
    untouched = ran(start.with_({"epochs": 0}), {}, args.out)
    for kind in METHODS:
        if kind.__name__ not in args.methods:
            continue
        axes = axes_of(kind)
        print(f"{kind.__name__:10} {varied_text(kind, axes)}", flush=True)
        points_tried: list[Tried] = []
        for point in points(axes, args.trials):
            points_tried.append(ran(start.with_({"method": kind()}), point, args.out))
            print(f"{kind.__name__:10} {scores(points_tried[-1])}  {dict(point)}", flush=True)
        reads = kind().passes
        best = chosen(points_tried, args.robust if reads.student_adv or reads.teacher_adv else 0.0)
        table[kind.__name__], every[kind().title] = best.point, points_tried
        print(f"{kind.__name__:10} chosen of {len(points_tried)}: {scores(best)}", flush=True)
    print("MINIATURE: Mapping[type[AnyMethod], Mapping[str, Any]] = {")
    for name, row in table.items():
        if row:
            print(f"    {name}: {dict(row)!r},")
    print("}\n\n" + "\n".join(trade_off_lines(every, untouched.robust)))


def ran(base: TrialConfig, point: Mapping[str, float], out: str) -> Tried:
    """Return the scores of one point; a trial that has been run before is read."""
    config = base.with_(point)
    return tried(point, run_trial(config, Path(out) / config.trial_id, RunContext(cache=Path(out) / "cache")))


if __name__ == "__main__":
    main()
