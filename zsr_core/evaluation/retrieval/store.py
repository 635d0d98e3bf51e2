"""``retrieval.parquet`` beside a trial's records: every embedding, so that a new metric needs no attack again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.codec import ConfigError
from zsr_core.evaluation.metrics.outputs import Singles
from zsr_core.evaluation.retrieval.gather import Place, Retrieved
from zsr_core.evaluation.vectors import beside_vectors, matrix_of
from zsr_core.files import write_whole
from zsr_core.records import read_samples

FILE = "retrieval.parquet"
SCHEMA_VERSION = "1"
CAPTION = "caption"  # in the column condition: a caption, its image in the column image
_FACTS = pa.schema(
    [(name, pa.string()) for name in ("trial_id", "weights_sha", "task", "split", "condition")]
    + [("eps", pa.float64()), ("image", pa.int64()), ("query", pa.int64()), ("text", pa.string())]
)


def write_retrieved(folder: Path, retrieved: Sequence[Retrieved]) -> None:
    """Write ``retrieval.parquet``, whole or not at all; nothing if there is no set.

    A row is a unit embedding, float32: of a caption (``condition`` is "caption", ``text`` the caption, ``image`` its
    image), or of an image (``text`` is its id) under a condition. ``query`` is the image whose first caption a
    distractor is pushed to, -1 of all others.
    """
    if not retrieved:
        return
    parts = [part for one in retrieved for part in _tables(one)]
    table = pa.concat_tables(parts).replace_schema_metadata({"zsr.retrieval": SCHEMA_VERSION})
    write_whole(folder / FILE, lambda part: pq.write_table(table, part, compression="zstd"))


def _tables(one: Retrieved) -> list[pa.Table]:
    n = len(one.ids)
    every, ids = np.arange(n), np.array(one.ids, dtype=object)
    tables = [
        _table(one, CAPTION, 0.0, one.owner, np.full(len(one.owner), -1), one.captions, one.texts),
        _table(one, "none", 0.0, every, np.full(n, -1), one.ids, one.images),
    ]
    for (condition, eps), unit in one.copies.items():
        pushed = condition == "distractor" and one.distractors is not None
        image = one.distractors.reshape(-1) if pushed and one.distractors is not None else every
        query = np.repeat(every, len(unit) // n) if pushed else np.full(n, -1)
        tables.append(_table(one, condition, eps, image, query, ids[image].tolist(), unit))
    return tables


def _table(
    one: Retrieved, condition: str, eps: float, image: np.ndarray, query: np.ndarray, text: Sequence[str], unit: Singles
) -> pa.Table:
    n = len(unit)
    same = {"trial_id": one.trial_id, "weights_sha": one.weights_sha, "task": one.name, "split": one.split,
            "condition": condition, "eps": eps}  # fmt: skip
    columns = {
        **{name: [value] * n for name, value in same.items()},
        "image": image,
        "query": query,
        "text": list(text),
    }
    arrays = [pa.array(columns[name], _FACTS.field(name).type) for name in _FACTS.names]
    return beside_vectors(arrays, _FACTS, unit)


def read_retrieved(folder: Path) -> list[Retrieved]:
    """Return the sets that ``retrieval.parquet`` holds, in its order; none if there is no such file.

    Raises:
        ConfigError: naming the file, if it cannot be read.
    """
    if not (folder / FILE).is_file():
        return []
    table = read_samples(folder / FILE)
    try:
        tasks = list(dict.fromkeys(table.column("task").to_pylist()))
        return [_set(table.filter(pa.array([t == task for t in table.column("task").to_pylist()]))) for task in tasks]
    except (KeyError, IndexError, pa.ArrowInvalid) as error:
        raise ConfigError(f"retrieval: {folder / FILE} holds other rows than expected ({error})") from None


def _set(table: pa.Table) -> Retrieved:
    unit = matrix_of(table)
    rows: dict[Place, list[int]] = {}
    for i, place in enumerate(zip(*(table.column(c).to_pylist() for c in ("condition", "eps")), strict=True)):
        rows.setdefault(place, []).append(i)
    captions, images = rows.pop((CAPTION, 0.0)), rows.pop(("none", 0.0))
    text, image = table.column("text").to_pylist(), np.array(table.column("image").to_pylist(), np.intp)
    pushed = next((own for (condition, _), own in rows.items() if condition == "distractor"), None)
    fact = {name: table.column(name)[0].as_py() for name in ("trial_id", "weights_sha", "split")}
    return Retrieved(
        name=table.column("task")[0].as_py(), **fact, ids=tuple(text[i] for i in images),
        captions=tuple(text[i] for i in captions), owner=image[captions], images=unit[images], texts=unit[captions],
        copies={place: unit[own] for place, own in rows.items()},
        distractors=None if pushed is None else image[pushed].reshape(len(images), -1),
    )  # fmt: skip


def kept_retrieval_bytes(images: int, captions: int, conditions: int, distractors: int, width: int) -> int:
    """Return the size of the embeddings of a set under so many conditions of all images, ``width`` numbers each."""
    return np.dtype(np.float32).itemsize * width * (images * (1 + conditions + distractors) + captions)
