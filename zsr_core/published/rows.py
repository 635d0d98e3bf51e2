"""The papers' numbers as values: read strictly from the table shipped beside this file, and asked for by name."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from zsr_core.codec import ConfigError, require, unknown
from zsr_core.names import PromptSet
from zsr_core.published.names import (
    ATTACKS,
    AVERAGES,
    BESIDE_AUTOATTACK,
    CHECKPOINTS,
    FIELDS,
    INFERRED,
    MEAN_OF_ATTACKS,
    METHODS,
    METRICS,
    MODEL,
    MODELS,
    OTHER_DATA,
    SETS,
    SETTINGS,
    SOURCES,
    UNTRAINED,
    Known,
    MethodRow,
)
from zsr_core.threat import Norm, PixelSpace

T = TypeVar("T")
FILE = Path(__file__).with_name("results.csv")
COLUMNS = ("source", "table", "method", "attack", "eps_255", "dataset", "metric", "value", "std")
NOTES: Mapping[str, str] = {  # what the name of a table says in brackets
    "aggregator": "from an aggregator of results, not from the paper",
    "derived": "derived from a stated difference",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published number: as printed, and as we call it. Percent, unless ``why`` says that it is no accuracy."""

    source: str  # a key of SOURCES
    table: str
    printed: str  # the method, as printed
    method: str | None  # our title, "CLIP" for the untouched model, None for what we do not have
    setting: str  # what else makes it differ from its method's main row; empty for that row
    fields: Mapping[str, float | str] | None  # the method's fields beside its defaults; None where they are not stated
    model: str
    trained_on: str | None  # our name of the training set; None for the untouched model
    train_eps: float | None  # in [0, 1] pixel units
    dataset: str  # as printed
    tasks: tuple[str, ...]  # our names of the sets: one, those a mean is over, none for what we do not have
    attack: str  # as printed; "none" is clean
    profile: str | None  # what that paper ran by that name, as we call it
    eps: tuple[float, ...]  # in [0, 1] pixel units; several for a mean over budgets, none where it is not stated
    prompts: PromptSet
    norm: Norm
    space: PixelSpace | None  # where the ball lives; None where a mean's sets differ in it
    metric: str  # "clean", "robust", or as printed
    value: float
    std: float | None  # over an unstated number of runs
    notes: tuple[str, ...] = ()  # what is not as it seems
    why: tuple[str, ...] = ()  # why no measurement of ours is of the same kind; empty if one can be

    @property
    def task(self) -> str | None:
        """Our name of its set, None for a mean or a set that we do not have."""
        return self.tasks[0] if len(self.tasks) == 1 else None

    @property
    def place(self) -> str:
        """Where it is printed: ``CompTGA-2026, table I``."""
        return f"{self.source}, table {self.table}"


@lru_cache(maxsize=1)
def published_numbers() -> tuple[Published, ...]:
    """Return every published number that is shipped, in the order of the papers' tables."""
    return read_published(FILE)


def published(
    *,
    method: str | None = None,
    task: str | None = None,
    attack: str | None = None,
    eps: float | None = None,
    metric: str | None = None,
    source: str | None = None,
    table: str | None = None,
    rows: Sequence[Published] | None = None,
) -> tuple[Published, ...]:
    """Return the numbers that have all that is given.

    Args:
        method: a title ("TGA-ZSR"; "CLIP" for the untouched model) or a name as printed.
        task: our name of a set ("cifar10"), or a set or mean as printed ("Average16").
        attack: a profile ("pgd100-tga") or a name as printed ("PGD-100"); "none" is clean.
        eps: one budget in [0, 1] pixel units; means over budgets have none.
        rows: which to look among; by default all that are shipped.

    Raises:
        ConfigError: for a name that no number has, with the nearest that one has.
    """
    matching: Iterable[Published] = published_numbers() if rows is None else rows
    named = (
        ("method", method, lambda r: (r.method, r.printed)),
        ("task", task, lambda r: (r.task, r.dataset)),
        ("attack", attack, lambda r: (r.profile, r.attack)),
        ("metric", metric, lambda r: (r.metric,)),
        ("source", source, lambda r: (r.source,)),
    )
    every = tuple(matching)
    for name, wanted, names in named:
        if wanted is not None:
            known = dict.fromkeys(n for row in every for n in names(row) if n is not None)
            if wanted not in known:
                raise unknown(name, wanted, known)
    for _, wanted, names in named:
        if wanted is not None:
            matching = [row for row in matching if wanted in names(row)]
    if eps is not None:
        matching = [row for row in matching if len(row.eps) == 1 and same_eps(row.eps[0], eps)]
    return tuple(row for row in matching if table is None or row.table == table)


def same_eps(a: float, b: float) -> bool:
    """Return whether two budgets are one: 4/255 and 0.01569 are not 8/255, whatever the last digits."""
    return abs(a - b) < 1e-6


def read_published(path: Path) -> tuple[Published, ...]:
    """Return the numbers in a CSV file of :data:`COLUMNS`.

    Raises:
        ConfigError: naming the file, the line and the field of the first row that cannot be read, or is there twice.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        header = tuple(reader.fieldnames or ())
        require(header == COLUMNS, f"{path}, line 1", header, f"the columns {', '.join(COLUMNS)}")
        seen: dict[tuple[str, ...], int] = {}
        rows = []
        for plain in reader:
            where = f"{path}, line {reader.line_num}"
            whole = len(plain) == len(COLUMNS) and None not in plain.values()
            require(whole, where, list(plain.values()), f"{len(COLUMNS)} fields")
            key = tuple(plain[name] for name in COLUMNS[:-2])
            require(key not in seen, where, ",".join(key), f"each number once; line {seen.get(key)} has it already")
            seen[key] = reader.line_num
            rows.append(_row(plain, where))
    return tuple(rows)


def _row(plain: Mapping[str, str], where: str) -> Published:
    for name in COLUMNS[:-1]:
        require(name == "eps_255" or bool(plain[name]), f"{where}, {name}", plain[name], "a value")
    source = _known(SOURCES, plain["source"], f"{where}, source")
    table, note = _table(plain["table"], f"{where}, table")
    base, model, setting, given, inferred = _method(plain["method"], f"{where}, method")
    metric = _known(METRICS, plain["metric"], f"{where}, metric")
    attack = _attack(plain, where)
    tasks, elsewhere = _tasks(plain, where)
    eps = _eps(plain["eps_255"], f"{where}, eps_255")
    spaces: set[PixelSpace] = {"native" if task in source.native else "model_input" for task in tasks}
    untouched = base.title in UNTRAINED
    percent = not plain["metric"].endswith(("_MB", "_per_batch"))
    notes = (note, inferred, "" if eps else "the budget is not stated")
    return Published(
        source=plain["source"],
        table=table,
        printed=plain["method"],
        method=base.title,
        setting=base.setting or setting,
        fields=given or _fields(plain, base),
        model=model,
        trained_on=None if untouched else source.trained_on,
        train_eps=None if untouched else base.train_eps or source.train_eps,
        dataset=plain["dataset"],
        tasks=tasks,
        attack=plain["attack"],
        profile=attack.ours,
        eps=eps,
        prompts=source.prompts,
        norm="linf",
        space=next(iter(spaces)) if len(spaces) == 1 else None,
        metric=metric.ours or plain["metric"],
        value=_number(plain["value"], f"{where}, value", most=100.0 if percent else float("inf")),
        std=_number(plain["std"], f"{where}, std") if plain["std"] else None,
        notes=tuple(filter(None, notes)),
        why=tuple(filter(None, (base.why, attack.why, elsewhere, metric.why))),
    )


def _known(table: Mapping[str, T], name: str, path: str) -> T:
    if name not in table:
        raise unknown(path, name, table)
    return table[name]


def _table(text: str, path: str) -> tuple[str, str]:
    """Return the table's name and what its name says in brackets: ``T1(aggregator)``."""
    name, bracket, said = text.partition("(")
    return (name, _known(NOTES, said.removesuffix(")"), path)) if bracket else (name, "")


def _method(text: str, path: str) -> tuple[MethodRow, str, str, dict[str, float | str], str]:
    """Return the method's row, its model, its setting, the weights it gives and whether they are inferred."""
    name, bracket, said = text.partition("[")
    base = _known(METHODS, name, path)
    model, setting, inferred = MODEL, "", ""
    fields: dict[str, float | str] = {}
    for part in said.removesuffix("]").split(";") if bracket else ():
        field, equals, value = part.partition("=")
        if equals:
            _known(dict.fromkeys(FIELDS), field, path)
            fields[field] = _number(value, path)
        elif part == INFERRED:
            inferred = "the table prints no axes: which weight is which is inferred"
        elif part in MODELS:
            model = MODELS[part]
        else:
            setting = _known({known: known for known in SETTINGS}, part, path)
    return base, model, setting, fields, inferred


def _fields(plain: Mapping[str, str], base: MethodRow) -> Mapping[str, float | str] | None:
    """Return the weights behind a row, from the papers' own words on which checkpoint stands behind which table."""
    if plain["attack"].startswith("mean("):
        return None  # such a mean may mix weights
    table = plain["table"]
    autoattack = plain["attack"] == "AutoAttack" or table in BESIDE_AUTOATTACK
    for c in CHECKPOINTS:
        mine = (c.source, c.method) == (plain["source"], plain["method"]) and table in c.tables
        if mine and c.autoattack == autoattack:
            return c.fields
    return base.fields


def _attack(plain: Mapping[str, str], where: str) -> Known:
    name = plain["attack"]
    if name == "none":
        return Known(ours="none")
    if name.startswith("mean("):
        return MEAN_OF_ATTACKS
    names = {attack: known for (source, attack), known in ATTACKS.items() if source == plain["source"]}
    return _known(names, name, f"{where}, attack")


def _tasks(plain: Mapping[str, str], where: str) -> tuple[tuple[str, ...], str]:
    """Return our names of the sets that a number is over, or none and why."""
    name = plain["dataset"]
    if name in SETS:
        return (SETS[name],), ""
    if (plain["source"], name) in AVERAGES:
        return AVERAGES[plain["source"], name], ""
    means = {mean for source, mean in AVERAGES if source == plain["source"]}
    return (), _known({**OTHER_DATA, **dict.fromkeys((*SETS, *means), "")}, name, f"{where}, dataset")


def _eps(text: str, path: str) -> tuple[float, ...]:
    """Return budgets written in levels of 255: ``1``, ``mean(1;2;4)``, or nothing where the paper says nothing."""
    inner = re.fullmatch(r"mean\((.+)\)", text)
    parts = inner[1].split(";") if inner else [text] if text else []
    return tuple(_number(part, path, most=255.0) / 255 for part in parts)


def _number(text: str, path: str, most: float = 100.0) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ConfigError(f"{path}: got {text!r}, expected a number, at least 0, in plain digits")
    require(float(text) <= most, path, text, f"at most {most:g}")
    return float(text)
