"""A trial's numbers: from what its evaluation left behind, at its end or later from disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from zsr_core.data import open_data, zero_shot_names
from zsr_core.data.shifts.names import is_shift
from zsr_core.evaluation.embeddings import Evaluated, read_evaluated, source_of
from zsr_core.evaluation.measure import Measurement, measure
from zsr_core.evaluation.metrics import CORRUPTED_RETRIEVAL, METRICS, Metric
from zsr_core.evaluation.metrics.outputs import ClassTexts
from zsr_core.evaluation.metrics.outside import usual_rows
from zsr_core.evaluation.outside import role_of
from zsr_core.evaluation.retrieval.gather import Retrieved
from zsr_core.evaluation.retrieval.measure import measure_retrieval
from zsr_core.evaluation.scenes.measure import measure_detection
from zsr_core.evaluation.scenes.store import Detected
from zsr_core.evaluation.suite import source_set
from zsr_core.evaluation.victim import Victim
from zsr_core.model.load import Clip
from zsr_core.records import SampleRecord
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import evaluation_bank
from zsr_core.trial.result import TrialResult, write_result


def measured(config: TrialConfig, evaluated: Evaluated, *, asked: Collection[str] = ()) -> list[Measurement]:
    """Return the numbers that every trial measures, and those of the metrics named in ``asked``."""
    suite = config.eval_suite
    kept = {"records": True, "embeddings": bool(evaluated.texts), "retrieval": bool(evaluated.retrieved)}
    added = {
        "corruptions": bool(suite.corruptions), "factors": suite.profiles, "attention": suite.attention,
        "detection": suite.detection is not None,
    }  # fmt: skip
    metrics = [m for m in METRICS if m.name in asked or added.get(m.reads) or (m.always and kept.get(m.reads))]
    if suite.retrieval is not None and suite.retrieval.corruptions:
        metrics += [metric for metric in CORRUPTED_RETRIEVAL if metric.name not in asked]
    if evaluated.ood:
        rows = usual_rows([ref.called for ref in suite.ood], suite.kinds, attacked=bool(suite.ood_attacks))
        metrics += [metric for metric in rows if metric.name not in asked]
    return remeasured(config, evaluated, metrics)


def remeasured(config: TrialConfig, evaluated: Evaluated, metrics: Sequence[Metric]) -> list[Measurement]:
    """Return the numbers of ``metrics`` from what an evaluation left behind."""
    zero_shot = zero_shot_names(config.eval_suite.tasks, config.train_data)
    numbers = measure(
        evaluated.records, zero_shot, metrics, texts=evaluated.texts, source=evaluated.source, ood=evaluated.ood,
        shifted=evaluated.shifted,
    )  # fmt: skip
    suite = config.eval_suite.retrieval
    retrieved = () if suite is None else measure_retrieval(evaluated.retrieved, suite, metrics)
    return [*numbers, *retrieved, *measure_detection(evaluated.detected, metrics)]


def evaluated_of(
    config: TrialConfig,
    used: Clip,
    victim: Victim,
    records: Sequence[SampleRecord],
    retrieved: Sequence[Retrieved] = (),
    detected: Detected | None = None,
) -> Evaluated:
    """Return the records of an evaluation with the class texts that go with their embeddings.

    Args:
        used: the model with the text tower that is used.
    """
    suite, size = config.eval_suite, used.tower.image_size
    shifted = [r for r in records if is_shift(r.condition)]
    outside = [r for r in records if role_of(r) is not None]
    own = [r for r in records if r.split == suite.split and role_of(r) is None and not is_shift(r.condition)]
    texts = {}
    for task in suite.tasks if suite.keeps_embeddings else ():
        images = open_data(task, suite.split, size, suite.n, space=suite.space, trained_on=config.train_data)
        bank = evaluation_bank(config, used, images)
        unit = bank.unit.float().cpu().numpy()
        texts[task.called] = ClassTexts(unit=unit, classes=bank.classes, scale=victim.scale, bias=victim.bias)
    return Evaluated(
        records=own, texts=texts, source=source_of(records, source_name(config)), ood=outside, shifted=shifted,
        retrieved=retrieved, detected=detected,
    )  # fmt: skip


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
    evaluated = read_evaluated(folder, source_name(config))
    new = remeasured(config, evaluated, metrics)
    # A trial that kept no embeddings of captions keeps the numbers that it measured at its end.
    named = {metric.name for metric in metrics if evaluated.retrieved or metric.reads != "retrieval"}
    kept = [row for row in result.measurements if row.metric not in named]
    again = replace(result, measurements=(*kept, *new))
    write_result(folder, again)
    return again
