"""A trial's numbers: from what its evaluation left behind, at its end or later from disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from zsr_core.data import open_data, zero_shot_names
from zsr_core.evaluation.embeddings import Evaluated, read_evaluated, source_of
from zsr_core.evaluation.measure import Measurement, measure
from zsr_core.evaluation.metrics import METRICS, Metric
from zsr_core.evaluation.metrics.outputs import ClassTexts
from zsr_core.evaluation.suite import source_set
from zsr_core.evaluation.victim import Victim
from zsr_core.model.load import Clip
from zsr_core.records import SampleRecord
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import evaluation_bank
from zsr_core.trial.result import TrialResult, write_result


def measured(config: TrialConfig, evaluated: Evaluated, *, asked: Collection[str] = ()) -> list[Measurement]:
    """Return the numbers that every trial measures, and those of the metrics named in ``asked``."""
    kept = bool(evaluated.texts)
    looked = config.eval_suite.attention
    usual = [
        m for m in METRICS
        if (m.always and (kept or m.reads == "records")) or (looked and m.reads == "attention")
    ]  # fmt: skip
    metrics = [m for m in METRICS if m.name in asked or m in usual]
    return remeasured(config, evaluated, metrics)


def remeasured(config: TrialConfig, evaluated: Evaluated, metrics: Sequence[Metric]) -> list[Measurement]:
    """Return the numbers of ``metrics`` from what an evaluation left behind."""
    zero_shot = zero_shot_names(config.eval_suite.tasks, config.train_data)
    return measure(evaluated.records, zero_shot, metrics, texts=evaluated.texts, source=evaluated.source)


def evaluated_of(
    config: TrialConfig, clip: Clip, victim: Victim, records: Sequence[SampleRecord], device: str
) -> Evaluated:
    """Return the records of an evaluation with the class texts that go with their embeddings."""
    suite, size = config.eval_suite, clip.tower.image_size
    own = [r for r in records if r.split == suite.split]
    if not suite.keeps_embeddings:
        return Evaluated(records=own, texts={}, source=())
    texts = {}
    for task in suite.tasks:
        images = open_data(task, suite.split, size, suite.n, space=suite.space, trained_on=config.train_data)
        bank = evaluation_bank(config, clip, images, device)
        unit = bank.unit.float().cpu().numpy()
        texts[task.called] = ClassTexts(unit=unit, classes=bank.classes, scale=victim.scale, bias=victim.bias)
    return Evaluated(records=own, texts=texts, source=source_of(records, source_name(config)))


def source_name(config: TrialConfig) -> str | None:
    """Return what tables call the task that is trained on; None if no task is."""
    source = source_set(config.eval_suite, config.train_data)
    return None if source is None else source.called


def measure_again(result: TrialResult, folder: Path, metrics: Sequence[Metric]) -> TrialResult:
    """Measure ``metrics`` from a trial's files, put them into its ``result.json``, and return the new result.

    Numbers of the same metrics are replaced, all others stay. Neither images nor weights are read.

    Raises:
        ConfigError: naming the file, if records or embeddings cannot be read.
    """
    config = result.config
    new = remeasured(config, read_evaluated(folder, source_name(config)), metrics)
    named = {metric.name for metric in metrics}
    kept = [row for row in result.measurements if row.metric not in named]
    again = replace(result, measurements=(*kept, *new))
    write_result(folder, again)
    return again
