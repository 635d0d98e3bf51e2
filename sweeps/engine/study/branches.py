"""Points of a study's space, also of a conditional one, where the axis ``method`` chooses a branch with its own axes.

A *point* holds the parameters that a sampler draws, by name. In a plain space the parameters are the axes, so a point
is the overrides of a cell. In a conditional space a branch's parameters have its label in their names, because two
methods may have weights of the same path with different domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Branch
from sweeps.engine.study.folder import Study
from zsr_core.codec import canonical, flatten
from zsr_core.space import Choice, Domain, short
from zsr_core.trial.config import TrialConfig

METHOD = "method"  # the axis that chooses the branch; its values are the labels of the branches


def chooser(branches: tuple[Branch, ...]) -> dict[str, Domain]:
    """Return the axis that chooses among branches; none if there are no branches."""
    return {METHOD: Choice(values=tuple(branch.label for branch in branches))} if branches else {}


def parameters(study: Study, branch: Branch | None = None) -> dict[str, Domain]:
    """Return the parameters of all points, or with ``branch`` of the points in it, by name."""
    taken = study.branches if branch is None else (branch,)
    own = {_named(each, path): domain for each in taken for path, domain in each.domains.items()}
    return {**study.space, **own}


def spaces(study: Study) -> list[tuple[Branch | None, dict[str, Domain]]]:
    """Return each branch with the parameters of its points; a plain space is one without a branch."""
    if not study.branches:
        return [(None, dict(study.space))]
    return [
        (branch, {**parameters(study, branch), METHOD: Choice(values=(branch.label,))}) for branch in study.branches
    ]


def branch_of(study: Study, overrides: Mapping[str, Any]) -> Branch | None:
    """Return the branch that a cell is in; None in a plain space, and for a cell that is in no branch."""
    plain = {path: canonical(value) for path, value in overrides.items()} if study.branches else {}
    for branch in study.branches:
        axes = _axes(study, branch)
        fixed = {path: value for path, value in branch.overrides.items() if path not in axes}
        if axes.keys() <= plain.keys() and all(plain.get(path) == canonical(value) for path, value in fixed.items()):
            return branch
    return None


def axes_of(study: Study, overrides: Mapping[str, Any]) -> dict[str, Domain]:
    """Return the axes that a cell has, by dotted path: those that all share, and those of its branch."""
    return _axes(study, branch_of(study, overrides))


def _axes(study: Study, branch: Branch | None) -> dict[str, Domain]:
    return {**shared(study), **({} if branch is None else branch.domains)}


def shared(study: Study) -> dict[str, Domain]:
    """Return the axes that all cells have, by dotted path."""
    return {path: domain for path, domain in study.space.items() if not (study.branches and path == METHOD)}


def point_of(study: Study, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a cell by name; in a plain space its overrides."""
    branch = branch_of(study, overrides)
    if branch is None:
        return dict(overrides)
    own = {_named(branch, path): overrides[path] for path in branch.domains}
    return {METHOD: branch.label, **{path: overrides[path] for path in shared(study)}, **own}


def overrides_of(study: Study, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that a whole point means; in a plain space the point itself."""
    if not study.branches:
        return dict(point)
    branch = labelled(study, point[METHOD])
    own = {path: point[_named(branch, path)] for path in branch.domains}
    return {**branch.overrides, **{path: point[path] for path in shared(study)}, **own}


def labelled(study: Study, label: str) -> Branch:
    """Return the branch of a label."""
    return next(branch for branch in study.branches if branch.label == label)


def values_text(study: Study, overrides: Mapping[str, Any]) -> str:
    """Return a cell's place in words: ``alpha=0.1 beta=0.3``, after the label of its branch if it is in one."""
    branch = branch_of(study, overrides)
    shown = overrides if branch is None else {path: overrides[path] for path in axes_of(study, overrides)}
    values = [f"{path.rsplit('.', 1)[-1]}={short(value)}" for path, value in shown.items()]
    return " ".join(values if branch is None else [branch.label, *values])


def recipes(study: Study) -> list[dict[str, Any]]:
    """Return each branch's own recipe as the start of a point: those of its parameters that are inside their domains.

    A sampler draws the others.
    """
    starts = []
    for branch in study.branches:
        point, domains = start_in(study, branch, flatten(study.base.with_(branch.overrides))), parameters(study, branch)
        starts.append({name: value for name, value in point.items() if domains[name].contains(value)})
    return starts


def start_in(study: Study, branch: Branch | None, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a flat configuration has in one branch, inside their domains or not."""
    own = {} if branch is None else branch.domains
    names = {path: _named(branch, path) if branch and path in own else path for path in _axes(study, branch)}
    chosen = {} if branch is None else {METHOD: branch.label}
    return {**chosen, **{name: flat[path] for path, name in names.items() if path in flat}}


def place_of(study: Study, config: TrialConfig) -> dict[str, Any] | None:
    """Return the overrides of the study's space that make ``config``; None if it is no point of the space."""
    flat = flatten(config)
    for branch in study.branches or (None,):
        axes = _axes(study, branch)
        if not axes.keys() <= flat.keys() or not (axes or branch):
            continue
        overrides = {**({} if branch is None else branch.overrides), **{path: flat[path] for path in axes}}
        if study.base.with_({**overrides, "seed": config.seed}).trial_id == config.trial_id:
            return overrides
    return None


def _named(branch: Branch, path: str) -> str:
    return f"{branch.label}: {path}"
