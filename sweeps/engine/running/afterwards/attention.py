"""``zsr attention``: where a trial's model and the untouched one look, without attack and under it, on some images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sweeps.engine.figures.attention import Map, Seen, attention_figure
from sweeps.engine.figures.style import save
from sweeps.engine.running.afterwards.models import compared, evaluated_config
from sweeps.engine.running.audit import wanted
from sweeps.engine.study.folder import StudyFolder
from zsr_core.attacks import AnyAttack, Attack, Draws, Target
from zsr_core.attacks.profiles import profile
from zsr_core.codec import require, unknown
from zsr_core.data import ImageSet, open_data
from zsr_core.data.open import taken
from zsr_core.evaluation.attention import Looking, soft_iou
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.methods.comp_tga import NON_CLASS
from zsr_core.names import MINIATURES
from zsr_core.records import ATTENTION_KINDS
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel, budget_text
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import class_bank

MOST = 12  # images of a page


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is shown of a trial."""

    task: str = ""  # by default the first zero-shot set with masks, else the first set
    images: int = 4
    attack: str = ""  # by default the first of the trial's evaluation
    eps: float | None = None  # by default the trial's own headline budget

    def __post_init__(self) -> None:
        require(1 <= self.images <= MOST, "--images", self.images, f"1 to {MOST}")


def study_pages(folder: StudyFolder, trial: str, request: Request) -> list[str]:
    """Draw a page for each of these trials into the study's ``figures/``; return lines that name the files.

    Raises:
        ConfigError: if no such trial is done, or it has no such task, or its model has no attention maps.
    """
    lines = []
    for planned in wanted(folder, trial):
        config = folder.results[planned.trial_id].config
        out = folder.path / "figures" / f"attention-{planned.trial_id}"
        lines += page(config, planned.label, folder.path, out, request)
    return lines


def evaluated_page(place: Path, request: Request) -> list[str]:
    """Draw the page of a trial's folder, as ``zsr evaluate`` leaves it, into that folder; return lines."""
    config = evaluated_config(place)
    return page(config, config.model.name, place, place / "attention", request)


def page(config: TrialConfig, label: str, cache: Path, out: Path, request: Request) -> list[str]:
    """Draw ``out``.png, .svg and .pdf of one trial; return lines that name them."""
    both = compared(config, cache, label)
    device = both.device
    images = _images(config, both.image_size, request)
    attack = _attack(config, request)
    threat = ThreatModel(
        norm=config.eval_suite.norm, eps=request.eps or config.headline_eps, space=config.eval_suite.space
    )
    rows = list(range(len(images.labels)))
    x = _unit(images, rows).to(device)
    maps: list[dict[tuple[str, str, str], Map]] = [{} for _ in rows]
    shown = {}
    masks = None if images.masks is None else images.masks(rows).to(x)
    for name, model in both.models.items():
        victim, text = model.victim, model.banks(images)
        rest = class_bank(model.used, images.classes, (NON_CLASS,))
        x_adv, said = adversarial(victim, images, x, text, attack, threat, seed=config.seed)
        shown[name] = x_adv
        features = victim.features
        assert features is not None, "deployed() gives both"
        looking = Looking(features=features, text=text, rest=rest, masks=None)
        for state, these in (("clean", x), ("attacked", x_adv)):
            drawn = looking.maps(these, images.labels.to(device), x.shape[-1])
            scores = None if masks is None else soft_iou(drawn, masks[:, None])
            for i in rows:
                for k, kind in enumerate(ATTENTION_KINDS):
                    overlap = None if scores is None else float(scores[i, k])
                    maps[i][kind, name, state] = Map(
                        values=drawn[i, k].cpu().numpy(), below=these[i].permute(1, 2, 0).cpu().numpy(),
                        overlap=overlap, answer=said[state][i],
                    )  # fmt: skip
    seen = [
        Seen(
            image=x[i].permute(1, 2, 0).cpu().numpy(), name=images.classes[int(images.labels[i])],
            mask=None if masks is None else masks[i].cpu().numpy() > 0, maps=maps[i],
        )
        for i in rows
    ]  # fmt: skip
    measured = " The built-in miniature: not a measurement of CLIP." if config.model.name in MINIATURES else ""
    setting = (
        f"Where the model looks: {label}, {images.name}",
        f"Attack {attack.name}, {budget_text(threat.eps, threat.norm)}, each model by its own gradient; an image that "
        f"is wrong without attack is not attacked. Under each map: its soft IoU with the mask, and the answer."
        f"{measured}",
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    return [str(path) for path in save(attention_figure(seen, setting), out)]


def adversarial(
    victim: Victim, images: ImageSet, x: Tensor, text: TextBank, attack: AnyAttack, threat: ThreatModel, *, seed: int
) -> tuple[Tensor, dict[str, list[str]]]:
    """Return what the attack makes of every image [N, 3, H, W], and the answers by state, "clean" and "attacked".

    The attack runs as in an evaluation, so an image that is wrong without attack is returned as it is.
    """
    made: dict[str, Tensor] = {}

    def keep(stage: Attack, target: Target, x: Tensor, ball: ThreatModel, draws: Draws, ids: Sequence[str]) -> Tensor:
        x_adv = stage.run(target, x, ball, draws).detach()
        made.update(zip(ids, ball.project(x_adv, x), strict=True))
        return x_adv

    records = predict(victim, images, text, [attack], [threat], seed=seed, device=x.device, run_attack=keep)
    answers: dict[str, dict[str, str]] = {"clean": {}, "attacked": {}}
    for record in records:
        state = "clean" if record.condition == "none" else "attacked"
        answers[state][record.sample_id] = images.classes[record.pred]
    x_adv = torch.stack([made.get(name, x[i]) for i, name in enumerate(images.ids)])
    return x_adv, {state: [of[name] for name in images.ids] for state, of in answers.items()}


def _unit(images: ImageSet, rows: Sequence[int]) -> Tensor:
    pixels = images.pixels(list(rows))
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _images(config: TrialConfig, size: int, request: Request) -> ImageSet:
    suite = config.eval_suite
    names = [ref.called for ref in suite.tasks]
    if request.task and request.task not in names:
        raise unknown("--task", request.task, names)
    later = [ref for ref in suite.tasks if ref.called != config.train_data.called]
    refs = [ref for ref in suite.tasks if ref.called == request.task] or later or list(suite.tasks)
    sets = (open_data(ref, suite.split, size, suite.n, space=suite.space, trained_on=config.train_data) for ref in refs)
    first = next(sets)
    whole = first if first.masks is not None else next((one for one in sets if one.masks is not None), first)
    return taken(whole, range(min(request.images, len(whole.labels))))


def _attack(config: TrialConfig, request: Request) -> AnyAttack:
    return profile(request.attack) if request.attack else config.eval_suite.attacks[0]
