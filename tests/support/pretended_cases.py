"""What goes through the pretended device, each a function of the device's name that returns comparable values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from by_path import tiny_models
from pretended_cuda import unseen
from torch import Tensor

from zsr_core.attacks import (
    Adaptive,
    Apgd,
    Attack,
    AutoAttack,
    Confidence,
    Fab,
    Noise,
    Pgd,
    Square,
    Transfer,
)  # fmt: skip
from zsr_core.attacks.attack import Target
from zsr_core.attacks.detector import Detector
from zsr_core.defences import Ttc, WiseFt
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.regulariser import regulariser
from zsr_core.evaluation.retrieval.suite import TokenAttack
from zsr_core.evaluation.retrieval.tokens import attacked_tokens
from zsr_core.evaluation.victim import Victim
from zsr_core.events import EpochEnded, Event
from zsr_core.methods import METHODS, Agft, Caw, CompTga, Fare, Laat, LpFt, Method, TeCoA, TgaZsr, Trades, Ucat
from zsr_core.model.load import Clip
from zsr_core.text import TextBank, encode_classes
from zsr_core.threat import Norm, ThreatModel
from zsr_core.training.fit import Recipe, Step, fit, make_step
from zsr_core.training.optim import Optim
from zsr_core.training.perturbation import Perturbation

Case = Callable[[str], Any]
Steps = Callable[..., dict[str, float]]  # (device, what is called between two steps) -> what they report


shared = tiny_models()
Tiny = shared.Tiny


def clip_on(device: str, kind: str = "vit") -> Clip:
    """Return a tiny CLIP whose image tower and texts are on ``device``."""
    with unseen():
        clip: Clip = Tiny.clip(kind, quick_gelu=kind == "vit")
        text_tower = Tiny.text_tower(kind, quick_gelu=kind == "vit")
    return dataclasses.replace(
        clip,
        tower=clip.tower.to(device),
        encode_text=lambda texts: shared.encode_text(texts).to(device),
        text_tower=text_tower.to(device),
    )


def bank_of(clip: Clip) -> TextBank:
    return encode_classes(clip.encode_text, shared.CLASSES, ("a photo of a {}",))


def drift(tower: torch.nn.Module) -> None:
    """Move weights a little, because a distance of student and teacher has a kink where they are equal."""
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in tower.parameters():
            p.add_((0.02 * torch.randn(p.shape, generator=draws)).to(p.device))


def recipe(**changes: Any) -> Recipe:
    plain = Recipe(
        optim=Optim(lr=1e-3, warmup_steps=0, clip_norm=1.0), threat=ThreatModel(eps=4 / 255),
        attack=Pgd(steps=2, keep="last", random_start=False), epochs=1, batch_size=4, precision="fp32", seed=0,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def step_of(device: str, method: Method, kind: str = "vit", **changes: Any) -> tuple[Step, Tensor, Tensor]:
    """Return a step, and images and labels to take it on."""
    clip = clip_on(device, kind)
    step = make_step(clip, method, bank_of(clip), recipe(**changes), total=2)
    drift(step.tower)
    x = Tiny.pixels(4, side=64 if kind == "resnet" else 32).to(device)
    return step, x, torch.tensor([0, 1, 2, 0]).to(device)


def stepped(method: Method, kind: str = "vit", **changes: Any) -> Steps:
    """Return a case: two training steps, and what they report."""

    def case(device: str, between: Callable[[], None] = lambda: None) -> dict[str, float]:
        step, x, y = step_of(device, method, kind, **changes)
        first = step(x, y, torch.arange(4), 0)
        between()
        second = step(x, y, torch.arange(4), 1)
        return {**first, **{f"{name} of step 2": value for name, value in second.items()}}

    return case


RECIPES: dict[str, Steps] = {
    "layer scale": stepped(Fare(), "vit_layer_scale"),
    "resnet": stepped(Fare(), "resnet"),
    "average pooled": stepped(Fare(), "average_pooled"),
    "resnet, Grad-CAM": stepped(TgaZsr(attention="visual_differentiable"), "resnet"),
    "AdamW, best iterate, momentum": stepped(
        Fare(), optim=Optim(name="adamw"), attack=Pgd(steps=2, momentum=0.9, random_start=False)
    ),
    "moved tokens": stepped(TeCoA(), perturbation=Perturbation(site="token", radius=0.1)),
    "moved embeddings": stepped(TeCoA(), perturbation=Perturbation(site="embedding", radius=0.1)),
    "uniform start": stepped(TgaZsr(), attack=Pgd(steps=2, keep="last")),
    "l2, normal start": stepped(Trades(), threat=ThreatModel(norm="l2", eps=0.5), attack=Pgd(start_std=0.001)),
}
VARIANTS: tuple[Method, ...] = (
    TgaZsr(attention="visual"), TgaZsr(attention="visual_differentiable", distance="cos"), TgaZsr(distance="l1"),
    TgaZsr(distance="cos", minmax="after"), TgaZsr(norm_axis="channel"), CompTga(distance="l1"),
    CompTga(fusion="class"), CompTga(fusion="non_class"), Ucat(reference="target"), Ucat(ce="dirichlet"),
    Ucat(prior_weight=1.0), Ucat(divergence="bhattacharyya"), Ucat(evidence="softplus", offset=1.0),
    Ucat(divergence="log_l2"), Ucat(form="asymptotic"), Agft(attack="hard"), LpFt(images="adv"),
    Fare(clean_weight=0.5, reference="target", normalize=True), Caw(normalize_features=True, reg_norm="l2_squared"),
)  # fmt: skip
STEPS: dict[str, Steps] = {
    **{f"{kind.title}, {precision}": stepped(kind(), precision=precision)
       for kind in METHODS for precision in ("fp32", "bf16")},
    **{f"{method!r}": stepped(method) for method in VARIANTS},
    **RECIPES,
}  # fmt: skip


def fitted(method: Method, folder: Path) -> Case:
    """Return a case: two epochs, stopped after the first and gone on with, with the teacher's features on disk."""

    def case(device: str) -> dict[str, float]:
        clip, place = clip_on(device), folder / device
        plan = recipe(epochs=2, optim=Optim(name="adamw", lr=1e-3, warmup_steps=0))

        def stop(event: Event) -> None:
            if isinstance(event, EpochEnded):
                raise KeyboardInterrupt

        for on_event in (stop, lambda event: None):
            try:
                done = fit(
                    clip, method, bank_of(clip), Tiny.images(10), plan, cache_folder=place,
                    checkpoint=place / "checkpoint", on_event=on_event, device=device,
                )  # fmt: skip
            except KeyboardInterrupt:
                continue
        return {name: value for name, value in done.history[-1].items() if name != "seconds"}

    return case


def victim_on(device: str, *, adaptive: bool = False) -> tuple[Victim, TextBank]:
    clip, other = clip_on(device), clip_on(device)
    drift(other.tower)
    added = regulariser(TgaZsr(), other, clip.tower) if adaptive else None
    others = {"untouched": Victim(embed=other.tower, scale=20.0, sha="b")}
    return Victim(embed=clip.tower, scale=clip.scale, sha="a", others=others, regulariser=added), bank_of(clip)


def answered(victim: Victim, text: TextBank, device: str, n: int = 12) -> Any:
    """Return images labelled with the model's own answers, so that there is something to attack."""
    images = Tiny.images(n)
    with torch.no_grad():
        x = (images.pixels(range(n)).float() / 255).to(device)
        return dataclasses.replace(images, labels=victim.logits(x, text).argmax(dim=1).cpu())


def attacked(attack: Attack, norm: Norm, *, defence: Ttc | None = None, adaptive: bool = False) -> Case:
    """Return a case: the records of 12 images under an attack, in batches of 8."""

    def case(device: str) -> list[tuple[Any, ...]]:
        victim, text = victim_on(device, adaptive=adaptive)
        images = answered(victim, text, device)
        if defence is not None:
            clip = clip_on(device)
            victim = dataclasses.replace(
                victim, defended=defence.defended(clip.tower, clip.tower), attack_samples=defence.attack_samples
            )
        threat = ThreatModel(norm=norm, eps=4 / 255 if norm == "linf" else 0.5)
        records = predict(victim, images, text, [attack], [threat], batch_size=8, device=device)
        return [
            (r.sample_id, r.condition, r.correct, r.queries, r.stage, round(r.margin, 2), round(r.l2, 2))
            for r in records
        ]

    return case


SMALL_ATTACKS: tuple[Attack, ...] = (
    Pgd(steps=5), Pgd(steps=25), Pgd(steps=5, restarts=2, momentum=0.5), Pgd(steps=5, keep="last", loss="margin"),
    Apgd(steps=12), Apgd(steps=8, loss="dlr", restarts=2), Apgd(steps=8, loss="dlr-targeted", targets=3),
    Fab(steps=12, targets=3), Square(queries=40), Noise(draws=4), Transfer(steps=5),
    Confidence(steps=5), Confidence(goal="flip", steps=5),
)  # fmt: skip
ATTACKS: dict[str, Case] = {
    **{f"{attack.name} {norm}": attacked(attack, norm) for attack in SMALL_ATTACKS for norm in ("linf", "l2")},
    "adaptive": attacked(Adaptive(steps=5, weights=(0.0, 1.0)), "linf", adaptive=True),
    "AutoAttack's list": attacked(AutoAttack(version="agft"), "linf"),
    "pgd3 through TTC": attacked(Pgd(steps=3), "linf", defence=Ttc(attack_samples=2)),
    "pgd3 beside TTC": attacked(Pgd(steps=3), "linf", defence=Ttc()),
}  # fmt: skip


def alone(attack: Attack) -> Case:
    """Return a case: an attack on one batch, without an evaluation around it."""

    def case(device: str) -> dict[str, float]:
        victim, text = victim_on(device)
        x = Tiny.pixels(4).to(device)

        def draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
            return [torch.Generator().manual_seed(i) for i in range(len(rows))]

        x_adv = attack.run(target_of(victim, text, x), x, ThreatModel(eps=4 / 255), draws)
        return {"mean pixel": float(x_adv.mean())}

    return case


def target_of(victim: Victim, text: TextBank, x: Tensor) -> Target:
    with torch.no_grad():
        labels = victim.logits(x, text).argmax(dim=1)
    return Target(ask=lambda x_adv, rows: victim.logits(x_adv, text)[None], labels=labels, classes=len(text.classes))


def between(device: str) -> dict[str, float]:
    """Weights halfway between two towers."""
    tuned, original = clip_on(device).tower, clip_on(device).tower
    drift(tuned)
    with torch.no_grad():
        return {"sum": float(WiseFt().tower(tuned, original)(Tiny.pixels(2).to(device)).sum())}


def tokens_moved(device: str) -> dict[str, float]:
    """An attack on tokens in the middle of the tower, against a direction of the embedding."""
    tower, x = clip_on(device).tower, Tiny.pixels(4).to(device)

    def away(unit: Tensor, rows: Tensor) -> Tensor:
        return -unit[:, 0]

    moved = attacked_tokens(tower, TokenAttack(block=1, steps=2), 0.1, away, x, torch.arange(4, device=x.device))
    return {"sum": float(moved.sum())}


OTHERS: dict[str, Case] = {
    "the cascade alone": alone(AutoAttack(version="agft")),
    "a detector's score": alone(Detector(steps=3)),
    "tokens in the middle": tokens_moved,
    "WiSE-FT": between,
}
USES: tuple[Method, ...] = (Laat(), LpFt(probe_steps=5), TgaZsr())  # whose whole training goes through the device


def unbroken(device: str) -> tuple[Target, Tensor, Callable[[str, Tensor], list[torch.Generator]]]:
    """Return a target on 4 images, so small a budget away from its boundaries that all stand, and draws."""
    victim, text = victim_on(device)
    x = Tiny.pixels(4).to(device)

    def draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(i) for i in range(len(rows))]

    return target_of(victim, text, x), x, draws
