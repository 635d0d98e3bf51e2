"""May this robustness number be believed? Evidence is gathered around it, and the rules G01 to G27 judge it.

A rule without its evidence is a SKIP that says what is missing, never a PASS. Verdicts are kept beside the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from zsr_core.audit.evidence import FULL, Evaluation
from zsr_core.audit.facts import Surface
from zsr_core.audit.finding import skipped
from zsr_core.audit.gather import Say, gather
from zsr_core.audit.plan import IMAGES, TIERS, Request, Tier, affordable, steps
from zsr_core.audit.scene import Scene
from zsr_core.audit.verdict import Verdict, judge
from zsr_core.codec import ConfigError, read_json, to_plain
from zsr_core.data import DataRef, ImageSet, open_data
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.files import write_text, write_whole
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.threat import Norm, ThreatModel, budget_text

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``audit.json`` holds: the verdicts on one checkpoint at one budget, and how they were made."""

    trial_id: str
    weights_sha: str
    norm: Norm
    eps: float  # in [0, 1] pixel units
    tier: Tier
    images: int
    passes: int  # encoder passes that the probes could take at most
    verdicts: tuple[Verdict, ...]
    schema: int = SCHEMA

    @property
    def statuses(self) -> dict[str, str]:
        """What a trial's result keeps: rule -> status."""
        return {v.rule: v.status for v in self.verdicts}


def scene_of(
    victim: Victim,
    suite: EvalSuite,
    banks: Callable[[ImageSet], TextBank],
    image_size: int,
    request: Request,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    records: Sequence[SampleRecord] = (),
    trained_on: DataRef | None = None,
) -> Scene:
    """Return the scene of a request: the first images of every task of an evaluation, at the request's budget.

    Args:
        records: the evaluation's; the cheap tier's share is taken of what they cost.
        trained_on: the training set, as of :func:`zsr_core.data.open_data`.

    Raises:
        ConfigError: if the request names no budget.
    """
    eps = request.eps
    if eps is None:
        raise ConfigError("eps: got None, expected the budget that is audited")
    sets = [
        open_data(ref, suite.split, image_size, suite.n, space=suite.space, trained_on=trained_on)
        for ref in suite.tasks
    ]
    scene = Scene(
        victim=victim, tasks=tuple((one, banks(one)) for one in sets), seed=seed, batch_size=suite.batch_size,
        threat=ThreatModel(norm=suite.norm, eps=eps, space=suite.space), device=device,
    )  # fmt: skip
    scene = scene.cut(request.images or IMAGES[request.tier])
    return scene.cut(affordable(scene, suite.attacks, records)) if request.tier == "cheap" else scene


def audit(
    scene: Scene, evaluation: Evaluation, request: Request, *, trial_id: str = "", say: Say | None = None
) -> tuple[Report, Surface | None]:
    """Return the verdicts on the numbers that an evaluation gave a classifier, and the loss surface if it was probed.

    Args:
        say: called before each probe.
    """
    evidence = gather(scene, evaluation, request, say=say)
    todo = steps(scene, evaluation.attacks, request) if scene.n else ()
    report = Report(
        trial_id=trial_id, weights_sha=scene.victim.sha, norm=scene.threat.norm, eps=scene.threat.eps,
        tier=request.tier, images=scene.n, passes=sum(step.passes(scene.n) for step in todo),
        verdicts=tuple(v if v.rule in request.rules else _not_asked(v.rule) for v in judge(evidence)),
    )  # fmt: skip
    return report, evidence.surface


def _not_asked(rule: str) -> Verdict:
    return Verdict.of(rule, skipped("not asked", FULL))


def joined(earlier: Report | None, later: Report) -> Report:
    """Return ``later`` and what only ``earlier`` tested, if both are of one checkpoint and budget."""
    same = earlier is not None and all(
        getattr(earlier, name) == getattr(later, name) for name in ("trial_id", "weights_sha", "norm", "eps", "schema")
    )
    if earlier is None or not same:
        return later
    tested = {v.rule: v for v in earlier.verdicts if v.status != "SKIP"}
    verdicts = tuple(tested.get(v.rule, v) if v.status == "SKIP" else v for v in later.verdicts)
    deeper = max((earlier, later), key=lambda report: TIERS.index(report.tier))
    return replace(deeper, verdicts=verdicts)


def read_report(folder: Path) -> Report | None:
    """Return the audit in a trial's folder, or None if there is none.

    Raises:
        ConfigError: naming the file, if it is there and cannot be read.
    """
    return read_json(Report, folder / "audit.json", "audit")


def write_report(folder: Path, report: Report, surface: Surface | None = None) -> Report:
    """Write ``audit.json``, joined with what an earlier audit tested, and ``surface.parquet``; return what was kept."""
    kept = joined(read_report(folder), report)
    if surface is not None:
        table = pa.Table.from_pylist([to_plain(point) for point in surface.points]).drop_columns(["type"])
        write_whole(folder / "surface.parquet", lambda part: pq.write_table(table, part, compression="zstd"))
    write_text(folder / "audit.json", json.dumps(to_plain(kept), indent=1) + "\n")
    return kept


def report_lines(report: Report) -> list[str]:
    """Return a report as lines of text: every rule's status and figure, and what to do about it."""
    head = f"audit ({report.tier}) of weights {report.weights_sha} at eps {budget_text(report.eps, report.norm)}, "
    lines = [f"{head}{report.images} images"]
    for v in report.verdicts:
        lines.append(f"  {v.rule}  {v.status:<4}  {v.figure}")
        if v.status in ("WARN", "FAIL"):
            lines.append(f"{'':13}{v.text} {v.advice}")
    return lines
