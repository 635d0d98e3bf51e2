"""Fast bootstrap over images: images with equal outcomes are resampled as one kind.

A resample of N images is fully described by how often each kind is drawn. These counts are multinomial, so the cost
depends on the number of kinds and hardly on N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Drawn = NDArray[np.float32]  # holds whole numbers, which float32 stores exactly up to 16 million

FEW = 32  # up to this number of kinds, numpy's multinomial is as fast as Poisson counts
CELLS = 1 << 20  # kinds x resamples in one block: 4 MB, about the size of a CPU cache
ROWS = 32  # rows of bits that one int64 code can take in addition to an image's index


@dataclass(frozen=True, kw_only=True, eq=False)
class Kinds:
    """The images of one task, grouped by their outcomes: K outcomes, 0 or 1, under each of S seeds."""

    outcomes: Array  # [K, S, P]
    counts: Counts  # [P], number of images of each kind

    @classmethod
    def of(cls, series: Array) -> Kinds:
        """Return the kinds of the images in ``series``, [K, S, N]."""
        return cls(outcomes=series, counts=np.ones(series.shape[2], dtype=np.int64)).merged()

    def with_seeds(self, seeds: Counts) -> Kinds:
        """Return the kinds of the images restricted to these seeds."""
        return Kinds(outcomes=self.outcomes[:, seeds], counts=self.counts).merged()

    def merged(self) -> Kinds:
        """Return the kinds with those of equal outcomes joined."""
        k, s, p = self.outcomes.shape
        _, first, kind = np.unique(_codes(self.outcomes.reshape(k * s, p)), return_index=True, return_inverse=True)
        counts = np.bincount(kind, weights=self.counts).astype(np.int64)
        return Kinds(outcomes=self.outcomes[:, :, first], counts=counts)

    def resampled_means(self, rng: np.random.Generator, draws: int) -> Array:
        """Return [draws, S, K]: the outcome means of resamples; each draws all N images with replacement."""
        k, s, p = self.outcomes.shape
        outcomes = self.outcomes.reshape(k * s, p).astype(np.float32)
        step = max(1, CELLS // p)
        parts = [outcomes @ drawn_counts(self.counts, rng, min(step, draws - at)) for at in range(0, draws, step)]
        means = np.concatenate(parts, axis=1).astype(np.float64) / self.counts.sum()  # [K S, draws]
        return np.asarray(means.reshape(k, s, draws).transpose(2, 1, 0), dtype=np.float64)


def _codes(rows: Array) -> Counts:
    """Return [N]: a code for each column of the bits ``rows`` [.., N]; equal columns have equal codes."""
    codes = np.zeros(rows.shape[1], dtype=np.int64)
    for i, row in enumerate(rows):
        if i and i % ROWS == 0:  # renumber the codes from 0, so that they stay below N and cannot overflow
            codes = np.unique(codes, return_inverse=True)[1]
        codes = 2 * codes + row.astype(np.int64)
    return codes


def drawn_counts(counts: Counts, rng: np.random.Generator, draws: int) -> Drawn:
    """Return [P, draws]: how often each kind is among N images drawn with replacement, N being all of ``counts``.

    Every column is exactly multinomial. With more than :data:`FEW` kinds, each column starts as independent Poisson
    counts, because these are fast to draw. Its total is then corrected to N: a column with too few images gets the
    missing ones drawn one by one, and a column with too many is replaced by a multinomial draw.
    """
    n, p = int(counts.sum()), len(counts)
    if p <= FEW:
        return rng.multinomial(n, counts / n, size=draws).T.astype(np.float32)
    drawn = poisson_counts(_share(n, p) * counts.astype(np.float64), rng, draws)
    lacking = n - drawn.sum(axis=0).astype(np.int64)  # [draws]
    over = np.flatnonzero(lacking < 0)
    drawn[:, over] = rng.multinomial(n, counts / n, size=len(over)).T
    lacking[over] = 0
    cells = np.repeat(np.arange(p) * draws, counts)  # [N], offset of the row in which each image's kind is counted
    picked = cells[rng.integers(0, n, lacking.sum(), dtype=np.uint32)] + np.repeat(np.arange(draws), lacking)
    drawn += np.bincount(picked, minlength=p * draws).reshape(p, draws)
    return drawn


def _share(n: int, p: int) -> float:
    """Return the Poisson total's mean as a share of N.

    It is below 1, because adding one missing image costs about a tenth of redrawing one kind."""
    spare = math.sqrt(2 * math.log(max(1.0, 4.5 * p / math.sqrt(n))))  # in standard deviations of the Poisson total
    return max(0.0, 1 - spare / math.sqrt(n))


def poisson_counts(rates: Array, rng: np.random.Generator, draws: int) -> Drawn:
    """Return [P, draws] independent Poisson counts.

    For each rate a histogram of the ``draws`` values is drawn and its values are shuffled, because a histogram needs
    fewer random numbers than the values.
    """
    drawn = np.empty((len(rates), draws), dtype=np.float32)
    order = np.argsort(rates)
    for some in np.array_split(order, -(-len(order) // 64)):  # similar rates share one table of values
        values, chances = _poisson(rates[some])
        histograms = rng.multinomial(draws, chances)  # [64, V]
        drawn[some] = np.repeat(values.astype(np.float32).ravel(), histograms.ravel()).reshape(len(some), draws)
    rng.permuted(drawn, axis=1, out=drawn)
    return drawn


def _poisson(rates: Array) -> tuple[Counts, Array]:
    """Return (values, chances), [P, V] each; the omitted values have a total probability below 1e-16."""
    reach = 9 * math.sqrt(rates.max()) + 20
    first = np.maximum(0, np.floor(rates - reach)).astype(np.int64)  # [P]
    values = first[:, None] + np.arange(int((rates - first).max() + reach) + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, values.max() + 1)))])
    with np.errstate(divide="ignore", invalid="ignore"):  # a rate of 0 gives only the value 0
        logs = np.where(values == 0, 0.0, values * np.log(rates)[:, None]) - rates[:, None] - log_factorials[values]
    chances = np.exp(logs)
    return values, chances / chances.sum(axis=1, keepdims=True)
