"""Parts of `gpu_first.py`: how fast, with how much memory, and where the time goes."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_bench import CLASSES, Bench, Table
from torch import Tensor
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler
from torch.utils.flop_counter import FlopCounterMode

from zsr_core.attacks import Apgd, Attack, Fab, Pgd, Square, Target
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TgaZsr
from zsr_core.model import precision
from zsr_core.model.load import ModelRef, load_clip
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

HERE = Path(__file__).parent
MINIMAL_FORWARDS = 10  # of a TGA-ZSR step: 2 + 2 of the attack, 2 of the student, 4 of their full backwards
# (what it is called, the step's precision, its attack's)
PRECISIONS = (
    ("fp32", "fp32", "fp32"), ("fp32, attack TF32", "fp32", "tf32"), ("bf16, attack fp32", "bf16", "fp32"),
    ("bf16, attack TF32", "bf16", "tf32"), ("bf16 throughout", "bf16", "bf16"),
)  # fmt: skip


def forward_flops(tower: Any, x: Tensor) -> float:
    """Return the FLOPs of encoding one image of ``x``."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tower(x[:1])
    return float(counter.get_total_flops())


def ceilings(bench: Bench) -> dict[str, float]:
    """Return the FLOP/s of a large product in fp32, TF32 and bf16: what a step can reach at most."""
    n = 256 if bench.quick else 8192
    rates = {}
    for kind in ("fp32", "tf32", "bf16"):
        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        a, b = (torch.randn(n, n, device=bench.device, dtype=dtype) for _ in range(2))
        with precision.products_in(kind):
            rates[kind] = 2 * n**3 / bench.seconds(partial(torch.matmul, a, b))
    return rates


def speed(bench: Bench) -> Table:
    """Seconds of a TGA-ZSR step in each precision, as a share of the measured ceiling, beside the published manner."""
    table = Table(
        columns=("step", "batch", "ms", "of it attack", "images/s", "TFLOP/s", "of the bf16 ceiling", "times plain"),
        expected="on an H100 or H200 at batch 128: at most 70 ms, then 41; >= 40 % of the ceiling at 512; >= 3x plain",
    )
    top = ceilings(bench)
    listed = ", ".join(f"{kind} {rate / 1e12:.1f}" for kind, rate in top.items())
    table.add("measured ceiling, TFLOP/s", "", listed, "", "", "", "", "")
    for batch in (4,) if bench.quick else (32, 128, 256, 512):
        beside = batch == 128 or bench.quick
        reference = {kind: plain_seconds(bench, batch, kind) for kind in ("fp32", "bf16")} if beside else {}
        for kind, seconds in reference.items():
            name = "plain, fp32" if kind == "fp32" else "plain, under autocast"
            table.add(name, batch, f"{1e3 * seconds:.1f}", "", f"{batch / seconds:.0f}", "", "", "1.0")
        for name, kind, attacked in PRECISIONS:
            step, x, y, rows = bench.large(batch, precision=kind, attack_precision=attacked)
            whole = bench.seconds(partial(step, x, y, rows, 0))
            attack = bench.seconds(partial(step.attack, x, y, rows, 0))
            rate = MINIMAL_FORWARDS * len(x) * forward_flops(step.tower, x) / whole
            times = f"{reference[kind] / whole:.1f}" if reference else ""
            table.add(
                name, len(x), f"{1e3 * whole:.1f}", f"{1e3 * attack:.1f}", f"{len(x) / whole:.0f}",
                f"{rate / 1e12:.1f}", f"{100 * rate / top['bf16']:.0f} %", times,
            )  # fmt: skip
            del step, x, y
    return table


def plain_seconds(bench: Bench, batch: int, kind: str) -> float:
    """Return the seconds of a step in the manner of the published scripts, on the same model."""
    from training_step import image_set, plain, start_of  # noqa: PLC0415 - it needs a tokenizer's vocabulary

    args = argparse.Namespace(model=bench.model, device=bench.device)
    clip = load_clip(ModelRef(name=bench.model), "cpu")
    images = image_set(batch, 5 if bench.quick else CLASSES, clip.tower.image_size)
    side = plain(args, images)
    x = (images.pixels(range(batch)).float() / 255).to(bench.device)
    y, start = images.labels.to(bench.device), start_of(x, 0)

    def step() -> None:
        with torch.autocast(bench.device, torch.bfloat16, enabled=kind == "bf16"):
            side.step(x, y, start)

    return bench.seconds(step, 3)


def evaluation(bench: Bench) -> Table:
    """Seconds of attacks under which no image falls, per precision; then `attack_evaluation.py`, if it can run here."""
    table = Table(
        columns=("attack", "images", "fp32 s", "TF32 s", "TFLOP/s fp32", "TFLOP/s TF32"),
        expected="PGD-100 at least 10x the published loop, AutoAttack standard at least 3x pyautoattack",
    )
    steps = 3 if bench.quick else 100
    kinds: list[Attack] = [
        Pgd(steps=steps), Apgd(steps=steps), Fab(steps=max(steps // 5, 2), targets=3), Square(queries=5 * steps)
    ]  # fmt: skip
    step, x, _, _ = bench.large(256)
    step.tower.requires_grad_(False)
    victim, flops = Victim(embed=step.tower, scale=step.clip.scale, sha="x"), forward_flops(step.tower, x)
    with torch.no_grad():
        labels = victim.logits(x, step.text).argmax(dim=1)
    asked = 0

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        nonlocal asked
        asked += len(rows) * (2 if x_adv.requires_grad else 1)
        return victim.logits(x_adv, step.text)[None]

    def draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
        return [generator(0, "attack", purpose, row) for row in rows.tolist()]

    target = Target(ask=ask, labels=labels, classes=len(step.text.classes), room=len(x))
    for attack in kinds:
        seconds, rates = [], []
        for kind in ("fp32", "tf32"):
            asked = 0
            with precision.products_in(kind):
                bench.synchronise()
                begun = time.perf_counter()
                attack.run(target, x, ThreatModel(eps=1e-7), draws)  # a budget so small that all stand
                bench.synchronise()
            seconds.append(time.perf_counter() - begun)
            rates.append(asked * flops / seconds[-1] / 1e12)
        table.add(attack.name, len(x), *(f"{s:.2f}" for s in seconds), *(f"{r:.1f}" for r in rates))
    missing = [name for name in ("pyarrow", "pyautoattack") if importlib.util.find_spec(name) is None]
    if missing or bench.quick:
        table.add("beside others", "", f"not run: {', '.join(missing) or 'the rehearsal'}", "", "", "")
        return table
    for question, cells in beside_others(bench).items():
        table.add(question, *cells)
    return table


def beside_others(bench: Bench) -> dict[str, tuple[str, ...]]:
    """Return what `attack_evaluation.py` measures of the miniature: the seconds of each side."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "timed.json"
        words = [sys.executable, str(HERE / "attack_evaluation.py"), "--device", bench.device, "--json", str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240)
        if done.returncode:
            return {"beside others": ("", f"stopped: {done.stderr.strip().splitlines()[-1][:120]}", "", "", "")}
        timed = json.loads(out.read_text(encoding="utf-8"))
    found: dict[str, tuple[str, ...]] = {}
    for question in ("pgd", "aa"):
        sides = timed[question]["seconds"]
        found[f"{question}, seconds"] = ("", "; ".join(f"{side} {sides[side]}" for side in sides), "", "", "")
    return found


def memory(bench: Bench) -> Table:
    """Peak memory per model and batch, and whether it grows from step to step."""
    table = Table(columns=("model", "precision", "batch", "peak GiB", "reserved GiB", "grown bytes"),
                  expected="nothing grows")  # fmt: skip
    if bench.device != "cuda":
        table.add("", "", "", "CUDA alone", "", "")
        return table
    sizes = {bench.model: (128, 512), "ViT-B-16-quickgelu": (128,), "ViT-L-14-quickgelu": (64,)}
    for model, batches in sizes.items():
        other = Bench(device=bench.device, quick=bench.quick, model=model)
        for kind in ("fp32", "bf16"):
            for batch in batches:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                table.add(model, kind, batch, *_grown(other, kind, batch))
    return table


def _grown(bench: Bench, kind: str, batch: int) -> tuple[str, str, str]:
    try:
        step, x, y, rows = bench.large(batch, precision=kind)
        for i in range(2):
            step(x, y, rows, i)
        held = torch.cuda.memory_allocated()
        for i in range(2, 6):
            step(x, y, rows, i)
    except torch.OutOfMemoryError:
        return "out of memory", "", ""
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return f"{peak / 2**30:.1f}", f"{reserved / 2**30:.1f}", str(torch.cuda.memory_allocated() - held)


def profile(bench: Bench) -> Table:
    """What the device does in one TGA-ZSR step: kernels, their time, and the share of the step in which it is busy."""
    table = Table(columns=("precision", "what", "calls", "ms"), expected="busy most of the time")
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.device == "cuda" else [])
    for kind in ("fp32", "bf16"):
        step, x, y, rows = bench.large(128, TgaZsr(), precision=kind)
        for i in range(2):
            step(x, y, rows, i)
        bench.synchronise()
        with profiler(activities=kinds) as found:
            begun = time.perf_counter()
            step(x, y, rows, 2)
            bench.synchronise()
            wall = time.perf_counter() - begun
        kernels = [e for e in found.events() if e.device_type == DeviceType.CUDA]
        busy = sum(e.device_time for e in kernels) / 1e6
        table.add(kind, f"whole step; busy {100 * busy / wall:.0f} %", len(kernels), f"{1e3 * wall:.1f}")
        times = sorted(found.key_averages(), key=lambda e: -(e.self_device_time_total or e.self_cpu_time_total))
        for event in times[:12]:
            spent = event.self_device_time_total or event.self_cpu_time_total
            table.add(kind, f"`{event.key[:60]}`", event.count, f"{spent / 1e3:.2f}")
    return table
