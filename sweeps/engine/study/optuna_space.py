"""Convert the domains of ``zsr_core/space.py`` to the Optuna distributions that proposals are drawn from."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from zsr_core.codec import require
from zsr_core.space import Domain, Int, Real


def distributions(space: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """Return each axis as a distribution under its dotted path; both bounds stay inclusive.

    Raises:
        ConfigError: for a choice among values that are not plain, because a proposal is stored as text.
    """
    return {path: _distribution(path, domain) for path, domain in space.items()}


def _distribution(path: str, domain: Domain) -> BaseDistribution:
    if isinstance(domain, Real):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    for value in domain.values:
        plain = value is None or isinstance(value, (bool, int, float, str))
        require(plain, path, value, "a number, a text, true, false or null to search over")
    return CategoricalDistribution(domain.values)
