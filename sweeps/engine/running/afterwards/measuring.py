"""``zsr measure``: metrics of a study's finished trials from their files, put into their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeps.engine.documents.parquet import export_study
from sweeps.engine.format import eps_text
from sweeps.engine.study.folder import PlannedTrial, StudyFolder, open_study
from sweeps.engine.study.lock import only_launch
from zsr_core.codec import ConfigError, parse_names, require
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, Measurement
from zsr_core.evaluation.metrics import METRICS, Metric, metric_named
from zsr_core.evaluation.metrics.outside import OUTSIDE, rows_of_sets
from zsr_core.evaluation.metrics.retrieval import FEATURES
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.trial.numbers import measure_again
from zsr_core.trial.result import TrialResult

ALL = "all"


def asked_metrics(text: str, flag: str) -> tuple[Metric, ...]:
    """Return the metrics that a comma-separated list names, each once; ``all`` is every one.

    Raises:
        ConfigError: naming the flag, for an unknown name or none.
    """
    if text.strip() == ALL:
        return METRICS
    names = list(dict.fromkeys(parse_names(text)))
    require(bool(names), flag, text, "metrics by name, such as ece,auroc_adv, or all")
    try:
        return tuple(metric_named(name) for name in names)
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from None


def _of_suite(metrics: Sequence[Metric], suite: EvalSuite) -> Sequence[Metric]:
    """Return the metrics; of all there are, without those of out-of-distribution sets where there are none.

    Where there are such sets, the rows of each of them belong to all.
    """
    if metrics is not METRICS:
        return metrics
    if not suite.ood:
        return [metric for metric in METRICS if metric not in OUTSIDE]
    return (*METRICS, *rows_of_sets([ref.called for ref in suite.ood]))


def catalogue() -> list[str]:
    """Return every metric as a line: name, title, what it reads, and whether each trial measures it anyway."""
    width = max(len(metric.name) for metric in METRICS)
    return [
        f"{metric.name:<{width}}  {metric.title}"
        f" (reads {metric.reads}{'; measured by every trial' if metric.always else ''})"
        for metric in METRICS
    ]


def measure_study(path: Path, metrics: Sequence[Metric]) -> list[str]:
    """Measure ``metrics`` of every finished trial of a study, write its results and Parquet anew; return lines.

    Raises:
        ConfigError: if a launch is running there, no trial is done, or no trial's files could be read.
    """
    with only_launch(path):
        folder = open_study(path)
        metrics = _of_suite(metrics, folder.study.base.eval_suite)
        done = [trial for trial in folder.study.plan if folder.is_done(trial)]
        require(bool(done), "--study", str(path), "a study with at least one finished trial")
        lines, troubles = [], []
        for trial in done:
            try:
                again = measure_again(folder.results[trial.trial_id], folder.trial_path(trial.trial_id), metrics)
                lines += list(_trial_lines(folder, trial, again, metrics))
            except ConfigError as error:
                troubles.append(f"{trial.trial_id}  {trial.label} ({trial.split}): not measured: {error}")
        if not lines:
            raise ConfigError("; ".join(troubles))
        written = export_study(open_study(path))
    return [*lines, *troubles, "", f"in the results of {len(done) - len(troubles)} trials, and in {written}"]


def _trial_lines(
    folder: StudyFolder, trial: PlannedTrial, result: TrialResult, metrics: Sequence[Metric]
) -> Iterator[str]:
    """Yield a trial's zero-shot means of ``metrics``, one line each."""
    yield f"{trial.trial_id}  {trial.label} ({trial.split})"
    for metric in metrics:
        means = [m for m in result.measurements if (m.metric, m.task) == (metric.name, ZERO_SHOT_MEAN)]
        for m in means:
            budget = f"{m.eps:g}" if m.attack in FEATURES else eps_text(m.eps)
            attacked = f"{m.attack} at {budget}" if m.eps else m.attack
            under = "clean" if m.attack == "none" else attacked
            yield f"  {metric.name:<24} {under:<20} {number_text(m, metric)}"


def number_text(m: Measurement, metric: Metric) -> str:
    """Return a measurement with its unit and interval, or a dash with the reason."""
    if m.value is None:
        return f"– ({m.reason})"
    unit = f" {metric.unit}" if metric.unit else ""
    digits = 3 if abs(m.value) < 10 else 2
    ends = "" if m.low is None or m.high is None else f" [{m.low:.{digits}f}, {m.high:.{digits}f}]"
    return f"{m.value:.{digits}f}{unit}{ends}"
