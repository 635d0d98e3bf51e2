"""Frozen dataclasses to plain JSON and back, strictly, and the fingerprint that names a configuration.

Plain form: a dataclass becomes a dict of its fields; where a field's type is a union of dataclasses the dict
carries ``"type"``, the class name. A field marked :data:`LATER` is left out at its default. Reading is strict: an
unknown, missing or mistyped field is a :class:`ConfigError` that names the dotted path, the value and what was
expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

# Metadata of a field that was added after results had been written: at its default it changes no fingerprint.
LATER = {"later": True}
NEAREST = 4  # names that an error for one of a long table lists
T = TypeVar("T")
Reader = Callable[[Any, str], Any]  # a plain value and its dotted path -> the value


class ConfigError(ValueError):
    """A configuration that cannot be used: the message names the field, the value and what was expected."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known name, or an empty string.

    It goes right after the name, before a list that may be long. A known dotted path is also near by its last part. A
    name of one letter is near to none.
    """
    whole: dict[str, str] = {}
    for each in map(str, known):
        last = each.rpartition(".")[2]
        for text in (each, last) if last.isidentifier() else (each,):
            whole.setdefault(text, each)
    close = difflib.get_close_matches(name, whole, n=1, cutoff=0.5) if len(name.strip("-")) > 1 else []
    return f" (did you mean {whole[close[0]]!r}?)" if close else ""


def unknown(path: str, value: object, known: Iterable[str], listed_by: str = "") -> ConfigError:
    """Return the error for a name that is not in a table: the path, the value, the table, the nearest name.

    Args:
        listed_by: the command that lists a table which is too long for an error, of which it then names the nearest.
    """
    names = list(known)
    if listed_by:
        near = difflib.get_close_matches(str(value), names, n=NEAREST, cutoff=0.4)
        such = f", such as {', '.join(near)}" if near else ""
        expected = f"one of {len(names)} names{such}; {listed_by} lists them"
    else:
        expected = f"one of: {', '.join(names)}"
    return ConfigError(f"{path}: unknown value {value!r}{did_you_mean(str(value), names)}; expected {expected}")


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


def parse_number(text: str) -> float | None:
    """Return the number that ``text`` writes as a decimal or as a fraction such as ``4/255``; None if it is neither."""
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / (float(bottom) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        return None


def parse_names(text: str) -> tuple[str, ...]:
    """Return the entries of a list with commas, without the spaces around them; empty ones are left out."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def to_plain(value: Any, path: str = "value", *, whole: bool = False) -> Any:
    """Return ``value`` as JSON types. Every dataclass below the top carries its ``type``.

    Args:
        whole: with the fields marked :data:`LATER` that are at their defaults.

    Raises:
        ConfigError: naming ``path``, for what has no plain form (an open file, a tensor, ...) or is NaN or infinite.
    """
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [to_plain(v, f"{path}[{i}]", whole=whole) for i, v in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = parts_of(value, whole=whole)
        plain = {name: to_plain(part, f"{path}.{name}", whole=whole) for name, part in parts.items()}
        return {"type": type(value).__name__, **plain}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v, f"{path}.{k}", whole=whole) for k, v in value.items()}
    if isinstance(value, float):
        require(math.isfinite(value), path, value, "a finite number")
        return value + 0.0  # -0.0 equals 0.0 and must not have another text
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ConfigError(f"{path}: got {value!r}, expected a value with a plain form, not {type(value).__name__}")


def parts_of(value: Any, *, whole: bool = False) -> dict[str, Any]:
    """Return the fields of a dataclass that :func:`to_plain` writes, by name, as they are."""
    fields = [f for f in dataclasses.fields(value) if whole or not _untouched(f, value)]
    return {f.name: getattr(value, f.name) for f in fields}


def _untouched(field: dataclasses.Field[Any], owner: Any) -> bool:
    return "later" in field.metadata and getattr(owner, field.name) == field.default


def from_plain(kind: type[T], plain: Any, path: str = "config") -> T:
    """Return ``plain`` as a value of type ``kind``.

    Raises:
        ConfigError: naming the dotted path of the first field that is unknown, missing or of another type.
    """
    result: T = _reader(kind)(plain, path)
    return result


def read_json(kind: type[T], path: Path, called: str) -> T | None:
    """Return the value of type ``kind`` that a JSON file holds, or None if there is no such file.

    Raises:
        ConfigError: naming what it is ``called`` and the file, if it is there and cannot be read.
    """
    return from_plain(kind, load_json(path, called), str(path)) if path.is_file() else None


def load_json(path: Path, called: str) -> Any:
    """Return the plain value that a JSON file holds.

    Raises:
        ConfigError: naming what it is ``called`` and the file, if it is no JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested too deeply
        raise ConfigError(f"{called}: {path} is not JSON ({error})") from None


def to_texts(value: Any) -> dict[str, str]:
    """Return the fields of a dataclass as JSON texts, for :func:`from_texts`."""
    return {name: canonical(part) for name, part in parts_of(value).items()}


def from_texts(kind: type[T], texts: Mapping[str, str], cache: dict[tuple[str, str], Any], path: str) -> T:
    """Return the dataclass ``kind`` whose fields have these JSON texts.

    Args:
        cache: what was read before, by field and text. Values that share a text share one object, so that thousands of
            configurations that differ in a field or two take the time and the memory of these fields.

    Raises:
        ConfigError: as :func:`from_plain`.
        ValueError: if a text is no JSON.
    """
    readers, _ = _fields_of(cast(type, kind))
    fields: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in readers:
            raise ConfigError(f"{path}: {kind.__name__} has no field {name!r}; it has: {', '.join(readers)}")
        if (name, text) not in cache:
            cache[name, text] = readers[name](parse_json(text), f"{path}.{name}")
        fields[name] = cache[name, text]
    try:
        return kind(**fields)
    except TypeError as error:  # a field without a default is missing
        raise ConfigError(f"{path}: {error}") from None


# Characters that move a terminal's cursor, colour it, or reverse the order of what is read; as JSON writes them, too.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
CONTROL_IN_JSON = re.compile(
    CONTROL.pattern + r"|\\u00(?:0[0-8b-f]|1[0-9a-f]|7f|[89][0-9a-f])|\\[bfr]|\\u20(?:0[ef]|2[a-e]|6[6-9])", re.I
)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, with control characters replaced, because values of it are printed.

    Raises:
        ValueError: if it is no JSON.
        RecursionError: if it is nested too deeply.
    """
    plain = json.loads(text)
    # A plain ASCII text has none outside of escapes, because JSON refuses raw ones; the search would cost as much as
    # the reading.
    plain_ascii = text.isascii() and "\\" not in text and "\x7f" not in text
    return _printable(plain) if not plain_ascii and CONTROL_IN_JSON.search(text) else plain


def printable(text: str) -> str:
    """Return ``text`` with a ``\ufffd`` for every control character other than tab and newline."""
    return CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def _printable(plain: Any) -> Any:
    if isinstance(plain, str):
        return printable(plain)
    if isinstance(plain, list):
        return [_printable(item) for item in plain]
    if isinstance(plain, dict):
        return {printable(name): _printable(item) for name, item in plain.items()}
    return plain


def _reader(kind: Any) -> Reader:
    """Return what reads a plain value as ``kind``. A result holds thousands of values: each type is inspected once."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return partial(_read_dataclass, kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return partial(_read_literal, args)
    if origin in (Union, types.UnionType):
        return _union_reader(args)
    if origin is Sequence:
        return partial(_read_list, _reader(args[0]))
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return partial(_read_list, _reader(args[0]))
        return partial(_read_tuple, tuple(map(_reader, args)))
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        return partial(_read_mapping, _reader(args[1]))
    return _SCALARS.get(kind) or partial(_refuse, kind)


def _read_literal(options: tuple[Any, ...], plain: Any, path: str) -> Any:
    if plain not in options:
        raise unknown(path, plain, (str(a) for a in options))
    return plain


def _read_list(read: Reader, plain: Any, path: str) -> Any:
    require(isinstance(plain, (list, tuple)), path, plain, "a list")
    return tuple([read(item, f"{path}[{i}]") for i, item in enumerate(plain)])


def _read_tuple(readers: tuple[Reader, ...], plain: Any, path: str) -> Any:
    require(isinstance(plain, (list, tuple)), path, plain, "a list")
    require(len(plain) == len(readers), path, plain, f"a list of {len(readers)}")
    return tuple(read(item, f"{path}[{i}]") for i, (read, item) in enumerate(zip(readers, plain, strict=True)))


def _read_mapping(read: Reader, plain: Any, path: str) -> Any:
    require(isinstance(plain, Mapping), path, plain, "a mapping")
    return {str(k): read(v, f"{path}.{k}") for k, v in plain.items()}


def _read_any(plain: Any, path: str) -> Any:
    return plain


def _read_float(plain: Any, path: str) -> float:
    require(is_finite(plain), path, plain, "a finite number")
    return float(plain)


def _read_int(plain: Any, path: str) -> int:
    whole = isinstance(plain, int) or (isinstance(plain, float) and plain.is_integer())
    require(whole and not isinstance(plain, bool), path, plain, "a whole number")
    return int(plain)


def _read_bool(plain: Any, path: str) -> Any:
    require(isinstance(plain, bool), path, plain, "true or false")
    return plain


def _read_str(plain: Any, path: str) -> Any:
    require(isinstance(plain, str), path, plain, "a string")
    return plain


def _read_null(plain: Any, path: str) -> None:
    require(plain is None, path, plain, "null")


_SCALARS: dict[Any, Reader] = {
    Any: _read_any, float: _read_float, int: _read_int, bool: _read_bool, str: _read_str, type(None): _read_null,
}  # fmt: skip


def _refuse(kind: Any, plain: Any, path: str) -> Any:
    raise ConfigError(f"{path}: fields of type {kind!r} cannot be read")


def _union_reader(options: tuple[Any, ...]) -> Reader:
    classes: dict[str, type] = {o.__name__: o for o in options if isinstance(o, type) and dataclasses.is_dataclass(o)}
    others = [_reader(o) for o in options if o is not type(None) and not dataclasses.is_dataclass(o)]
    return partial(_read_union, type(None) in options, classes, others)


def _read_union(optional: bool, classes: dict[str, type], others: list[Reader], plain: Any, path: str) -> Any:
    if plain is None and optional:
        return None
    if classes and (isinstance(plain, Mapping) or dataclasses.is_dataclass(plain)):
        if dataclasses.is_dataclass(plain):
            plain = to_plain(plain)
        name = plain.get("type")
        if name not in classes:
            raise unknown(f"{path}.type", name, classes)
        return _read_dataclass(classes[name], plain, path)
    errors = []
    for read in others:
        try:
            return read(plain, path)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(errors[0] if errors else f"{path}: got {plain!r}, expected one of: {', '.join(classes)}")


@cache
def _fields_of(kind: type) -> tuple[dict[str, Reader], tuple[str, ...]]:
    """Return what reads each field of a dataclass, and the fields that have no default."""
    hints = get_type_hints(kind)
    fields = [f for f in dataclasses.fields(kind) if f.init]
    missing = dataclasses.MISSING
    needed = tuple(f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {f.name: _reader(hints[f.name]) for f in fields}, needed


def _read_dataclass(kind: type, plain: Any, path: str) -> Any:
    if isinstance(plain, kind):
        return plain
    require(isinstance(plain, Mapping), path, plain, f"the fields of {kind.__name__}")
    readers, needed = _fields_of(kind)
    tagged = "type" in plain and "type" not in readers
    if tagged:
        require(plain["type"] == kind.__name__, f"{path}.type", plain["type"], repr(kind.__name__))
    values = {name: plain[name] for name in readers if name in plain}
    if len(values) + tagged < len(plain):
        name = next(name for name in plain if name not in readers and not (tagged and name == "type"))
        has = f"{did_you_mean(name, readers)}; it has: {', '.join(readers)}"
        raise ConfigError(f"{path}: {kind.__name__} has no field {name!r}{has}")
    for name in needed:
        if name not in values:
            require(False, f"{path}.{name}", None, f"a value: {kind.__name__} needs it")
    values = {name: readers[name](item, f"{path}.{name}") for name, item in values.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}") from None


def with_overrides(config: T, overrides: Mapping[str, Any], path: str = "config") -> T:
    """Return ``config`` with fields replaced by dotted path, e.g. ``{"method.alpha": 0.3, "seed": 1}``.

    A whole branch may be replaced by a dataclass of the field's type. Raises :class:`ConfigError` naming the path.
    """
    plain = to_plain(config, path, whole=True)
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        node, walked = plain, path
        for key in parents:
            node, walked = _child(node, key, walked), f"{walked}.{key}"
        _child(node, last, walked)
        node[last] = to_plain(value, f"{path}.{dotted}", whole=True)
    return from_plain(type(config), plain, path)


def _child(node: Any, key: str, path: str) -> Any:
    if isinstance(node, dict) and key in node and key != "type":
        return node[key]
    known = [k for k in node if k != "type"] if isinstance(node, dict) else []
    owner = node.get("type", "a mapping") if isinstance(node, dict) else repr(node)
    has = f"it has: {', '.join(known)}" if known else "it has no fields"
    raise ConfigError(f"{path}: {owner} has no field {key!r}{did_you_mean(key, known)}; {has}")


def canonical(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, floats as Python's shortest repr."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any, length: int = 12) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of :func:`canonical`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return ``value`` as ``{"method.alpha": 0.08, ...}``: dotted path to scalar; lists become JSON text."""
    return flatten_plain(to_plain(value), prefix)


def flatten_plain(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what :func:`flatten` does for a value that is plain already, as JSON was read."""
    flat: dict[str, Any] = {}
    for key, item in plain.items():
        name = f"{prefix}{key}"
        if isinstance(item, dict):
            flat.update(flatten_plain(item, f"{name}."))
        else:
            flat[name] = json.dumps(item) if isinstance(item, list) else item
    return flat
