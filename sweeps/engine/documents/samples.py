"""A study's per-sample records as one Parquet data set, in Hive partitions by task and condition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from sweeps.engine.study.folder import PlannedTrial, StudyFolder
from zsr_core.codec import ConfigError
from zsr_core.files import temporary_folder
from zsr_core.records import ARROW, read_samples

TEXT = pa.dictionary(pa.int32(), pa.string())
PARTITIONS = ("task", "condition")
GROUP_ROWS = (1 << 13, 1 << 16)  # least and most rows of a row group; all open partitions are held in memory
# the trial of a record (its own "label" is the class); the configuration is in study.parquet, by trial_id
TRIAL_COLUMNS = pa.schema([("study", TEXT), ("cell", TEXT), ("role", TEXT), ("seed", pa.int64())])
SCHEMA = pa.schema([*TRIAL_COLUMNS, *ARROW], metadata=ARROW.metadata)


def export_samples(folder: StudyFolder) -> Path:
    """Write ``samples/task=.../condition=.../part-0.parquet`` from the trials that are done, and return ``samples``.

    An earlier folder is replaced after the new one is complete. Trials are read in turn. The folders of several studies
    can be read as one data set, because the column ``study`` tells them apart.

    Raises:
        ConfigError: if no trial has records, or naming the file with other columns.
    """
    # Only done trials, because a failed trial may still have the records of an earlier attempt.
    done = [trial for trial in folder.study.plan if folder.is_done(trial)]
    if not done:
        raise ConfigError(f"samples: no trial of {folder.path} is done; expected records to write")
    path = folder.path / "samples"
    with temporary_folder(path) as part:
        ds.write_dataset(
            _batches(folder, done),
            part / "samples",
            schema=SCHEMA,
            format="parquet",
            file_options=ds.ParquetFileFormat().make_write_options(compression="zstd"),
            basename_template="part-{i}.parquet",
            partitioning=ds.partitioning(pa.schema([ARROW.field(name) for name in PARTITIONS]), flavor="hive"),
            min_rows_per_group=GROUP_ROWS[0],
            max_rows_per_group=GROUP_ROWS[1],
            use_threads=False,  # rows stay in the plan's order
        )
        if path.exists():
            path.rename(part / "before")
        (part / "samples").rename(path)
    return path


def _batches(folder: StudyFolder, trials: list[PlannedTrial]) -> Iterator[pa.RecordBatch]:
    for trial in trials:
        path = folder.trial_path(trial.trial_id) / "samples.parquet"
        table = read_samples(path)
        try:
            records = table.select(ARROW.names).cast(ARROW)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"samples: {path} has other columns than records have now ({error})") from None
        facts = [getattr(trial, field.name) if field.name != "study" else folder.study.study for field in TRIAL_COLUMNS]
        whose = [pa.array([fact] * len(records), field.type) for fact, field in zip(facts, TRIAL_COLUMNS, strict=True)]
        yield from pa.Table.from_arrays([*whose, *records.columns], schema=SCHEMA).to_batches()
