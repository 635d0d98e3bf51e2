"""``zsr detect``: zero-shot detection by crops of a trial's model and of the untouched one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sweeps.engine.running.afterwards.models import compared, evaluated_config
from sweeps.engine.running.audit import wanted
from sweeps.engine.study.folder import StudyFolder
from zsr_core.attacks.profiles import profile
from zsr_core.codec import require, to_plain
from zsr_core.data.formats.boxes import Boxes, Scenes
from zsr_core.evaluation.crops import Detection, detect
from zsr_core.evaluation.scenes.suite import DetectionSuite
from zsr_core.files import write_text
from zsr_core.names import MINIATURES
from zsr_core.threat import ThreatModel, budget_text
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.detecting import scenes_of


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which scenes, which proposals, and how they are attacked."""

    boxes: Path | None = None  # COCO instances; None: the miniature's own scenes
    pictures: Path | None = None  # the folder that file names start from
    proposals: Path | None = None  # Parquet; None: of the miniature made ones, else the true boxes
    scenes: int = 16  # of the miniature
    attacks: tuple[str, ...] = ()  # by default the first of the trial's evaluation
    eps: float | None = None  # by default the trial's own headline budget
    pad: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.pad <= 1, "--pad", self.pad, "a share of the box from 0 to 1")
        given = (self.boxes is None) == (self.pictures is None)
        require(given, "--pictures", self.pictures, "a folder beside --boxes, and only there")
        require(self.boxes is not None or self.proposals is None, "--proposals", self.proposals, "--boxes with it")


def detect_study(folder: StudyFolder, trial: str, request: Request) -> list[str]:
    """Measure each of these trials, write ``detection.json`` into its folder, and return the numbers as lines."""
    lines: list[str] = []
    for planned in wanted(folder, trial):
        config, place = folder.results[planned.trial_id].config, folder.trial_path(planned.trial_id)
        lines += ["", f"{planned.trial_id}  {planned.label}", *detect_trial(config, folder.path, place, request)]
    return lines[1:]


def detect_evaluated(place: Path, request: Request) -> list[str]:
    """Measure the trial in a folder that ``zsr evaluate`` has left, and return the numbers as lines."""
    return detect_trial(evaluated_config(place), place, place, request)


def detect_trial(config: TrialConfig, cache: Path, place: Path, request: Request) -> list[str]:
    """Write ``detection.json`` of the untouched and the tuned model into ``place``; return the numbers as lines.

    Raises:
        ConfigError: if boxes, pictures or proposals cannot be used.
    """
    scenes, proposals = _scenes(config, request)
    both = compared(config, cache, "model")
    suite = config.eval_suite
    attacks = [profile(name) for name in request.attacks] or list(suite.attacks[:1])
    threat = ThreatModel(norm=suite.norm, eps=request.eps or config.headline_eps)

    found = {
        name: detect(
            model.victim, scenes, proposals, model.banks, both.image_size, attacks, [threat], pad=request.pad,
            seed=config.seed, batch_size=suite.batch_size, device=both.device,
        )
        for name, model in both.models.items()
    }  # fmt: skip
    plain = {name: [to_plain(row) for row in rows] for name, rows in found.items()}
    write_text(place / "detection.json", json.dumps(plain, indent=1) + "\n")
    head = (
        f"{len(scenes.ids)} images of {scenes.name}, {len(scenes.objects)} objects, {len(proposals)} proposals; "
        f"{budget_text(threat.eps, threat.norm)}; every crop is attacked by itself"
    )
    note = ["Measured on the built-in miniature."] if config.model.name in MINIATURES else []
    lines = [line for name, rows in found.items() for line in [name, *map(_line, rows)]]
    return [head, *note, *lines, f"written: {place / 'detection.json'}"]


def _scenes(config: TrialConfig, request: Request) -> tuple[Scenes, Boxes]:
    small = request.boxes is not None or config.model.name in MINIATURES
    require(small, "--boxes", None, "a file of COCO instances, because this model is not the miniature's")
    given = [None if path is None else str(path) for path in (request.boxes, request.pictures, request.proposals)]
    boxes, pictures, proposals = given
    n = request.scenes if boxes is None else None
    suite = DetectionSuite(n=n, boxes=boxes, pictures=pictures, proposals=proposals, pad=request.pad)
    return scenes_of(suite, "all", config.model.name)


def _line(row: Detection) -> str:
    value = f"undefined: {row.reason}" if row.value is None else f"{row.value:.1f}"
    ends = "" if row.low is None or row.high is None else f" [{row.low:.1f}, {row.high:.1f}]"
    return f"  {row.attack:<12} {row.metric:<22} {value}{ends}  (n {row.n})"
