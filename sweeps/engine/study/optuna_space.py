"""Convert the domains of ``zsr_core/space.py`` to the Optuna distributions that proposals are drawn from."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweeps.engine.study.branches import METHOD, labelled, parameters
from sweeps.engine.study.folder import Study
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


def ask(journal: optuna.Study, study: Study) -> optuna.Trial:
    """Return the next proposal of a search, with the parameters of a whole point.

    In a conditional space the branch is drawn first, then the parameters that points in it have.
    """
    trial = journal.ask(distributions(study.space))
    if study.branches:
        for name, domain in parameters(study, labelled(study, trial.params[METHOD])).items():
            if name not in study.space:
                _draw(trial, name, domain)
    return trial


def whole(study: Study, params: Mapping[str, object]) -> bool:
    """Return whether a proposal has all parameters of a point, which a killed launch may not have drawn."""
    if study.space.keys() - params.keys():
        return False
    branch = labelled(study, str(params[METHOD])) if study.branches else None
    return params.keys() == parameters(study, branch).keys()


def _draw(trial: optuna.Trial, name: str, domain: Domain) -> None:
    if isinstance(domain, Real):
        trial.suggest_float(name, domain.low, domain.high, log=domain.log)
    elif isinstance(domain, Int):
        trial.suggest_int(name, domain.low, domain.high, log=domain.log)
    else:
        trial.suggest_categorical(name, domain.values)
