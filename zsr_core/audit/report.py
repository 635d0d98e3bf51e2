"""May this robustness number be believed? Evidence is gathered around it, and the rules G01 to G25 judge.

A rule without its evidence is a SKIP that says so, never a PASS. Verdicts are kept beside the result they speak of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from zsr_core.attacks import AnyAttack
from zsr_core.audit.evidence import gather
from zsr_core.audit.judges import FULL, judge
from zsr_core.audit.plan import IMAGES, TIERS, Tier, affordable, steps
from zsr_core.audit.probes import Autocast, Scene, Surface
from zsr_core.audit.rules import Row, skip
from zsr_core.audit.verdict import RULES, Verdict
from zsr_core.codec import read_json, require, to_plain, unknown
from zsr_core.data import DataRef, ImageSet, open_data
from zsr_core.evaluation.measure import Measurement
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.files import write_text, write_whole
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.threat import Norm, ThreatModel, budget_text

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``audit.json`` holds: the verdicts on one checkpoint at one budget, and what they rest on."""

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
    *,
    tier: Tier,
    eps: float,
    images: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    autocast: Autocast = "none",
    records: Sequence[SampleRecord] = (),
    trained_on: DataRef | None = None,
) -> Scene:
    """Return what a tier looks at: the first images of every task of an evaluation, at one budget.

    Args:
        eps: the budget whose numbers are audited, in [0, 1] pixel units.
        images: at most so many, by default :data:`IMAGES`; the cheap tier takes fewer where it would cost too much.
        autocast: for numbers that others' attacks made under autocast; ours run in fp32.
        records: what the evaluation left, which says what it cost.
        trained_on: the training set, as of :func:`zsr_core.data.open_data`.

    Raises:
        ConfigError: for an unknown tier, or no image.
    """
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    require(images is None or images >= 1, "images", images, "at least 1 image")
    sets = [
        open_data(ref, suite.split, image_size, suite.n, space=suite.space, trained_on=trained_on)
        for ref in suite.tasks
    ]
    scene = Scene(
        victim=victim, tasks=tuple((one, banks(one)) for one in sets), seed=seed, batch_size=suite.batch_size,
        threat=ThreatModel(norm=suite.norm, eps=eps, space=suite.space), device=device, autocast=autocast,
    )  # fmt: skip
    scene = scene.cut(images or IMAGES[tier])
    return scene.cut(affordable(scene, suite.attacks, records)) if tier == "cheap" else scene


def audit(
    scene: Scene,
    attacks: Sequence[AnyAttack],
    *,
    tier: Tier,
    only: Collection[str] = tuple(RULES),
    trial_id: str = "",
    records: Sequence[SampleRecord] = (),
    measurements: Sequence[Measurement] = (),
    own: Row | None = None,
    baseline: Row | None = None,
    say: Callable[[str, int, int], None] | None = None,
) -> tuple[Report, Surface | None]:
    """Return the verdicts on what an evaluation with ``attacks`` says of a classifier, and the loss surface if probed.

    Args:
        only: the rules that are asked; the others are skipped, and what they alone need is not probed.
        records, measurements: what the evaluation left; without them the rules on them are skipped.
        own, baseline: the trial's numbers, and those of a TeCoA of the same budget.
        say: told (probe, number of it from 1, how many) before each probe.

    Raises:
        ConfigError: for an unknown rule.
    """
    for rule in only:
        if rule not in RULES:
            raise unknown("rule", rule, RULES)
    evidence = gather(
        scene, attacks, tier=tier, only=only, records=records, measurements=measurements, own=own, baseline=baseline,
        say=say,
    )  # fmt: skip
    passes = sum(step.passes(scene.n) for step in steps(scene, attacks, tier, only)) if scene.n else 0
    report = Report(
        trial_id=trial_id, weights_sha=scene.victim.sha, norm=scene.threat.norm, eps=scene.threat.eps, tier=tier,
        images=scene.n, passes=passes,
        verdicts=tuple(v if v.rule in only else skip(v.rule, "not asked", FULL) for v in judge(evidence)),
    )  # fmt: skip
    return report, evidence.surface


def joined(earlier: Report | None, later: Report) -> Report:
    """Return ``later`` with what only ``earlier`` tested, where both are of one checkpoint and budget."""
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
