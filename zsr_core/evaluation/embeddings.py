"""Unit image embeddings and class texts beside a trial's records, so that a metric never needs the attack again.

They are float32, as the model gave them. In float16 a logit at scale 100 would move by about 1e-3, which changes the
predicted class of an image that lies between two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from zsr_core.codec import ConfigError
from zsr_core.evaluation.attention import read_attention
from zsr_core.evaluation.detection import read_ood
from zsr_core.evaluation.metrics.outputs import ClassTexts, Singles
from zsr_core.evaluation.retrieval.gather import Retrieved
from zsr_core.evaluation.retrieval.store import read_retrieved
from zsr_core.evaluation.scenes.store import Detected, read_detected
from zsr_core.evaluation.vectors import check_same_images, embedding_matrix, matrix_of, write_vectors
from zsr_core.records import FLOATS, SampleRecord, from_table, read_samples

EMBEDDINGS, TEXTS = "embeddings.parquet", "texts.parquet"
SHIFTED = "shifted.parquet"  # the columns of samples.parquet; none of it is clean or attacked
_FACTS = pa.schema(
    [(name, pa.string()) for name in ("trial_id", "weights_sha", "task", "split", "sample_id", "condition")]
    + [("eps", pa.float64()), ("label", pa.int64()), ("pred", pa.int64())]
)
_TEXT_FACTS = pa.schema(
    {
        "task": pa.string(), "label": pa.int64(), "name": pa.string(), "logit_scale": pa.float64(),
        "logit_bias": pa.float64(),
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """What an evaluation left behind: its records, and where they carry embeddings the texts of its tasks.

    ``source`` are the clean images of the training set on the selection split, on which a temperature is fitted.
    ``ood`` are the records of :mod:`zsr_core.evaluation.outside`.
    ``shifted`` are records under corruptions and of visual factors, of which no embeddings are kept.
    ``retrieved`` is what the model gave for sets of captions, ``detected`` what it named the boxes of scenes.
    """

    records: Sequence[SampleRecord]
    texts: Mapping[str, ClassTexts]
    source: Sequence[SampleRecord]
    ood: Sequence[SampleRecord] = ()
    shifted: Sequence[SampleRecord] = ()
    retrieved: Sequence[Retrieved] = ()
    detected: Detected | None = None


def write_embeddings(folder: Path, evaluated: Evaluated) -> None:
    """Write ``texts.parquet`` and ``embeddings.parquet`` into a trial's folder, each whole or not at all.

    The rows are those of ``samples.parquet`` in its order, then those of ``source`` that are not among them.
    """
    texts = evaluated.texts
    rows = [row for row in (*evaluated.records, *_beyond(evaluated)) if row.embedding]
    names = [(task, label, name) for task, text in texts.items() for label, name in enumerate(text.classes)]
    if not rows or not names:
        return
    facts = [pa.array([getattr(row, name) for row in rows], _FACTS.field(name).type) for name in _FACTS.names]
    write_vectors(folder / EMBEDDINGS, facts, _FACTS, embedding_matrix(rows))
    scales = [(texts[task].scale, texts[task].bias) for task, _, _ in names]
    columns = [*zip(*names, strict=True), *zip(*scales, strict=True)]
    text_facts = [pa.array(column, kind) for column, kind in zip(columns, _TEXT_FACTS.types, strict=True)]
    write_vectors(folder / TEXTS, text_facts, _TEXT_FACTS, np.concatenate([text.unit for text in texts.values()]))


def read_evaluated(folder: Path, source: str | None) -> Evaluated:
    """Return what is kept in a trial's folder; records carry embeddings where there are any.

    Args:
        source: what tables call the task that was trained on; None if no task was.

    Raises:
        ConfigError: naming the file that cannot be read, or that is of other images than the records.
    """
    samples = read_samples(folder / "samples.parquet")
    own = len(samples)
    beside: dict[str, list[bytes]] = {"attention": read_attention(folder, samples)}
    more = partial(Evaluated, ood=read_ood(folder), shifted=read_shifted(folder), retrieved=read_retrieved(folder),
                   detected=read_detected(folder))  # fmt: skip
    if not (folder / EMBEDDINGS).is_file() or not (folder / TEXTS).is_file():
        return more(records=from_table(samples, beside=beside), texts={}, source=())
    table, texts = read_samples(folder / EMBEDDINGS), read_samples(folder / TEXTS)
    try:
        kept = matrix_of(table)
        check_same_images(table.slice(0, own), samples, f"embeddings: {folder / EMBEDDINGS}")
        beside["embedding"] = [row.tobytes() for row in kept[:own]]
        records = from_table(samples, beside=beside)
        beyond = [_fitting(facts, kept[own + i]) for i, facts in enumerate(table.slice(own).to_pylist())]
        return more(records=records, texts=_texts_of(texts), source=beyond or source_of(records, source))
    except (KeyError, pa.ArrowInvalid) as error:
        raise ConfigError(f"embeddings: {folder} holds other columns than expected ({error})") from None


def read_shifted(folder: Path) -> list[SampleRecord]:
    """Return the records under corruptions and of visual factors in a trial's folder; none where it has no file.

    Raises:
        ConfigError: naming the file that cannot be read.
    """
    path = folder / SHIFTED
    return from_table(read_samples(path)) if path.is_file() else []


def source_of(records: Sequence[SampleRecord], source: str | None) -> list[SampleRecord]:
    """Return those of ``records`` that a temperature may be fitted on: clean, of the task ``source``, to select by."""
    return [r for r in records if (r.task, r.split, r.condition) == (source, "selection", "none") and r.embedding]


def kept_bytes(rows: int, classes: int, width: int) -> int:
    """Return the size of the embeddings of so many rows and class texts, ``width`` numbers each."""
    return np.dtype(FLOATS).itemsize * width * (rows + classes)


def _beyond(evaluated: Evaluated) -> list[SampleRecord]:
    """Return the source's records if they are not among the evaluation's own."""
    own = {r.split for r in evaluated.records}
    return [r for r in evaluated.source if r.split not in own]


def _fitting(facts: Mapping[str, object], unit: Singles) -> SampleRecord:
    """Return a record of the source with what its row of ``embeddings.parquet`` holds; the rest is not kept."""
    blank = {"attack_id": "", "ran": "", "stage": "", "norm": "", "threat_space": "", "p_max": 0.0, "entropy": 0.0,
             "margin": 0.0, "linf": 0.0, "l2": 0.0, "queries": 0}  # fmt: skip
    own = {name: facts[name] for name in _FACTS.names}
    return SampleRecord(**own, **blank, correct=own["label"] == own["pred"], embedding=unit.tobytes())  # type: ignore[arg-type]


def _texts_of(table: pa.Table) -> dict[str, ClassTexts]:
    unit, rows = matrix_of(table), table.select(_TEXT_FACTS.names).to_pylist()
    texts = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [i for i, row in enumerate(rows) if row["task"] == task]
        first = rows[own[0]]
        texts[task] = ClassTexts(
            unit=unit[own], classes=tuple(rows[i]["name"] for i in own), scale=first["logit_scale"],
            bias=first["logit_bias"],
        )  # fmt: skip
    return texts
