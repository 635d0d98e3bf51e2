"""The answer of the launching process to a trial at a rung: a file in the trial's folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

from zsr_core.files import write_text

POLL_SECONDS = 0.05


def _file(folder: Path, rung: int) -> Path:
    return folder / f"rung-{rung}.answer.json"


def write_answer(folder: Path, rung: int, *, stop: bool, why: str) -> None:
    """Write whether the trial of ``folder`` is stopped at a rung, and why."""
    write_text(_file(folder, rung), json.dumps({"stop": stop, "why": why}) + "\n")


def answered(folder: Path, rung: int) -> str:
    """Return why the trial is stopped at a rung, or an empty text, once the answer is there.

    It waits, because on a network file system a new file may be seen some time after it was written.
    """
    while not _file(folder, rung).is_file():
        time.sleep(POLL_SECONDS)
    answer = json.loads(_file(folder, rung).read_text(encoding="utf-8"))
    return str(answer["why"]) if answer["stop"] else ""
