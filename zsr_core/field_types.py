"""The scalar type of every field that a configuration can have, by dotted path, read from its classes.

Tables take their column types from here and not from values, so that a field has one type in every study, also where
all its values are None.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Scalar = type[bool] | type[int] | type[float] | type[str]


@cache
def scalar_types(kind: type) -> Mapping[str, Scalar]:
    """Return the scalar type of every dotted path that :func:`zsr_core.codec.flatten` gives for a ``kind``.

    Where classes of one union share a path, its type holds the values of all of them: float for int and float,
    otherwise str. Lists are str, because :func:`~zsr_core.codec.flatten` writes them as JSON text.
    """
    seen: dict[str, set[Scalar]] = {}
    _walk(kind, "", seen)
    return {path: _common(scalars) for path, scalars in seen.items()}


def _walk(kind: Any, path: str, seen: dict[str, set[Scalar]]) -> None:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        start = f"{path}." if path else ""
        seen.setdefault(f"{start}type", set()).add(str)
        hints = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            _walk(hints[field.name], f"{start}{field.name}", seen)
    elif get_origin(kind) in (Union, types.UnionType):
        for option in get_args(kind):
            _walk(option, path, seen)
    elif get_origin(kind) is Literal:
        seen.setdefault(path, set()).update(type(option) for option in get_args(kind))
    elif kind is not type(None):
        seen.setdefault(path, set()).add(kind if kind in (bool, int, float) else str)


def _common(scalars: set[Scalar]) -> Scalar:
    if len(scalars) == 1:
        return next(iter(scalars))
    return float if scalars == {int, float} else str
