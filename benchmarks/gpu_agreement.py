"""Parts of `gpu_first.py`: is it right? Agreement with the CPU, repeatability, attacks, several processes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from gpu_bench import Bench, Table
from torch import Tensor
from torch.multiprocessing.spawn import spawn as start_processes

from zsr_core.attacks import Apgd, Attack, Fab, Noise, Pgd, Square, Target
from zsr_core.data import DataRef, open_data
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import METHODS, CompTga, Fare, Method, TeCoA, TgaZsr, Ucat
from zsr_core.model import precision
from zsr_core.model.distributed import World
from zsr_core.model.load import ModelRef, load_clip, weights_sha
from zsr_core.rng import generator
from zsr_core.text import TextBank, encode_classes
from zsr_core.threat import Norm, ThreatModel
from zsr_core.training.fit import fit

MASK = 200.0  # a factor on the logits under which cross-entropy is 0 in fp32 and has no gradient: planted masking


def methods(bench: Bench) -> list[Method]:
    if bench.quick:
        return [TeCoA(), TgaZsr()]
    more: list[Method] = [
        TgaZsr(attention="visual_differentiable", distance="cos"), CompTga(distance="l1"),
        Ucat(divergence="bhattacharyya"), Fare(clean_weight=0.5, reference="target"),
    ]  # fmt: skip
    return [*(kind() for kind in METHODS), *more]


def loss_and_gradient(
    bench: Bench, device: str, method: Method, kind: str, x_adv: Tensor | None
) -> tuple[float, Tensor, Tensor]:
    """Return the loss, the gradient of all weights in double, and the images it was taken on."""
    step, x, y, rows = bench.small(device, method, precision=kind)
    x_adv = step.attack(x, y, rows, 0) if x_adv is None else x_adv.to(device)
    loss = torch.stack(
        [t.mean() for t in method.loss(step.views(x, x_adv, y, rows, bf16=kind == "bf16")).values()]
    ).sum()
    loss.backward()
    grads = [p.grad.flatten().double().cpu() for p in step.tower.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat(grads), x_adv.detach().cpu()


def agree(bench: Bench) -> Table:
    """Loss and weight gradient of every method on the same adversarial images, beside fp32 on the CPU."""
    table = Table(
        columns=(
            "method",
            "fp32 loss",
            "fp32 gradient",
            "same attack pixels",
            "bf16 loss",
            "bf16 gradient",
            "CPU bf16",
        ),
        expected="fp32 loss < 1e-5 off, gradient < 1e-4 (1e-3 betrays TF32), pixels > 99.5 %; bf16 as on the CPU",
    )
    for method in methods(bench):
        loss, gradient, x_adv = loss_and_gradient(bench, "cpu", method, "fp32", None)

        def off(device: str, kind: str, reference: Tensor = gradient, at: Tensor = x_adv, own: Method = method) -> Any:
            other, grads, _ = loss_and_gradient(bench, device, own, kind, at)
            return other, float((grads - reference).norm() / reference.norm())

        other, fp32 = off(bench.device, "fp32")
        low, bf16 = off(bench.device, "bf16")
        _, cpu = off("cpu", "bf16")
        there = loss_and_gradient(bench, bench.device, method, "fp32", None)[2]
        pixels = float((there - x_adv).abs().lt(1e-6).float().mean())
        gaps = [abs(value - loss) / max(1e-9, abs(loss)) for value in (other, low)]
        table.add(
            type(method).__name__, f"{gaps[0]:.1e}", f"{fp32:.1e}", f"{100 * pixels:.2f} %", f"{gaps[1]:.1e}",
            f"{bf16:.1e}", f"{cpu:.1e}", fine=gaps[0] < 1e-4 and fp32 < 2e-3 and bf16 < 3 * cpu + 0.02,
        )  # fmt: skip
    return table


def same(bench: Bench) -> Table:
    """Do two runs give the same bits, with --deterministic and without?"""
    table = Table(
        columns=("kernels", "precision", "what differs between two runs"),
        expected="deterministic: nothing. By default attention's backward may differ.",
    )
    for deterministic in (True, False):
        for kind in ("fp32", "bf16"):
            precision.decide(deterministic=deterministic)
            found = [type(m).__name__ for m in methods(bench) if len({_weights(bench, m, kind) for _ in range(2)}) > 1]
            found += [bench.model] if len({_weights(bench, None, kind) for _ in range(2)}) > 1 else []
            said = "deterministic" if deterministic else "default"
            table.add(said, kind, ", ".join(found) or "nothing", fine=not (deterministic and found))
    precision.decide()
    return table


def _weights(bench: Bench, method: Method | None, kind: str) -> str:
    """Return the hash of the weights after three steps; without a method of the large model's."""
    if method is None:
        step, x, y, rows = bench.large(64, precision=kind)
    else:
        step, x, y, rows = bench.small(bench.device, method, start=True, precision=kind)
    for i in range(3):
        step(x, y, rows, i)
    return weights_sha(step.tower)


@dataclass(frozen=True, kw_only=True, eq=False)
class Attacked:
    """A classifier on a device, with images that it classifies rightly when they are clean."""

    victim: Victim
    text: TextBank
    x: Tensor
    labels: Tensor

    def verdicts(self, attack: Attack, threat: ThreatModel, kind: str) -> Tensor:
        """Return [N] bool on the CPU: which images withstand the attack, judged in fp32."""
        everywhere = torch.arange(len(self.x), device=self.x.device)

        def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
            with torch.autocast(x_adv.device.type, torch.bfloat16, enabled=kind == "bf16"):
                return self.victim.logits(x_adv, self.text)[None].float()

        def draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
            return [generator(0, "attack", attack.name, purpose, row) for row in rows.tolist()]

        target = Target(ask=ask, labels=self.labels, classes=len(self.text.classes), room=256)
        with precision.products_in(kind):
            x_adv = attack.run(target, self.x, threat, draws).detach()
        with torch.no_grad():
            logits = self.victim.logits(threat.project(x_adv, self.x), self.text)
        return (logits.argmax(dim=1) == self.labels)[everywhere].cpu()


def classifiers(bench: Bench, device: str) -> dict[str, Attacked]:
    """Return an honest classifier and a masked one. They are tuned on the CPU, so that all devices get the same."""
    clip = load_clip(ModelRef(), "cpu")
    train = open_data(DataRef(limit=16 if bench.quick else 2000), "train", clip.tower.image_size)
    text = encode_classes(clip.encode_text, train.classes, train.templates)
    tower = fit(clip, TeCoA(), text, train, bench.recipe(32, 4 / 255, True)).tower.to(device)
    images = open_data(DataRef(), "report", clip.tower.image_size, 16 if bench.quick else 256)
    x = (images.pixels(range(len(images.labels))).float() / 255).to(device)
    text = TextBank(unit=text.unit.to(device), classes=text.classes, templates=text.templates)
    made = {}
    for name, factor in (("honest", 1.0), ("masked", MASK)):
        victim = Victim(embed=tower, scale=clip.scale * factor, sha=name)
        with torch.no_grad():
            right = victim.logits(x, text).argmax(dim=1) == images.labels.to(device)
        made[name] = Attacked(victim=victim, text=text, x=x[right], labels=images.labels.to(device)[right])
    return made


def attacks(bench: Bench) -> Table:
    """The same verdict on every image from the same draws? And what do TF32 and bf16 gradients cost an attack?"""
    steps = 3 if bench.quick else 100
    kinds: list[Attack] = [
        Pgd(steps=steps), Pgd(steps=steps // 3, loss="margin"), Apgd(steps=steps),
        Apgd(loss="dlr-targeted", steps=steps // 2, targets=3), Fab(steps=steps // 3, targets=3),
        Square(queries=5 * steps), Noise(draws=10),
    ]  # fmt: skip
    table = Table(
        columns=("model", "attack", "CPU", "GPU fp32", "TF32", "bf16", "as on the CPU", "TF32 as fp32", "bf16 as fp32"),
        expected="CPU and GPU within one image; TF32 may be a default if >= 99.5 % of verdicts equal fp32's",
    )
    there, here = classifiers(bench, bench.device), classifiers(bench, "cpu")
    for model in here:
        budgets: tuple[tuple[Norm, float], ...] = (("linf", 2 / 255), ("l2", 0.3))
        for norm, eps in budgets:
            threat = ThreatModel(norm=norm, eps=eps)
            for attack in kinds:
                cpu = here[model].verdicts(attack, threat, "fp32")
                fp32, tf32, bf16 = (there[model].verdicts(attack, threat, kind) for kind in ("fp32", "tf32", "bf16"))
                shares = [f"{100 * float(v.float().mean()):.1f} %" for v in (cpu, fp32, tf32, bf16)]
                as_cpu = int((cpu != fp32).sum())
                equal = [float((fp32 == v).float().mean()) for v in (tf32, bf16)]
                table.add(
                    model, f"{attack.name} {norm}", *shares, f"{len(cpu) - as_cpu} of {len(cpu)}",
                    *(f"{100 * share:.1f} %" for share in equal), fine=as_cpu <= 1 and equal[0] >= 0.995,
                )  # fmt: skip
    return table


def _member(rank: int, size: int, backend: str, place: str, bench: Bench) -> None:
    """Train three steps as one of ``size`` processes; the first writes what they report."""
    card = rank if backend == "nccl" else 0
    where = torch.device("cuda", card) if bench.device == "cuda" else torch.device("cpu")
    if bench.device == "cuda":
        torch.cuda.set_device(where)
    precision.decide()
    dist.init_process_group(
        backend, init_method=f"file://{place}/meet", rank=rank, world_size=size,
        device_id=where if backend == "nccl" else None,
    )  # fmt: skip
    flat = torch.ones(4, device=where)
    dist.all_reduce(flat)
    assert flat.tolist() == [size] * 4
    world = World(rank=rank, size=size)
    step, x, y, rows = bench.small(str(where), Fare())
    step = type(step)(**{**step.__dict__, "world": world})
    losses = [step(x, y, rows, i)["loss"] for i in range(3)]
    world.agree("the weights", weights_sha(step.tower))
    if rank == 0:
        Path(place, "losses.json").write_text(json.dumps(losses), encoding="utf-8")
    dist.destroy_process_group()


def ddp(bench: Bench) -> Table:
    """NCCL's collectives in one process; two processes on one GPU by gloo, because NCCL refuses to share a card."""
    table = Table(columns=("processes", "backend", "losses"), expected="the same losses to 1e-4")
    reference: list[float] = []
    cuda = bench.device == "cuda"
    cases = [(1, "nccl" if cuda else "gloo"), (2, "gloo")]
    if cuda and torch.cuda.device_count() > 1:
        cases.append((2, "nccl"))
    for size, backend in cases:
        with tempfile.TemporaryDirectory() as place:
            start_processes(_member, (size, backend, place, bench), nprocs=size)
            losses = json.loads(Path(place, "losses.json").read_text(encoding="utf-8"))
        reference = reference or losses
        near = all(abs(a - b) <= 1e-4 * abs(a) for a, b in zip(reference, losses, strict=True))
        table.add(size, backend, ", ".join(f"{loss:.6f}" for loss in losses), fine=near)
    return table
