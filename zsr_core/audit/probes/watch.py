"""An attack of one stage, run and watched: what it queried on the way, and a second check of what it returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zsr_core.attacks import Attack, Draws, Target
from zsr_core.attacks.losses import cross_entropy, margin
from zsr_core.audit.facts import Seen, Watched
from zsr_core.audit.scene import Scene
from zsr_core.evaluation.attacked import RunAttack
from zsr_core.evaluation.predict import predict
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel


def watch(scene: Scene, attack: Attack) -> Watched:
    """Return the records of ``attack`` on the scene, and what was seen of each image that it attacked."""
    records: list[SampleRecord] = []
    attacked: list[tuple[SampleRecord, Seen]] = []
    for images, text in scene.tasks:
        seen: dict[str, Seen] = {}
        of_task = predict(
            scene.victim, images, text, [attack], [scene.threat], seed=scene.seed, batch_size=scene.batch_size,
            device=scene.device, threat_space=scene.threat.space, run_attack=recording(seen),
        )  # fmt: skip
        broken_before = {r.sample_id for r in of_task if r.condition == "none" and not r.correct}
        faced = [r for r in of_task if r.condition != "none" and r.sample_id not in broken_before]
        attacked += [(r, seen[r.sample_id]) for r in faced]
        records += of_task
    return Watched(records=tuple(records), attacked=tuple(attacked))


def recording(seen: dict[str, Seen]) -> RunAttack:
    """Return what runs an attack on one batch and keeps in ``seen``, by the image's id, what was seen of it.

    Batches may run side by side in threads, because each writes entries of its own images alone.
    """

    def run(attack: Attack, target: Target, x: Tensor, threat: ThreatModel, draws: Draws, ids: Sequence[str]) -> Tensor:
        x_adv, of_batch = watched_run(attack, target, x, threat, draws)
        seen.update(zip(ids, of_batch, strict=True))
        return x_adv

    return run


def watched_run(
    attack: Attack, target: Target, x: Tensor, threat: ThreatModel, draws: Draws
) -> tuple[Tensor, tuple[Seen, ...]]:
    """Return the images that the attack gives, which are those that it gives unwatched, and what was seen of each.

    The attack makes one try after the other (``room=1``) and leaves a fallen image out at once (``every=1``), so that
    the losses of an image are in the order of its tries and end with its fall.
    """
    broken = [False] * len(x)
    losses: list[list[float]] = [[] for _ in range(len(x))]

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        answers = target.ask(x_adv, rows)
        logits = answers.detach().mean(dim=0)
        labels = target.labels[rows]
        wrong = (logits.argmax(dim=1) != labels) & threat.contains(x_adv.detach(), x[rows])
        for row, fooled, loss in zip(
            rows.tolist(), wrong.tolist(), cross_entropy(logits, labels).tolist(), strict=True
        ):
            broken[row] |= fooled
            losses[row].append(loss)
        return answers

    x_adv = attack.run(replace(target, ask=ask, room=1, every=1), x, threat, draws).detach()
    judged = threat.project(torch.where(x_adv.isfinite(), x_adv, x), x)
    boxed = ((judged >= 0) & (judged <= 1)).flatten(1).all(dim=1).tolist()
    leads, rounded = (_leads(target, image) for image in (judged, (judged * 255).round() / 255))
    return x_adv, tuple(
        Seen(broken=broken[i], losses=tuple(losses[i]), outside=not boxed[i], lead=leads[i], lead_rounded=rounded[i])
        for i in range(len(x))
    )


@torch.no_grad()
def _leads(target: Target, x: Tensor) -> list[float]:
    """Return each image's largest wrong logit minus its true one, over the logits' norm, asked in reverse order."""
    rows = torch.arange(len(x), device=x.device).flip(0)
    logits = target.logits(x[rows], rows)
    leads = margin(logits, target.labels[rows]) / logits.norm(dim=1).clamp(min=1e-30)
    return [float(lead) for lead in leads.flip(0)]
