"""A study as a matrix: a row per configuration, compared with the baseline row on the same seeds and images.

The matrix is a value: every number in it is a group-by over the trials' records.
:mod:`sweeps.engine.documents.forms` writes it for a terminal or a paper.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.difference import Cell, Column, RowTrials, adjusted, differences, row_cells
from sweeps.engine.analysis.scores import rules_that
from sweeps.engine.analysis.searching.chance import row_collapse
from sweeps.engine.analysis.stats import DRAWS
from sweeps.engine.format import eps_text
from sweeps.engine.study.folder import PlannedRow, Role, Study, StudyFolder
from sweeps.engine.study.objectives import score_named, shown_scores
from sweeps.engine.study.set_groups import Scope, caption_groups, scene_groups, set_groups
from zsr_core.codec import to_plain, unknown
from zsr_core.data import Split, trained_names
from zsr_core.evaluation.collapse import Collapse
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN
from zsr_core.evaluation.measurement import distinct_among
from zsr_core.evaluation.metrics import OWN_SETS
from zsr_core.trial.presets import with_own_recipe


@dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration: its finished seeds, its first failure or stop, its audit findings and its cells."""

    label: str
    role: Role
    baseline: bool
    chosen: bool
    seeds: tuple[int, ...]  # that finished
    planned: int
    failed: int
    reason: str  # the error of the first failure, or why the first stopped seed was stopped
    fails: tuple[str, ...]  # audit rules that fail, in any seed
    warns: tuple[str, ...]
    cells: tuple[Cell, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    proposal: int | None = None
    stopped: int = 0  # seeds that were stopped early
    collapse: Collapse | None = None  # the predictions of its worst seed beside chance
    untuned: bool = False  # trained by the shared recipe, although the preset has recipes of other rows' methods

    @property
    def whole(self) -> bool:
        """Whether every planned seed finished."""
        return len(self.seeds) == self.planned


@dataclass(frozen=True, kw_only=True)
class Block:
    """Columns that are shown together: the scores of one mean, or one score over the sets."""

    title: str
    columns: tuple[int, ...]
    kind: Literal["mean", "sets"]
    scopes: tuple[Scope, ...]  # each scope's comparisons are one family of Holm's correction


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A study's rows and columns on one split. ``blocks`` group the columns."""

    study: str
    question: str
    split: str
    baseline: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class MatrixRequest:
    """What a matrix shows; None stands for the study's default."""

    split: Split = "selection"
    baseline: str | None = None  # a row's label
    metrics: tuple[str, ...] | None = None  # scores by name
    columns: tuple[str, ...] | None = None  # titles of columns and names of sets to keep, in this order
    per_set: bool = False  # also a column for each set
    all_budgets: bool = False  # robust accuracy at every budget of the suite
    only: Collection[str] | None = None  # labels of the rows to show beside the baseline
    draws: int = DRAWS  # resamples of a difference


def matrices(folder: StudyFolder, asked: MatrixRequest | None = None) -> tuple[Matrix, ...]:
    """Return the study's matrix on the selection split and, once final trials are planned, the one on the report split.

    Raises:
        ConfigError: for a baseline that is no row's label, or a score that is not in the table.
    """
    asked = asked or MatrixRequest()
    selected = matrix(folder, asked)
    reported = {row.cell for row in folder.study.rows(split="report")}
    if not reported:
        return (selected,)
    baseline = asked.baseline if asked.baseline in reported else None
    return selected, matrix(folder, replace(asked, split="report", baseline=baseline))


def on_shared_recipe(study: Study, row: PlannedRow) -> bool:
    """Return whether a row's method has no recipe of its own in the preset, where the study has methods with one."""
    method = row.overrides.get("method")
    if method is None or any(path.startswith(("method.", "optim")) for path in row.overrides):
        return False
    own = with_own_recipe(study.preset)
    methods = {_class_name(r.overrides["method"]) for r in study.rows() if "method" in r.overrides}
    return bool(methods & own) and _class_name(method) not in own


def _class_name(method: Any) -> str:
    return str(to_plain(method)["type"])


def is_ablation(folder: StudyFolder) -> bool:
    """Return whether the study lists its variants; a grid or a search has surfaces instead."""
    return folder.study.mode == "matrix" and not folder.study.space


def ablation(folder: StudyFolder) -> Matrix | None:
    """Return the matrix of an ablation, its first mean alone; None for a grid or a search, which have surfaces."""
    if not is_ablation(folder):
        return None
    whole = folder.once("ablation", lambda: matrix(folder))
    return first_mean(whole)


def first_mean(whole: Matrix) -> Matrix | None:
    """Return the matrix with the columns of its first mean alone; None where it has no columns."""
    return replace(whole, blocks=whole.blocks[:1]) if whole.blocks else None


def matrix(folder: StudyFolder, asked: MatrixRequest | None = None) -> Matrix:
    """Return the matrix of one split.

    The baseline is the design's reference row by default. If the only rows are the chosen one and the untouched model,
    as on the report split, it is that model. If the training radius varies, robust accuracy is shown at every budget.

    Raises:
        ConfigError: for a baseline that is no row's label, naming the nearest, or a score that is not in the table.
    """
    asked = asked or MatrixRequest()
    rows = folder.study.rows(split=asked.split)
    name = baseline_of(folder, rows, asked.baseline)
    rows = tuple(row for row in rows if asked.only is None or row.cell in asked.only or row.cell == name)
    columns = columns_of(folder, rows, asked)
    several = len(folder.study.rows(role="final", split=asked.split)) > 1  # of one final row it need not be said
    winner = chosen(folder) if asked.split == "selection" or several else None
    built = _rows(folder, rows, columns, baseline=name, chosen=winner.cell if winner else None, draws=asked.draws)
    return Matrix(
        study=folder.study.study, question=folder.study.question, split=asked.split, baseline=name, columns=columns,
        rows=with_best(with_holm(built, columns), columns), blocks=blocks_of(columns),
    )  # fmt: skip


def baseline_of(folder: StudyFolder, rows: Sequence[PlannedRow], asked: str | None) -> str:
    """Return the label of the row that the others are compared with.

    Raises:
        ConfigError: if ``asked`` is no row's label, naming the nearest.
    """
    labels = [row.cell for row in rows]
    usual = folder.study.baseline if folder.study.baseline in labels and len(rows) > 2 else labels[0]
    name = usual if asked is None else asked
    if name not in labels:
        raise unknown("--baseline", name, labels)
    return name


def _rows(
    folder: StudyFolder, rows: Sequence[PlannedRow], columns: Sequence[Column], *, baseline: str, chosen: str | None,
    draws: int,
) -> list[Row]:  # fmt: skip
    reference = RowTrials.of(folder, next(row for row in rows if row.cell == baseline))
    built = []
    for row in rows:
        own = RowTrials.of(folder, row)
        cells = row_cells(own, columns)
        if row.cell != baseline:
            gaps = differences(own, reference, columns, draws=draws)
            cells = [replace(cell, gap=gap) for cell, gap in zip(cells, gaps, strict=True)]
        built.append(_row(folder, row, cells, columns, baseline=baseline, chosen=chosen))
    return built


def _row(
    folder: StudyFolder, row: PlannedRow, cells: Sequence[Cell], columns: Sequence[Column], *, baseline: str,
    chosen: str | None,
) -> Row:  # fmt: skip
    results = [result for trial in row.trials if (result := folder.result(trial)) is not None]
    failed = [result for result in results if result.status == "failed"]
    stopped = [result for result in results if result.status == "pruned"]
    fails, warns = rules_that("FAIL", results), rules_that("WARN", results)
    doubted = [
        replace(cell, doubted=bool(fails) and score_named(column.metric).attacked)
        for cell, column in zip(cells, columns, strict=True)
    ]
    return Row(
        label=row.cell, role=row.role, baseline=row.cell == baseline,
        chosen=row.role != "baseline" and row.cell == chosen, seeds=tuple(folder.by_seed(row.trials)),
        planned=len(row.trials), failed=len(failed), stopped=len(stopped),
        reason=next((result.error for result in (*failed, *stopped)), ""),
        fails=fails, warns=warns, cells=tuple(doubted), overrides=dict(row.overrides), proposal=row.proposal,
        untuned=on_shared_recipe(folder.study, row), collapse=row_collapse(folder, row),
    )  # fmt: skip


def budgets_of(folder: StudyFolder, *, every: bool) -> tuple[float, ...]:
    """Return the budgets of the robust accuracies shown: the study's, or all of the suite if training radii vary."""
    study = folder.study
    radii = {_radius(folder, trial.overrides) for trial in study.plan}
    budgets = tuple(sorted(study.base.eval_suite.eps)) or (study.score_eps,)
    return budgets if every or len(radii) > 1 else (study.score_eps,)


def _radius(folder: StudyFolder, overrides: Mapping[str, Any]) -> Any:
    if "threat" in overrides:
        return folder.study.base.with_({"threat": overrides["threat"]}).threat.eps
    return overrides.get("threat.eps", folder.study.base.threat.eps)


def columns_of(folder: StudyFolder, rows: Iterable[PlannedRow], asked: MatrixRequest) -> tuple[Column, ...]:
    """Return a column per measured score: for the zero-shot mean, for the mean of all sets, then for each set.

    If nothing was measured, the columns come from the plan, because rows of failed trials are shown too.
    """
    study = folder.study
    shown = shown_scores(study.objectives)
    wanted = shown if asked.metrics is None else tuple(score_named(name, "--metric") for name in asked.metrics)
    budgets = budgets_of(folder, every=asked.all_budgets)
    done = [result.measurements for row in rows for result in folder.done(row.trials).values()]
    numbers = distinct_among(done, "metric", "task")
    known = {metric for metric, _ in numbers} or {score.metric for score in wanted}
    classified = [task for metric, task in numbers if metric not in OWN_SETS]
    sets = tuple(dict.fromkeys(task for task in classified if task != ZERO_SHOT_MEAN))
    tasks = study.base.eval_suite.tasks
    trained = trained_names(tasks, study.base.train_data)
    groups = set_groups(sets or tuple(task.called for task in tasks), trained, per_set=asked.per_set)
    among_sets = {
        "tasks": groups,
        "captions": caption_groups(study, per_set=asked.per_set),
        "scenes": scene_groups(study),
    }
    built = tuple(
        Column(
            metric=score.name,
            eps=eps,
            title=f"{score.name} {eps_text(eps)}" if len(budgets) > 1 and score.attacked else score.name,
            sets=members,
            over=over,
            scope=scope,
        )
        for kind, among in among_sets.items()
        for scope, over, members in among
        for score in wanted
        if score.metric in known and score.sets == kind
        for eps in (budgets if score.attacked else budgets[:1])
    )
    return built if asked.columns is None else kept_columns(built, asked.columns)


def kept_columns(columns: Sequence[Column], names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns with these titles, or of these sets, in the order of ``names``, scope by scope.

    Raises:
        ConfigError: for a name that no column has, naming the nearest.
    """
    known = dict.fromkeys(name for column in columns for name in (column.title, *_set_name(column)))
    for name in names:
        if name not in known:
            raise unknown("--columns", name, known)
    scores = [name for name in names if any(name == column.title for column in columns)]
    sets = [name for name in names if any((name,) == _set_name(column) for column in columns)]

    def place(column: Column) -> tuple[int, int]:
        return (
            scores.index(column.title) if column.title in scores else 0,
            sets.index(column.over) if column.scope == "set" and column.over in sets else 0,
        )

    scopes = list(dict.fromkeys(column.scope for column in columns))
    kept = [
        column
        for column in columns
        if (not scores or column.title in scores)
        and ((column.scope == "set" and (not sets or column.over in sets)) or (column.scope != "set"))
    ]
    return tuple(sorted(kept, key=lambda column: (scopes.index(column.scope), *place(column))))


def _set_name(column: Column) -> tuple[str, ...]:
    return (column.over,) if column.scope == "set" else ()


def with_holm(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Return the rows with every p adjusted within its family: the comparisons of all rows in one scope.

    The untouched model's comparisons are families of their own, because it is no candidate of the design.
    """
    scopes = list(dict.fromkeys(column.scope for column in columns))
    at = [
        [(i, j) for i, row in enumerate(rows) if is_candidate(row) == candidates
         for j, c in enumerate(columns) if c.scope == scope]
        for scope in scopes
        for candidates in (True, False)
    ]  # fmt: skip
    corrected = adjusted([[rows[i].cells[j].gap for i, j in places] for places in at])
    gaps = {place: gap for places, family in zip(at, corrected, strict=True)
            for place, gap in zip(places, family, strict=True)}  # fmt: skip
    return [
        replace(row, cells=tuple(replace(cell, gap=gaps[i, j]) for j, cell in enumerate(row.cells)))
        for i, row in enumerate(rows)
    ]


def family(rows: Sequence[Row], columns: Sequence[Column], scope: Scope) -> list[tuple[int, int]]:
    """Return the places (row, column) of the candidates' comparisons of one scope that have a p."""
    return [
        (i, j)
        for i, row in enumerate(rows)
        for j, (cell, column) in enumerate(zip(row.cells, columns, strict=True))
        if column.scope == scope and is_candidate(row) and cell.gap is not None and cell.gap.p is not None
    ]


def is_candidate(row: Row) -> bool:
    """Return whether a row is compared as a configuration of the design; the untouched model is not."""
    return row.role != "baseline"


def with_best(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Return the rows with each column's best number marked.

    Only a tuned configuration whose seeds all finished can be best, and only if the audit does not doubt the number and
    its predictions have not collapsed.
    """
    tops: list[float | None] = []
    for j, column in enumerate(columns):
        values = [value for row in rows if (value := _candidate(row, row.cells[j])) is not None]
        pick = max if score_named(column.metric).higher_is_better else min
        tops.append(pick(values) if len(values) > 1 else None)
    return tuple(replace(row, cells=tuple(_marked(row, tops))) for row in rows)


def _marked(row: Row, tops: Sequence[float | None]) -> Iterable[Cell]:
    for cell, top in zip(row.cells, tops, strict=True):
        yield replace(cell, best=top is not None and _candidate(row, cell) == top)


def _candidate(row: Row, cell: Cell) -> float | None:
    collapsed = row.collapse is not None and row.collapse.collapsed
    return cell.value if row.role != "baseline" and row.whole and not (cell.doubted or collapsed) else None


def blocks_of(columns: Sequence[Column]) -> tuple[Block, ...]:
    """Return a block per mean with its scores, then, if single sets are shown, a block per score over the sets.

    The scores of retrieval and of detection stand in the first block, beside the accuracies that decide with them.
    """
    means: tuple[Scope, ...] = ("zero-shot", "all")
    scopes = [scope for scope in means if any(c.scope == scope for c in columns)]
    blocks = []
    for scope in scopes:
        at = tuple(j for j, column in enumerate(columns) if column.scope == scope)
        blocks.append(Block(title=columns[at[0]].over, columns=at, kind="mean", scopes=(scope,)))
    beside: tuple[Scope, ...] = ("captions", "scenes")
    for scope in beside:
        own = tuple(j for j, column in enumerate(columns) if column.scope == scope)
        if own and blocks:
            first, title = blocks[0], columns[own[0]].over
            whole, scopes_of = (*first.columns, *own), (*first.scopes, scope)
            blocks[0] = replace(first, title=f"{first.title}; {title}", columns=whole, scopes=scopes_of)
    if any(column.scope == "set" for column in columns):
        for title in dict.fromkeys(column.title for column in columns):
            at = tuple(j for j, column in enumerate(columns) if column.title == title)
            blocks.append(Block(title=title, columns=at, kind="sets", scopes=(*scopes, "set")))
    return tuple(blocks)
