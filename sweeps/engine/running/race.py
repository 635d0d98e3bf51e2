"""Adaptive seeds: further seeds only for the cells that are still in the race for the best score.

A cell is in the race while its paired difference to the best one has a 95 % interval that contains 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.ranking import ranked
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.plan import planned
from zsr_core.space import Variant


def contenders(folder: StudyFolder) -> list[str]:
    """Return the chosen cell and those that do not differ significantly from it; empty once it stands alone."""
    best = chosen(folder)
    if best is None:
        return []
    rivals = ranked(folder).rivals
    return [best.cell, *rivals] if rivals else []


def next_round(folder: StudyFolder, seeds: Sequence[int]) -> Study:
    """Return the study with the first of ``seeds`` that some contender lacks, for all contenders and the reference.

    The study is returned as it is once one cell stands alone, or every contender has every seed.
    """
    study, race = folder.study, contenders(folder)
    rows = {row.cell: row for row in study.rows(split="selection")}
    have = {cell: {t.seed for t in row.trials} for cell, row in rows.items()}
    lacking = next((seed for seed in seeds if any(seed not in have[cell] for cell in race)), None)
    if lacking is None:
        return study
    reference = [row.cell for row in rows.values() if row.role == "baseline" or row.cell == study.baseline]
    new = [
        planned(study.base, Variant(label=cell, overrides=rows[cell].overrides), lacking, rows[cell].role,
                rows[cell].proposal)
        for cell in dict.fromkeys([*reference, *race])
        if lacking not in have[cell]
    ]  # fmt: skip
    return replace(study, plan=(*study.plan, *new))
