"""A finished grid in one Parquet file, so that it can be replayed without its study's folder.

A row is a trial at one of its rungs. ``images`` holds one bit an image, right or wrong: for each task in its order, all
images clean and then all under attack. The file's metadata has the grid as JSON, and the images' ids by task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.engine.analysis.early_stopping.arrivals import Arrival, Read
from sweeps.engine.analysis.outcomes import Outcomes
from sweeps.engine.analysis.searching.grid import Grid
from zsr_core.codec import from_plain, parse_json, require, to_plain
from zsr_core.files import write_whole

KEY = b"zsr grid"
Ids = dict[str, list[str]]  # task -> the ids of its images, equal at all rungs


def write_grid(grid: Grid, read: Read, path: Path) -> Path:
    """Write the grid and its images at rungs into one file.

    Raises:
        ConfigError: if two trials were scored on different images at their rungs.
    """
    ids: Ids = {}
    rows: list[dict[str, Any]] = []
    for cell in grid.cells:
        for trial in cell.trials:
            for rung, (_, scores) in enumerate(trial.rungs, 1):
                at = Arrival(trial_id=trial.trial_id, cell=cell.name, seed=trial.seed, rung=rung, scores=scores)
                tasks = read(at)
                own = {task: outcomes.ids.tolist() for task, outcomes in tasks.items()}
                ids = ids or own
                require(own == ids, "--keep", trial.trial_id, "a grid whose trials were scored on the same images")
                bits = np.concatenate([part for each in tasks.values() for part in (each.clean, each.robust)])
                packed = np.packbits(bits.astype(bool)).tobytes()
                rows.append({"trial_id": trial.trial_id, "rung": rung, "images": packed})
    schema = pa.schema([("trial_id", pa.string()), ("rung", pa.int8()), ("images", pa.binary())])
    metadata = {KEY: json.dumps({"grid": to_plain(grid, whole=True), "ids": ids}).encode()}
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, lambda whole: pq.write_table(table, whole, compression="zstd", use_dictionary=False))


def read_grid(path: Path) -> tuple[Grid, Read]:
    """Return a written grid, and what reads its images.

    Raises:
        ConfigError: naming the file, if it is not one that :func:`write_grid` has written.
    """
    expected = "a file that `zsr replay --keep` has written"
    require(path.is_file(), "--grid", str(path), f"{expected}; there is no such file")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        require(False, "--grid", str(path), f"{expected}: {error}")
    metadata = table.schema.metadata or {}
    require(KEY in metadata, "--grid", str(path), expected)
    held = parse_json(metadata[KEY].decode())
    grid = from_plain(Grid, held["grid"], f"--grid: {path}")
    packed = {(row["trial_id"], row["rung"]): row["images"] for row in table.to_pylist()}
    ids = {task: np.asarray(names, dtype=str) for task, names in held["ids"].items()}

    @lru_cache(maxsize=8192)
    def unpacked(trial_id: str, rung: int) -> Mapping[str, Outcomes]:
        bits = np.unpackbits(np.frombuffer(packed[trial_id, rung], dtype=np.uint8)).astype(np.float64)
        found, start = {}, 0
        for task, names in ids.items():
            clean, robust = bits[start : start + len(names)], bits[start + len(names) : start + 2 * len(names)]
            found[task] = Outcomes(ids=names, clean=clean, robust=robust)
            start += 2 * len(names)
        return found

    return grid, lambda arrival: unpacked(arrival.trial_id, arrival.rung)
