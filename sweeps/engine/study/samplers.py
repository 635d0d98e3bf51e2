"""The samplers of a search, by name, each told about the proposals that still run.

With many workers a sampler must not propose the same point again and again before the first score is known. TPE counts
running proposals as bad ones (constant liar), the Gaussian process conditions on them; the others draw anew each time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from zsr_core.codec import unknown

POPULATION = 12  # of NSGA-II and NSGA-III; our choice, because studies have tens of trials

SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True),
    "gp": lambda seed: GPSampler(seed=seed),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=POPULATION),
    "nsga3": lambda seed: NSGAIIISampler(seed=seed, population_size=POPULATION),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "random": lambda seed: RandomSampler(seed=seed),
    "qmc": lambda seed: QMCSampler(
        seed=seed, scramble=True, warn_independent_sampling=False, warn_asynchronous_seeding=False
    ),
}
# The samplers that can draw from a conditional space. Others see the axes that all points share, and draw the rest at
# random. `group` models the axes of each branch by the proposals in it.
CONDITIONAL: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    "random": lambda seed: RandomSampler(seed=seed),
}
# A quasi-random sequence goes on where it stopped only under the seed that it began with; the journal has its place.
ONE_SEED = ("qmc",)


def sampler(name: str, seed: int, *, conditional: bool = False) -> BaseSampler:
    """Return the named sampler, seeded; ``conditional``: for a space whose axes depend on a branch."""
    known = CONDITIONAL if conditional else SAMPLERS
    if name not in known:
        raise unknown("search", name, known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the pin of optuna holds their interface
        return known[name](seed)
