"""What ``test_distributed.py`` does in two processes and in one; a module of its own, for they import it by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from by_path import tiny_models
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.events import EpochEnded
from zsr_core.methods import Flyp, FtAdv, Method, PmgAft, TgaZsr, Ucat
from zsr_core.model.distributed import World
from zsr_core.model.processes import Member
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, fit
from zsr_core.training.optim import Optim

# By what could go wrong: tower, method, precision. Attention maps of student and teacher are equal before the first
# step, where an l2 distance has a kink and round-off decides its direction: the cosine has none.
METHODS: dict[str, tuple[str, Method, str]] = {
    "patches": ("vit", TgaZsr(distance="cos"), "fp32"),
    "a batch of negatives": ("vit", FtAdv(), "fp32"),
    "a mean over the batch": ("vit", Ucat(), "fp32"),
    "a sum over the batch, teacher on attacks": ("vit", PmgAft(), "fp32"),
    "second derivatives": ("vit", TgaZsr(attention="visual_differentiable", distance="cos"), "fp32"),
    "batch norm": ("resnet", TgaZsr(distance="cos"), "fp32"),
    "both towers": ("vit", Flyp(), "fp32"),
    "half precision": ("vit", TgaZsr(distance="cos"), "bf16"),
}
# 13 images in batches of 5, 5 and 3: no share is even.
RECIPE: dict[str, Any] = {
    "optim": Optim(name="sgd", lr=0.02, warmup_steps=2, clip_norm=1.0), "threat": ThreatModel(eps=4 / 255),
    "attack": Pgd(steps=2, step_ratio=0.5, keep="last"), "epochs": 2, "batch_size": 5, "seed": 0,
}  # fmt: skip


def tiny() -> Any:
    """The tests' tiny models; loaded by path, for this runs outside of pytest too."""
    return tiny_models().Tiny


def train(world: World, folder: Path, name: str) -> dict[str, Any]:
    """Return history, cost and weights of a short training, with the teacher's cache built on the way."""
    kind, method, precision = METHODS[name]
    clip, side = tiny().clip(kind), 64 if kind == "resnet" else 32
    recipe = Recipe(**RECIPE, precision=precision)
    images = tiny().images(13, side=side)
    fitted = fit(clip, method, tiny().bank(), images, recipe, cache_folder=folder / "cache", world=world)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.history]
    texts = {} if fitted.texts is None else {f"text {k}": v for k, v in fitted.texts.state_dict().items()}
    return {"history": history, "cost": fitted.cost, "weights": {**fitted.tower.state_dict(), **texts}}


def operations(world: World) -> dict[str, Any]:
    """Return what sharing out and gathering give, forwards and through two derivatives, for 5 rows."""
    x = torch.linspace(-1, 1, 10).view(5, 2).requires_grad_()
    weight = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], requires_grad=True)
    y = world.gather((world.share(x) @ weight).sin(), 5)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    loss = (first.square().sum(dim=1) * torch.arange(5.0)).sum()
    loss.backward()
    world.sum_gradients([weight])
    assert x.grad is not None
    assert weight.grad is not None
    whole = {
        str(dtype): world.gather(world.share(torch.arange(7).to(dtype)), 7).float()
        for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    }
    told = world.lead(lambda: f"said by {world.rank}")
    return {
        "y": y.detach(), "first": first.detach(), "second": x.grad, "weight": weight.grad, "whole": whole, "told": told
    }  # fmt: skip


def work(member: Member, folder: Path) -> None:
    world = member.world
    found: dict[str, Any] = {name: train(world, folder, name) for name in METHODS}
    found["operations"] = operations(world)
    try:
        world.agree("the rank", str(world.rank))
    except ArithmeticError as error:
        found["apart"] = str(error)
    torch.save(found, folder / f"found-{world.rank}.pt")
    member.on_event(EpochEnded(row={"epoch": 1.0}))


def fail(member: Member) -> None:
    if member.world.rank == 1:
        raise ArithmeticError("one of us has lost count")
    member.world.gather(Tensor([1.0]), 2)  # waits for the other
