"""Which images of a set show which visual factor, as people annotated them.

ImageNet-X (Idrissi et al., ICLR 2023) is read as its authors publish it, a JSON object a line with ``file_name``,
``class`` and a 0 or 1 per factor. A Parquet file of one's own has a column ``file_name`` or ``sample_id``, and for each
factor a column of booleans or of 0 and 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.codec import ConfigError, require

FIELD = "annotations"
NAMES = ("sample_id", "file_name")  # columns that name the image; the first that is there does
# Columns of ImageNet-X that are no factors.
BESIDE = ("class", "metaclass", "justification", "one_word")


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """The annotated images by name, and per factor the names of those that show it."""

    images: frozenset[str]
    factors: Mapping[str, frozenset[str]]

    def name_of(self, sample_id: str) -> str | None:
        """Return the name under which an image is annotated: its id, else its file's name; None if it is not."""
        return next((name for name in (sample_id, PurePosixPath(sample_id).name) if name in self.images), None)


def read_annotations(path: Path) -> Annotations:
    """Return the annotations in a ``.jsonl`` or ``.parquet`` file.

    Raises:
        ConfigError: naming the file, and the column or image, if it cannot be read, names an image twice, or has a
            factor whose values are not all 0 or 1, or no factor.
    """
    require(path.is_file(), FIELD, str(path), "a file: ImageNet-X's .jsonl, or a .parquet")
    require(path.suffix in (".jsonl", ".parquet"), FIELD, str(path), "a file that ends in .jsonl or .parquet")
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, stamp: int) -> Annotations:
    """``stamp``: when the file was written last."""
    columns = _lines(path) if path.suffix == ".jsonl" else _parquet(path)
    named = next((name for name in NAMES if name in columns), None)
    if named is None:
        raise ConfigError(f"{FIELD}: {path} has the columns {', '.join(columns)}, expected {' or '.join(NAMES)}")
    names = [str(name) for name in columns[named]]
    twice = [name for name, times in Counter(names).items() if times > 1]
    require(not twice, f"{FIELD}: {path}", twice[:1], "every image once")
    factors = {
        name: frozenset(image for image, shows in zip(names, _flags(path, name, values), strict=True) if shows)
        for name, values in columns.items()
        if name not in (*NAMES, *BESIDE)
    }
    require(
        bool(factors) and bool(names), f"{FIELD}: {path}", list(columns), "images, and a column of 0 and 1 a factor"
    )
    strange = [name for name in factors if not name.replace("_", "").isalnum()]
    require(not strange, f"{FIELD}: {path}", strange, "factors named by letters, digits and _")
    return Annotations(images=frozenset(names), factors=factors)


def _lines(path: Path) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                rows.append(json.loads(line))
                same = isinstance(rows[-1], dict) and rows[-1].keys() == rows[0].keys()
                require(
                    same, f"{FIELD}: {path}, line {number}", line[:60], "an object with the fields of the first line"
                )
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{FIELD}: {path} is not a JSON object a line ({error})") from None
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{FIELD}: {path} cannot be read as Parquet ({error})") from None
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _flags(path: Path, factor: str, values: Sequence[Any]) -> list[bool]:
    strange = [value for value in values if isinstance(value, str) or value not in (0, 1)]
    require(not strange, f"{FIELD}: {path}, column {factor!r}", strange[:1], "0 or 1 for every image")
    return [bool(value) for value in values]
