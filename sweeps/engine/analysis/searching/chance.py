"""The level of chance of a study, and which of its rows have collapsed to one answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sweeps.engine.analysis.outcomes import left_out
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from zsr_core.evaluation.collapse import Answers, Collapse, answers_by_task, collapse
from zsr_core.records import read_samples

COLUMNS = ("task", "condition", "label", "pred")


def trial_answers(folder: StudyFolder, trial_id: str) -> list[Answers]:
    """Return the clean predictions of a trial on its zero-shot tasks, counted; empty without records."""
    return folder.once(("answers", trial_id), lambda: list(_read(folder, trial_id)))


def _read(folder: StudyFolder, trial_id: str) -> Iterator[Answers]:
    path, result = folder.trial_path(trial_id) / "samples.parquet", folder.results.get(trial_id)
    if result is None or not path.is_file():
        return
    table = read_samples(path, COLUMNS).to_pydict()
    skipped = left_out(result)
    rows = zip(*(table[name] for name in COLUMNS), strict=True)
    yield from answers_by_task((t, a, b) for t, condition, a, b in rows if condition == "none" and t not in skipped)


def row_collapse(folder: StudyFolder, row: PlannedRow) -> Collapse | None:
    """Return the worst of a row's finished seeds beside chance; None without records."""
    found = [each for trial in row.trials if folder.is_done(trial)
             for each in [collapse(trial_answers(folder, trial.trial_id))] if each is not None]  # fmt: skip
    return max(found, key=lambda each: (each.collapsed, each.excess), default=None)


def chance_level(folder: StudyFolder) -> float | None:
    """Return the accuracy of a guess in percent, the mean over the zero-shot tasks; None without records.

    It is the lowest that any of the study's first trials tells, because few images may miss a class.
    """
    return folder.once(("chance",), lambda: min(_levels(folder), default=None))


def _levels(folder: StudyFolder) -> Iterable[float]:
    done = [t.trial_id for t in folder.study.plan if folder.is_done(t) and not t.is_report][:LOOKED_AT]
    for trial_id in done:
        found = collapse(trial_answers(folder, trial_id))
        if found is not None:
            yield found.chance


LOOKED_AT = 3  # trials: all see the same images, so that a few tell the number of classes
