"""Do a study's methods stand in the order of a published table? Kendall's tau, with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import harmonic_mean

from scipy import stats as scipy_stats

from sweeps.engine.analysis.outcomes import planned_row
from sweeps.engine.analysis.scores import CellScore, scores
from sweeps.engine.format import eps_text
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import CLEAN, HARMONIC, ROBUST, deciding_score
from zsr_core.published import SOURCES, Published, same_eps
from zsr_core.published.names import UNTRAINED

LEAST = 4  # methods in common; with three, no order differs from chance
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Order:
    """The order of methods in one published column beside the study's."""

    place: str  # source and table, as printed
    model: str
    attack: str  # as printed; "none" for clean accuracy
    eps: float | None  # in [0, 1] pixel units
    score: str  # "clean", "robust", "harmonic"
    published: Mapping[str, float]  # method -> percent, from high to low
    measured: Mapping[str, float]  # the same methods in the same order, percent
    tau: float | None  # tau-b in [-1, 1]; None where one of the orders has only ties
    low: float | None  # 95 %; None below five methods
    high: float | None
    p: float | None  # of no association, two-sided; exact without ties


def orders(folder: StudyFolder, rows: Iterable[Published]) -> tuple[Order, ...]:
    """Return one order for each column of mean accuracy that prints at least :data:`LEAST` of the study's methods.

    The untouched model is left out, because every table agrees on its place.
    """
    measured = by_method(folder)
    return tuple(
        order(place, column, measured)
        for place, column in columns(rows).items()
        if len(column.keys() & measured.keys()) >= LEAST
    )


def by_method(folder: StudyFolder) -> dict[str, CellScore]:
    """Return the row of each fine-tuning method on the selection split; of several, the best by the deciding score."""
    decides = deciding_score(folder.study.objectives).name
    best: dict[str, CellScore] = {}
    for cell in scores(folder, "cell", "selection"):
        value = cell.value(decides)
        config = folder.study.config(planned_row(folder, cell).trials[0])
        title = config.method.title
        held = best[title].value(decides) if title in best else None
        if value is not None and config.epochs and (held is None or value > held):
            best[title] = cell
    return best


Place = tuple[str, str, str, float | None, str]  # source and table, model, attack, eps, score


def columns(rows: Iterable[Published]) -> dict[Place, dict[str, float]]:
    """Return the columns of means over sets: method -> percent. A column that prints a method twice is left out.

    Where the source prints one clean mean for the weights of each method of a robust column, a column of the harmonic
    means of the two follows it.
    """
    tables: dict[Place, dict[str, list[Published]]] = {}
    cleans: dict[tuple[str, ...], set[float]] = {}
    for row in rows:
        place = _place(row)
        if place is not None:
            tables.setdefault(place, {}).setdefault(str(row.method), []).append(row)
            if row.metric == CLEAN.name:
                cleans.setdefault(_weights(row), set()).add(row.value)
    both: dict[Place, dict[str, float]] = {}
    for place, table in tables.items():
        if any(len(printed) > 1 for printed in table.values()):
            continue
        both[place] = {method: printed.value for method, (printed,) in table.items()}
        clean = {method: cleans.get(_weights(printed), set()) for method, (printed,) in table.items()}
        if place[4] == ROBUST.name and all(len(values) == 1 for values in clean.values()):
            means = {method: harmonic_mean((*clean[method], value)) for method, value in both[place].items()}
            both[(*place[:4], HARMONIC.name)] = means
    return both


def _place(row: Published) -> Place | None:
    """Return the column that a number belongs to; None if it is no mean accuracy of a method's main row."""
    mean = len(row.tasks) > 1 or row.dataset.startswith("zeroshot_avg")
    if row.method is None or row.method in UNTRAINED or row.setting or not mean:
        return None
    if row.metric == CLEAN.name:
        return (_table(row), row.model, row.attack, None, row.metric)
    one = row.metric == ROBUST.name and len(row.eps) == 1
    return (_table(row), row.model, row.attack, row.eps[0], row.metric) if one else None


def _table(row: Published) -> str:
    named = row.train_eps is None or same_eps(row.train_eps, SOURCES[row.source].train_eps)
    return row.place if named or row.train_eps is None else f"{row.place}, trained at {eps_text(row.train_eps)}"


def _weights(row: Published) -> tuple[str, ...]:
    fields = "" if row.fields is None else ",".join(f"{name}={row.fields[name]}" for name in sorted(row.fields))
    return (row.source, row.model, row.dataset, str(row.train_eps), str(row.method), fields)


def order(place: Place, column: Mapping[str, float], measured: Mapping[str, CellScore]) -> Order:
    """Return a column's order beside the measured one."""
    table, model, attack, eps, score = place
    values = {method: cell.value(score) for method, cell in measured.items() if method in column}
    common = sorted((m for m, v in values.items() if v is not None), key=lambda m: -column[m])
    ours = {method: value for method in common if (value := values[method]) is not None}
    tau, p = kendall([column[m] for m in common], list(ours.values()))
    low, high = (None, None) if tau is None else interval(tau, len(common))
    return Order(
        place=table, model=model, attack=attack, eps=eps, score=score,
        published={m: column[m] for m in common}, measured=ours, tau=tau, low=low, high=high, p=p,
    )  # fmt: skip


def kendall(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, float | None]:
    """Return Kendall's tau-b and the two-sided p of no association; (None, None) where one side has only ties."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None, None
    result = scipy_stats.kendalltau(first, second)
    return float(result.statistic), float(result.pvalue)


def interval(tau: float, methods: int) -> tuple[float | None, float | None]:
    """Return the 95 % interval of tau over ``methods``; (None, None) below five of them.

    Fisher's transform with the standard error sqrt(0.437 / (n - 4)) (Bonett and Wright, Psychometrika 65, 2000). The
    interval is about the choice of methods: with few of them it is wide. The transform of 1 is infinite, so an order
    without any reversed pair counts as one with half a pair reversed.
    """
    if methods <= LEAST:
        return None, None
    most = 1 - 1 / math.comb(methods, 2)
    centre = math.atanh(max(-most, min(most, tau)))
    half = Z * math.sqrt(0.437 / (methods - LEAST))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return -1.0 if tau <= -most else low, 1.0 if tau >= most else high
