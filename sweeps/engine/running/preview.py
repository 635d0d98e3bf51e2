"""The plan of a launch and its cost as lines, without starting anything."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from sweeps.engine.format import MINIATURES
from sweeps.engine.running.options import Options
from sweeps.engine.running.pace import Pace
from sweeps.engine.study.folder import SPLIT, Study, StudyFolder
from sweeps.engine.study.limits import CLIFF
from sweeps.engine.study.plan import to_come
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.study.workload import Gpu, listing
from zsr_core.duration import size_text
from zsr_core.trial.config import TrialConfig

# The card of the papers' training (Comp-TGA, section V), at its manufacturer's fp32 rate.
REFERENCE_GPU, REFERENCE_GFLOPS = "an RTX 3090", 35_600.0


def own_cells(sweep: Sweep, options: Options) -> frozenset[str]:
    """Return the cells that the sweep itself lists, without those that refining added."""
    return frozenset(cell.label for cell in sweep.cells(options.preset))


def plan_lines(folder: StudyFolder, options: Options) -> list[str]:
    pace = Pace(folder.done().values())
    study = folder.study
    cores = 1 if options.local else len(os.sched_getaffinity(0))
    slots = min(cores, options.max_concurrent or cores)
    coming = to_come(study, options.samples, len(options.seeds))
    elsewhere = study.base.model.name not in MINIATURES and not torch.cuda.is_available()
    gpu = Gpu(name=REFERENCE_GPU, seconds=lambda config: pace.estimate(config).seconds_at(REFERENCE_GFLOPS))
    lines = listing(folder, pace.seconds, slots=slots, to_come=coming, gpu=gpu if elsewhere else None)
    kept = embeddings_kept(study, [study.config(trial) for trial in folder.unfinished()], coming, pace)
    if kept:
        lines.append(f"Embeddings to keep beside the records: {size_text(kept)}.")
    if pace.absent:
        lines.append(f"Not on this machine, so their published sizes are used: {', '.join(pace.absent)}.")
    return lines


def embeddings_kept(study: Study, unfinished: Sequence[TrialConfig], coming: int, pace: Pace) -> int:
    """Return the bytes of embeddings that the trials left will keep, with those on the report split that follow.

    Args:
        coming: the number of trials that a search has yet to propose.
    """
    configs = [*unfinished, *[study.base] * coming]
    if not study.rows(split="report"):  # the best cell and the untouched model
        configs += [study.base.with_({SPLIT: "report"})] * 2 * len(study.seeds)
    return sum(pace.estimate(config).embedding_bytes for config in configs)


def refine_lines(sweep: Sweep, folder: StudyFolder, options: Options) -> list[str]:
    """Return the trials that --refine would add, or a note that cells without scores come first."""
    if not options.refine:
        return []
    from sweeps.engine.analysis.cliffs import rounds  # noqa: PLC0415
    from sweeps.engine.analysis.score_query import shown_readings  # noqa: PLC0415
    from sweeps.engine.wording.cliffs import proposal_lines  # noqa: PLC0415

    study = folder.study
    if any(t.trial_id not in folder.results for t in study.plan if t.role == "cell"):
        return ["--refine adds trials between these cells after all of them have a score."]
    grown, proposals = rounds(folder, own_cells(sweep, options), options.refine)
    new = {trial.cell for trial in grown.plan} - {trial.cell for trial in study.plan}
    open_ones = [proposal for proposal in proposals if proposal.label in new]
    return ["", *proposal_lines(study, open_ones, shown_readings(study.objectives), CLIFF)]
