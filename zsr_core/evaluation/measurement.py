"""``Measurement``, one number of a trial, and a trial's measurements in columns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast, get_args, overload

import numpy as np
import numpy.typing as npt

Key = Literal["task", "split", "attack", "eps", "metric"]
KEYS: tuple[Key, ...] = get_args(Key)  # the columns of a layout
Floats = npt.NDArray[np.float64]
T = TypeVar("T")
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number in the unit of its metric, with its 95 % interval ``low`` to ``high`` over images."""

    trial_id: str
    weights_sha: str
    task: str
    split: str
    attack: str
    eps: float
    metric: str
    value: float | None  # None: the metric is undefined for these images
    n: int  # images
    low: float | None
    high: float | None
    reason: str = ""  # why ``value`` is None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """What each of a trial's measurements is of, by column; the trials of a study mostly share one layout."""

    task: tuple[str, ...]
    split: tuple[str, ...]
    attack: tuple[str, ...]
    eps: tuple[float, ...]
    metric: tuple[str, ...]
    _kept: dict[Hashable, object] = field(default_factory=dict, init=False, repr=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` returns; it is called once for each ``key``."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast(T, self._kept[key])


@lru_cache(maxsize=256)
def shared_layout(
    task: tuple[str, ...], split: tuple[str, ...], attack: tuple[str, ...], eps: tuple[float, ...],
    metric: tuple[str, ...],
) -> Layout:  # fmt: skip
    """Return the layout with these columns; equal columns give one layout, so that its lookups are made once."""
    return Layout(task=task, split=split, attack=attack, eps=eps, metric=metric)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasurementRows(Sequence[Measurement]):
    """The measurements of one trial in columns: an immutable sequence that makes a ``Measurement`` where one is read.

    Thousands of trials with hundreds of numbers fit into memory in this form only.
    """

    layout: Layout
    trial_id: str
    weights_sha: str
    value: Floats  # [N]; NaN where the measurement has None, here and in ``low`` and ``high``
    low: Floats
    high: Floats
    n: npt.NDArray[np.int64]  # [N]
    reasons: Mapping[int, str]  # place -> why the value is None; without the empty ones

    def __len__(self) -> int:
        return len(self.value)

    @overload
    def __getitem__(self, at: int) -> Measurement: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Measurement, ...]: ...

    def __getitem__(self, at: int | slice) -> Measurement | tuple[Measurement, ...]:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        i = range(len(self))[at]
        layout = self.layout
        return Measurement(
            trial_id=self.trial_id, weights_sha=self.weights_sha, task=layout.task[i], split=layout.split[i],
            attack=layout.attack[i], eps=layout.eps[i], metric=layout.metric[i], value=_number(self.value[i]),
            n=int(self.n[i]), low=_number(self.low[i]), high=_number(self.high[i]), reason=self.reasons.get(i, ""),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Measurement]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (tuple, MeasurementRows)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


FIELDS = tuple(f.name for f in fields(Measurement))
NEEDED = frozenset(FIELDS) - {"reason"}
TEXTS = ("task", "split", "attack", "metric")
NUMBERS = ("value", "low", "high")


def rows_from_plain(plain: Any) -> MeasurementRows | None:
    """Return the measurements of a trial from their plain form, as JSON was read, in columns.

    None for what has no such columns: an empty list, numbers of several checkpoints, or anything that the strict reader
    would refuse, which then says why.
    """
    if not isinstance(plain, list) or not plain or not all(type(row) is dict for row in plain):
        return None
    names = plain[0].keys()
    if names - {"type", "reason"} != NEEDED or not all(row.keys() == names for row in plain):
        return None
    columns = {name: tuple([row[name] for row in plain]) for name in names}
    return _from_columns(columns)


def rows_of(measurements: Sequence[Measurement]) -> MeasurementRows | None:
    """Return the measurements of a trial in columns; None where they have no such columns."""
    if isinstance(measurements, MeasurementRows):
        return measurements
    if not measurements:
        return None
    return _from_columns({name: tuple([getattr(m, name) for m in measurements]) for name in FIELDS})


def _from_columns(columns: Mapping[str, tuple[Any, ...]]) -> MeasurementRows | None:
    kinds = {name: set(map(type, column)) for name, column in columns.items()}
    reasons = columns.get("reason", ())
    if (
        any(kinds.get(name, {str}) != {str} for name in (*TEXTS, "trial_id", "weights_sha", "reason"))
        or any(not kinds[name] <= {float, int, type(None)} for name in NUMBERS)
        or not kinds["eps"] <= {float, int}
        or kinds["n"] != {int}
        or any(len(set(columns[name])) != 1 for name in ("trial_id", "weights_sha"))
        or not set(columns.get("type", ())) <= {"Measurement"}
    ):
        return None
    try:
        numbers = {name: np.array(columns[name], np.float64) for name in NUMBERS}  # None becomes NaN
        n, eps = np.array(columns["n"], np.int64), np.array(columns["eps"], np.float64)
    except OverflowError:
        return None
    empty = {name: columns[name].count(None) for name in NUMBERS}
    if not np.isfinite(eps).all() or any(int((~np.isfinite(v)).sum()) != empty[k] for k, v in numbers.items()):
        return None
    return MeasurementRows(
        layout=shared_layout(
            columns["task"], columns["split"], columns["attack"], tuple(map(float, columns["eps"])), columns["metric"]
        ),
        trial_id=columns["trial_id"][0], weights_sha=columns["weights_sha"][0],
        n=n, reasons={i: reason for i, reason in enumerate(reasons) if reason}, **numbers,
    )  # fmt: skip


def by_layout(measurements: Sequence[Measurement], key: Hashable, make: Callable[[Sequence[Measurement]], T]) -> T:
    """Return ``make(measurements)``, which may depend on nothing but the columns of :class:`Layout`.

    It is called once for each layout and key, so that what is found for one trial of a study is found for all.
    """
    if isinstance(measurements, MeasurementRows):
        return measurements.layout.once(key, lambda: make(measurements))
    return make(measurements)


def picked(
    measurements: Sequence[Measurement],
    key: Hashable,
    read: Callable[[Sequence[Measurement]], Mapping[Name, Measurement]],
) -> dict[Name, Measurement]:
    """Return the measurements that ``read`` picks out of these by name.

    It is called once for each layout and key, as by :func:`by_layout`, so that which ones it picks may depend on
    nothing but the columns of :class:`Layout`.
    """

    def places(rows: Sequence[Measurement]) -> dict[Name, int]:
        own = list(rows)
        place = {id(m): at for at, m in enumerate(own)}
        return {name: place[id(m)] for name, m in read(own).items()}

    return {name: measurements[at] for name, at in by_layout(measurements, key, places).items()}


def where(measurements: Sequence[Measurement], **fixed: str | float) -> list[Measurement]:
    """Return the measurements that have these values in the columns named: ``where(rows, metric="clean")``."""

    def found(rows: Sequence[Measurement]) -> tuple[int, ...]:
        return tuple(i for i, m in enumerate(rows) if all(getattr(m, name) == v for name, v in fixed.items()))

    return [measurements[i] for i in by_layout(measurements, ("where", *fixed.items()), found)]


def distinct(measurements: Sequence[Measurement], *names: Key) -> tuple[tuple[Any, ...], ...]:
    """Return the different values of the columns named, as tuples, in the order in which they first occur."""

    def found(rows: Sequence[Measurement]) -> tuple[tuple[Any, ...], ...]:
        return tuple(dict.fromkeys(tuple(getattr(m, name) for name in names) for m in rows))

    return by_layout(measurements, ("distinct", names), found)


def distinct_among(measured: Iterable[Sequence[Measurement]], *names: Key) -> tuple[tuple[Any, ...], ...]:
    """Return what :func:`distinct` does, of the measurements of several trials; a layout is looked at once."""
    found: dict[tuple[Any, ...], None] = {}
    seen: set[int] = set()
    for measurements in measured:
        if isinstance(measurements, MeasurementRows):
            if id(measurements.layout) in seen:
                continue
            seen.add(id(measurements.layout))  # a layout stays alive as long as its rows, which the caller holds
        found.update(dict.fromkeys(distinct(measurements, *names)))
    return tuple(found)
