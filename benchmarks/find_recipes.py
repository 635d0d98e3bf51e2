"""Which learning rate and weights suit each method on the miniature, every method given the same budget?

Prints the table ``MINIATURE`` of ``zsr_core/presets.py``. Every method gets the same number of trials, each the same
training images, epochs and evaluation: the shared recipe first, then points of its learning rate and at most two of its
weights, spread evenly over their ranges. What counts is the harmonic mean of clean and robust accuracy over the
zero-shot sets, on the selection renders, seed 0.

Run: ``python benchmarks/find_recipes.py [--trials 12] [--methods Agft Ucat]``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces import Axis
from zsr_core.evaluate import WORST, ZERO_SHOT_MEAN
from zsr_core.methods import METHODS
from zsr_core.presets import shared
from zsr_core.space import Choice, Real
from zsr_core.trial import TrialConfig, TrialResult, run_trial

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
}


def axes_of(kind: type) -> tuple[Axis, ...]:
    """Return the axes searched for a method: the learning rate and up to two of its weights."""
    if kind.__name__ in MORE:
        return (LR, *MORE[kind.__name__])
    file = kind.__module__.rpartition(".")[2]
    found = importlib.util.find_spec(f"search_spaces.{file}")
    weights = () if found is None else importlib.import_module(f"search_spaces.{file}").WEIGHTS
    return (LR, *[axis for axis in weights if isinstance(axis.domain, Real)][:2])


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


def score(result: TrialResult) -> float:
    """Return the harmonic mean over the zero-shot sets in percent; a failed trial scores below all others."""
    if result.status != "done":
        return -1.0
    (value,) = (m.value for m in result.measurements
                if (m.task, m.attack, m.metric) == (ZERO_SHOT_MEAN, WORST, "harmonic"))  # fmt: skip
    return value


def main() -> None:
    """Search, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--out", default="results/find_recipes")
    parser.add_argument("--methods", nargs="*", default=[kind.__name__ for kind in METHODS])
    args = parser.parse_args()
    table: dict[str, dict[str, float]] = {}
    for kind in METHODS:
        if kind.__name__ not in args.methods:
            continue
        base: TrialConfig = shared()["miniature"].with_({"method": kind()})
        tried: list[tuple[float, dict[str, Any]]] = []
        for point in points(axes_of(kind), args.trials):
            config = base.with_(point)
            result = run_trial(config, Path(args.out) / config.trial_id, cache=Path(args.out) / "cache")
            tried.append((score(result), point))
            print(f"{kind.__name__:10} {tried[-1][0]:6.2f}  {point}", flush=True)
        best, table[kind.__name__] = max(tried, key=lambda row: row[0])
        print(f"{kind.__name__:10} best {best:.2f} of {len(tried)}", flush=True)
    print("MINIATURE: Mapping[type[AnyMethod], Mapping[str, Any]] = {")
    for name, point in table.items():
        if point:
            print(f"    {name}: {point!r},")
    print("}")


if __name__ == "__main__":
    main()
