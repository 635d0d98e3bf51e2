"""What made a result: versions, commit, machine, skipped images."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import torch

import zsr_core
from zsr_core.data import open_data, set_size
from zsr_core.lazy import LazyModule
from zsr_core.model import precision
from zsr_core.trial.config import TrialConfig

open_clip = LazyModule("open_clip")
SET_NOTES = "data_notes"  # of a result's provenance: the notes of :func:`set_notes`, joined


def skipped(config: TrialConfig, size: int) -> dict[str, str]:
    """Return ``{"skipped_<split>_<set>": "2: a.jpg, b.jpg"}`` for sets that leave out what cannot be decoded."""
    suite = config.eval_suite
    sets = [
        open_data(task, suite.split, size, suite.n, space=suite.space, trained_on=config.train_data)
        for task in (*suite.tasks, *suite.measured_ood)
        if task.skips
    ]
    if config.epochs and config.train_data.skips:
        sets.append(open_data(config.train_data, "train", size))
    return {f"skipped_{s.split}_{s.name}": f"{len(s.skipped)}: {', '.join(s.skipped)}" for s in sets if s.skipped}


def set_notes(config: TrialConfig, size: int) -> tuple[str, ...]:
    """Return ``"set: sentence"`` for what was odd in reading a set: skipped files, class names that are no words."""
    suite, train = config.eval_suite, config.train_data
    refs = (*suite.tasks, *suite.measured_ood)
    sets = [(task, set_size(task, suite.split, size, suite.n, trained_on=train)) for task in refs]
    if config.epochs:
        sets.append((train, set_size(train, "train", size)))
    return tuple(dict.fromkeys(f"{ref.called}: {note}" for ref, found in sets for note in found.notes))


def peak_bytes(device: torch.device) -> float:
    """Return the most memory that was in use: of the GPU, else of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


@lru_cache(maxsize=1)
def git_state() -> tuple[str, str]:
    """Return (commit, "true" | "false" for uncommitted changes); empty where there is no checkout.

    The environment's ZSR_GIT_SHA and ZSR_GIT_DIRTY come first: packages sent to a cluster leave ``.git`` behind.
    """
    if "ZSR_GIT_SHA" in os.environ:
        return os.environ["ZSR_GIT_SHA"], os.environ.get("ZSR_GIT_DIRTY", "")
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False, timeout=20)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        sha = git("rev-parse", "HEAD")
        return sha, str(bool(git("status", "--porcelain"))).lower() if sha else ""
    except (OSError, subprocess.TimeoutExpired):
        return "", ""


def provenance(device: torch.device) -> dict[str, str]:
    """Return what made a result: versions, commit, machine, and how it multiplies."""
    sha, dirty = git_state()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else (platform.processor() or platform.machine())
    return {
        "zsr": zsr_core.__version__, "torch": torch.__version__, "open_clip": open_clip.__version__,
        "python": platform.python_version(), "git_sha": sha, "git_dirty": dirty, "device": f"{device.type}: {name}",
        "host": platform.node(), "threads": str(torch.get_num_threads()), **precision.facts(),
    }  # fmt: skip
