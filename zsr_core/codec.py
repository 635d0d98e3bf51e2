"""Frozen dataclasses to plain JSON and back, strictly, and the fingerprint that names a configuration.

Plain form: a dataclass becomes a dict of its fields; where a field's type is a union of dataclasses the dict
carries ``"type"``, the class name. Reading is strict: an unknown, missing or mistyped field is a
:class:`ConfigError` that names the dotted path, the value and what was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import types
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used: the message names the field, the value and what was expected."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown(path: str, value: object, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that is not in a table: the path, the value, the table, the nearest name."""
    names = list(known)
    listing = ", ".join(names)
    return ConfigError(f"{path}: unknown value {value!r}; expected one of: {listing}{did_you_mean(str(value), names)}")


def require(ok: bool, path: str, value: object, expected: str) -> None:
    """Raise :class:`ConfigError` naming ``path``, ``value`` and what was ``expected`` unless ``ok``."""
    if not ok:
        raise ConfigError(f"{path}: got {value!r}, expected {expected}")


def is_finite(value: object) -> bool:
    """Return whether ``value`` is a real number that is neither NaN nor infinite (bool is no number)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def to_plain(value: Any, path: str = "value") -> Any:
    """Return ``value`` as JSON types. Every dataclass below the top carries its ``type``.

    Raises:
        ConfigError: naming ``path``, for what has no plain form (an open file, a tensor, ...) or is NaN or infinite.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_plain(getattr(value, f.name), f"{path}.{f.name}") for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **plain}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(v, f"{path}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, float):
        require(math.isfinite(value), path, value, "a finite number")
        return value + 0.0  # -0.0 equals 0.0 and must not have another text
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ConfigError(f"{path}: got {value!r}, expected a value with a plain form, not {type(value).__name__}")


def from_plain(kind: type[T], plain: Any, path: str = "config") -> T:
    """Return ``plain`` as a value of type ``kind``.

    Raises:
        ConfigError: naming the dotted path of the first field that is unknown, missing or of another type.
    """
    result: T = _read(kind, plain, path)
    return result


def _read(kind: Any, plain: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, plain, path)
    origin = get_origin(kind)
    if origin is Literal:
        if plain not in get_args(kind):
            raise unknown(path, plain, (str(a) for a in get_args(kind)))
        return plain
    if origin in (Union, types.UnionType):
        return _read_union(get_args(kind), plain, path)
    if origin is tuple:
        require(isinstance(plain, (list, tuple)), path, plain, "a list")
        args = get_args(kind)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_read(args[0], item, f"{path}[{i}]") for i, item in enumerate(plain))
        require(len(plain) == len(args), path, plain, f"a list of {len(args)}")
        return tuple(_read(a, item, f"{path}[{i}]") for i, (a, item) in enumerate(zip(args, plain, strict=True)))
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        require(isinstance(plain, Mapping), path, plain, "a mapping")
        return {str(k): _read(get_args(kind)[1], v, f"{path}.{k}") for k, v in plain.items()}
    return _read_scalar(kind, plain, path)


def _read_scalar(kind: Any, plain: Any, path: str) -> Any:
    if kind is Any:
        return plain
    if kind is float:
        require(is_finite(plain), path, plain, "a finite number")
        return float(plain)
    if kind is int:
        whole = isinstance(plain, int) or (isinstance(plain, float) and plain.is_integer())
        require(whole and not isinstance(plain, bool), path, plain, "a whole number")
        return int(plain)
    if kind is bool or kind is str:
        require(isinstance(plain, kind), path, plain, "true or false" if kind is bool else "a string")
        return plain
    if kind is type(None):
        require(plain is None, path, plain, "null")
        return None
    raise ConfigError(f"{path}: fields of type {kind!r} cannot be read")


def _read_union(options: tuple[Any, ...], plain: Any, path: str) -> Any:
    if plain is None and type(None) in options:
        return None
    classes: dict[str, type] = {o.__name__: o for o in options if isinstance(o, type) and dataclasses.is_dataclass(o)}
    if classes and (isinstance(plain, Mapping) or dataclasses.is_dataclass(plain)):
        if dataclasses.is_dataclass(plain):
            plain = to_plain(plain)
        name = plain.get("type")
        if name not in classes:
            raise unknown(f"{path}.type", name, classes)
        return _read_dataclass(classes[name], plain, path)
    others = [o for o in options if o is not type(None) and not dataclasses.is_dataclass(o)]
    errors = []
    for option in others:
        try:
            return _read(option, plain, path)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(errors[0] if errors else f"{path}: got {plain!r}, expected one of: {', '.join(classes)}")


def _read_dataclass(kind: type, plain: Any, path: str) -> Any:
    if isinstance(plain, kind):
        return plain
    require(isinstance(plain, Mapping), path, plain, f"the fields of {kind.__name__}")
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    given = {k: v for k, v in plain.items() if k != "type" or "type" in fields}
    if "type" in plain and "type" not in fields:
        require(plain["type"] == kind.__name__, f"{path}.type", plain["type"], repr(kind.__name__))
    for name in given:
        if name not in fields:
            has = f"it has: {', '.join(fields)}{did_you_mean(name, fields)}"
            raise ConfigError(f"{path}: {kind.__name__} has no field {name!r}; {has}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        require(name in given or optional, f"{path}.{name}", None, f"a value: {kind.__name__} needs it")
    values = {name: _read(_hints(kind)[name], item, f"{path}.{name}") for name, item in given.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}") from None


def with_overrides(config: T, overrides: Mapping[str, Any], path: str = "config") -> T:
    """Return ``config`` with fields replaced by dotted path, e.g. ``{"method.alpha": 0.3, "seed": 1}``.

    A whole branch may be replaced by a dataclass of the field's type. Raises :class:`ConfigError` naming the path.
    """
    plain = to_plain(config, path)
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        node, walked = plain, path
        for key in parents:
            node, walked = _child(node, key, walked), f"{walked}.{key}"
        _child(node, last, walked)
        node[last] = to_plain(value, f"{path}.{dotted}")
    return from_plain(type(config), plain, path)


def _child(node: Any, key: str, path: str) -> Any:
    if isinstance(node, dict) and key in node and key != "type":
        return node[key]
    known = [k for k in node if k != "type"] if isinstance(node, dict) else []
    owner = node.get("type", "a mapping") if isinstance(node, dict) else repr(node)
    has = f"it has: {', '.join(known)}" if known else "it has no fields"
    raise ConfigError(f"{path}: {owner} has no field {key!r}; {has}{did_you_mean(key, known)}")


def canonical(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, floats as Python's shortest repr."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any, length: int = 12) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of :func:`canonical`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return ``value`` as ``{"method.alpha": 0.08, ...}``: dotted path to scalar; lists become JSON text."""
    plain = to_plain(value)
    flat: dict[str, Any] = {}
    for key, item in plain.items():
        name = f"{prefix}{key}"
        if isinstance(item, dict):
            flat.update(flatten(item, f"{name}."))
        else:
            flat[name] = json.dumps(item) if isinstance(item, list) else item
    return flat
