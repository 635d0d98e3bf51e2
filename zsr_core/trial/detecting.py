"""Detection by crops of a trial's model: its scenes, what it names their boxes, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zsr_core.codec import require
from zsr_core.data import Split
from zsr_core.data.formats.boxes import Boxes, Scenes, part_of, read_coco, read_proposals
from zsr_core.data.miniature.boxed import boxed_scenes, made_proposals
from zsr_core.data.miniature.scenes import FINE_SIZE
from zsr_core.data.prompts import TEMPLATE
from zsr_core.evaluation.crops import How, named, objects_name, proposals_name
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.meter import Part, attacked_parts
from zsr_core.evaluation.scenes.store import Detected
from zsr_core.evaluation.scenes.suite import USUAL, DetectionSuite
from zsr_core.names import MINIATURES
from zsr_core.rng import seed_for
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.deploy import DeployedModel

SET = "animals"  # of the miniature, which its scenes show


def scenes_of(detection: DetectionSuite, split: Split, model: str) -> tuple[Scenes, Boxes]:
    """Return the scenes of a split and the proposals in them; ``model`` is the model's name.

    Of the miniature the splits are every second scene; of a file an image's id says which split it is in.

    Raises:
        ConfigError: if boxes, pictures or proposals cannot be used, or the split has no object or no proposal.
    """
    if detection.boxes is None or detection.pictures is None:
        require(model in MINIATURES, "boxes", None, f"a file of COCO instances, because {model!r} is no miniature")
        n, step = detection.n or USUAL, 1 if split == "all" else 2
        whole = boxed_scenes(SET, n * step, FINE_SIZE)
        found = part_of(whole, made_proposals(whole), range(int(split == "report"), n * step, step))
    else:
        whole = read_coco(Path(detection.boxes).expanduser(), Path(detection.pictures).expanduser(), (TEMPLATE,))
        given = detection.proposals
        proposals = whole.objects if given is None else read_proposals(Path(given).expanduser(), whole)
        halves = [seed_for(0, "scenes", name) % 2 for name in whole.ids]  # by the id alone
        own = [row for row, half in enumerate(halves) if split == "all" or half == int(split == "report")]
        found = part_of(whole, proposals, own[: detection.n])
    for what, boxes in (("object", found[0].objects), ("proposal", found[1])):
        require(len(boxes) > 0, "boxes", str(detection.boxes), f"at least one {what} on the split {split!r}")
    return found


def detected_of(config: TrialConfig, model: DeployedModel, *, parts: Path, context: RunContext) -> Detected | None:
    """Return what the model names the boxes of the suite's scenes; None where it asks for no detection.

    Args:
        parts: the folder of finished batches.
    """
    suite = config.eval_suite
    if suite.detection is None:
        return None
    scenes, proposals = scenes_of(suite.detection, suite.split, config.model.name)
    how = How(
        image_size=model.image_size, pad=suite.detection.pad, name=suite.detection.name, split=suite.split,
        seed=config.seed, trial_id=config.trial_id, batch_size=suite.batch_size, device=context.where,
        attack_precision=suite.attack_precision, journal=Journal(folder=parts), on_event=context.on_event,
    )  # fmt: skip
    return named(model.victim, scenes, proposals, model.banks, suite.attacks, suite.threats(), how)


def detection_parts(config: TrialConfig) -> Iterator[Part]:
    """Yield what detection will do, in its order: the crops of the true boxes, then those of the proposals."""
    suite = config.eval_suite
    if suite.detection is None:
        return
    scenes, proposals = scenes_of(suite.detection, suite.split, config.model.name)
    for name, boxes in ((objects_name(scenes), scenes.objects), (proposals_name(scenes), proposals)):
        blank = Part(task=name, condition="none", eps=0.0, stage="", images=len(boxes), forwards=1, backwards=0)
        yield blank
        yield from attacked_parts(blank, suite.attacks, suite.eps, len(scenes.classes))
