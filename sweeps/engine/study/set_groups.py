"""The groups of sets that a matrix has columns of: means over tasks, single sets, sets of captions and of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sweeps.engine.study.folder import Study

# "captions": retrieval, the mean over sets of captions; "scenes": detection by crops.
Scope = Literal["zero-shot", "all", "captions", "scenes", "set"]
Group = tuple[Scope, str, tuple[str, ...]]  # scope, title, names of its sets


def set_groups(sets: Sequence[str], trained: Sequence[str], *, per_set: bool) -> list[Group]:
    """Return the groups of sets that a matrix averages over: (scope, title, names)."""
    others = tuple(name for name in sets if name not in trained)
    own = ", ".join(name for name in sets if name in trained)
    groups: list[Group] = []
    if others:
        groups.append(("zero-shot", f"{len(others)}-set mean{f' (without {own})' if own else ''}", others))
    if own:
        groups.append(("all", f"{len(sets)}-set mean" if others else own, tuple(sets)))
    if per_set:
        groups += [("set", name, (name,)) for name in sets]
    return groups


def caption_groups(study: Study, *, per_set: bool) -> list[Group]:
    """Return the groups of sets of captions, as :func:`set_groups`; none where the suite asks for no retrieval."""
    retrieval = study.base.eval_suite.retrieval
    if retrieval is None:
        return []
    names = tuple(ref.called for ref in retrieval.sets)
    mean: Group = ("captions", f"retrieval on {', '.join(names)}", names)
    return [mean, *(("set", name, (name,)) for name in names if per_set and len(names) > 1)]


def scene_groups(study: Study) -> list[Group]:
    """Return the scenes that detection is measured on, as :func:`set_groups`; none where the suite asks for none."""
    detection = study.base.eval_suite.detection
    return [] if detection is None else [("scenes", f"detection on {detection.name}", (detection.name,))]
