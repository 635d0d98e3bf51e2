"""How long is a TGA-ZSR training step, beside the same step in the published scripts' manner?

`python benchmarks/training_step.py` builds both on one randomly initialised model, asserts that they compute the same
loss and gradient on the same adversarial images, then times them turn about in one process, with the machine's matmul
rate measured between the turns. Peak memory comes from a process of its own for each side. The share of the matmul
rate counts the step's minimal work: 10 forwards of the image encoder (2 attack forwards, 2 backwards to the input,
2 student forwards, 2 full backwards of twice a forward each), whatever a side really computes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from plain import Plain
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from zsr_core.attacks import Pgd
from zsr_core.data import ImageSet, batches
from zsr_core.methods import TgaZsr
from zsr_core.model.kernels import linear
from zsr_core.model.load import ModelRef, load_clip, shapes_model
from zsr_core.rng import generator
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, Step, make_step
from zsr_core.training.optim import Optim
from zsr_core.training.teacher_cache import teacher_cache

MINIMAL_FORWARDS = 10
TEMPLATE = "This is a photo of a {}"
STEPS = 1000  # of the schedule; the timed ones are its first
TOLERANCE = 1e-4  # relative, on loss and gradient norm


def image_set(n: int, classes: int, side: int) -> ImageSet:
    """Return ``n`` images of noise."""
    stored = torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=generator(0, "pixels"))
    return ImageSet(
        name="noise", split="train", classes=tuple(f"thing {i}" for i in range(classes)), templates=(TEMPLATE,),
        ids=tuple(str(i) for i in range(n)), labels=torch.randint(classes, (n,), generator=generator(0, "labels")),
        key=f"noise-{n}-{side}", pixels=lambda rows: stored[torch.as_tensor(rows)], in_memory=True,
    )  # fmt: skip


def drift(visual: torch.nn.Module) -> None:
    """Move the student a little off the frozen model, as if trained for a while, so that no distance is zero."""
    draws = generator(0, "drift")
    with torch.no_grad():
        for p in visual.parameters():
            if p.numel() > 1:
                p.add_(0.02 * p.std() * torch.randn(p.shape, generator=draws).to(p.device))


def ours(args: argparse.Namespace, images: ImageSet, folder: Path) -> Step:
    """Return zsr's own step, its teacher's features cached on disk as in a trial."""
    clip = load_clip(ModelRef(name=args.model), args.device)
    recipe = Recipe(
        optim=Optim(), threat=ThreatModel(eps=1 / 255), attack=Pgd(steps=2, step_size=1 / 255, keep="last"), epochs=1,
        batch_size=args.batch, precision="fp32", seed=0,
    )  # fmt: skip
    text = encode_classes(clip.encode_text, images.classes, images.templates)
    cache = teacher_cache(clip.tower, clip.sha, images, folder, batch_size=args.batch, device=args.device)
    step = make_step(clip, TgaZsr(), text, recipe, total=STEPS, cache=cache)
    drift(step.tower.visual)
    return step


def plain(args: argparse.Namespace, images: ImageSet) -> Plain:
    """Return the published scripts' step on the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ModelRef().init_seed)
        model = open_clip.create_model(args.model, pretrained=None, device=args.device)
    cfg = open_clip.get_model_preprocess_cfg(model)
    side = Plain(
        model, open_clip.get_tokenizer(args.model), [TEMPLATE.format(name) for name in images.classes],
        mean=cfg["mean"], std=cfg["std"], lr=Optim().lr_at(0, STEPS),
    )  # fmt: skip
    drift(model.visual)
    return side


def start_of(x: Tensor, step: int) -> Tensor:
    """Return the random start that zsr draws for training step ``step``."""
    return ThreatModel(eps=1 / 255).random_start(x, generator(0, "train-attack", step, "start-0", device=x.device))


def same_job(mine: Step, theirs: Plain, x: Tensor, y: Tensor, rows: Tensor) -> dict[str, float]:
    """Return both losses, both gradient norms and the share of pixels on which the attacks agree.

    Raises:
        AssertionError: if the losses or the norms differ by more than round-off.
    """
    x_adv = mine.attack(x, y, rows, 0)
    agreed = float((theirs.attack(x, y, start_of(x, 0)) - x_adv).abs().lt(1e-6).float().mean())
    theirs.optimiser.zero_grad()
    terms = mine.method.loss(mine.views(x, x_adv, y, rows))
    loss = torch.stack([term.mean() for term in terms.values()]).sum()
    losses = loss, theirs.loss(x, x_adv, y)
    norms = []
    for loss, visual in zip(losses, (mine.tower.visual, theirs.model.visual), strict=True):
        loss.backward()
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in visual.parameters() if p.grad is not None])))
        visual.zero_grad()
    values = [float(loss.detach()) for loss in losses]
    for name, (a, b) in (("loss", values), ("gradient norm", norms)):
        assert abs(a - b) <= TOLERANCE * abs(b), f"{name}: zsr {a!r}, plain {b!r}: the two sides do different jobs"
    return {"loss": values[0], "plain_loss": values[1], "grad_norm": norms[0], "plain_grad_norm": norms[1],
            "attacks_agree": agreed}  # fmt: skip


def clocked(work: Callable[[], Any], args: argparse.Namespace) -> float:
    """Return the seconds that ``work`` takes, by the clock asked for."""
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    if args.device == "cuda":
        torch.cuda.synchronize()
    begun = clock()
    work()
    if args.device == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


class Matmuls:
    """The products of one transformer block on one batch, by torch's own route and by the one zsr takes."""

    def __init__(self, tower: Any, args: argparse.Namespace) -> None:
        visual = tower.visual
        width = visual.transformer.width
        hidden = visual.transformer.resblocks[0].mlp.c_fc.out_features
        rows = args.batch * (1 + visual.grid_size[0] * visual.grid_size[1])
        shapes = [(width, 3 * width), (width, width), (width, hidden), (hidden, width)]
        on = {"device": args.device}
        self.pairs = [(torch.randn(rows, k, **on), torch.randn(n, k, **on)) for k, n in shapes]
        self.flops = sum(2 * rows * k * n for k, n in shapes)
        self.args = args

    def rate(self, product: Callable[[Tensor, Tensor], Tensor], seconds: float = 0.3) -> float:
        """Return FLOP/s over the block's four products, repeated for ``seconds``."""
        once = clocked(lambda: [product(x, w) for x, w in self.pairs], self.args)
        times = max(1, round(seconds / once))
        took = clocked(lambda: [product(x, w) for _ in range(times) for x, w in self.pairs], self.args)
        return float(times * self.flops / took)


def flops_of_forward(model: str) -> int:
    """Return the FLOPs of encoding one image, counted on shapes alone."""
    built = shapes_model(model)
    side = built.visual.image_size[0]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built.visual(torch.empty(1, 3, side, side, device="meta"))
    return int(counter.get_total_flops())


def peak_memory(side: str, args: argparse.Namespace) -> int:
    """Return the peak bytes of two steps of one side in a process of its own."""
    words = [sys.executable, __file__, "--side", side, "--model", args.model, "--device", args.device]
    words += ["--batch", str(args.batch), "--classes", str(args.classes), "--threads", str(args.threads)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the {side} side stopped:\n{done.stderr}")
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def one_side(args: argparse.Namespace, images: ImageSet, folder: Path) -> None:
    """Take two steps of ``args.side`` and print the peak memory."""
    if args.side == "zsr":
        mine = ours(args, images, folder)
        take: Callable[[Tensor, Tensor, Tensor, int], Any] = mine
    else:
        theirs = plain(args, images)

        def take(x: Tensor, y: Tensor, rows: Tensor, step: int) -> Any:
            return theirs.step(x, y, start_of(x, step))

    for step, (x, y, rows) in enumerate(feed(args, images, 2)):
        take(x, y, rows, step)
    if args.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"peak_bytes": peak}))


def feed(args: argparse.Namespace, images: ImageSet, steps: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return ``steps`` batches."""
    order = torch.arange(len(images.labels)).split(args.batch)
    return list(batches(images, [order[i % len(order)] for i in range(steps)], args.device))


def interleaved(
    args: argparse.Namespace, images: ImageSet, folder: Path
) -> tuple[dict[str, float], dict[str, list[float]], dict[str, list[float]]]:
    """Return the check that both sides do the same job, seconds a step of each, and matmul rates in FLOP/s."""
    mine, theirs = ours(args, images, folder), plain(args, images)
    matmuls = Matmuls(mine.tower, args)
    fed = feed(args, images, args.repeats + 1)
    checked = same_job(mine, theirs, *fed[0])
    seconds: dict[str, list[float]] = {"plain": [], "zsr": []}
    rates: dict[str, list[float]] = {"torch": [], "zsr": []}

    def clock_matmuls() -> None:
        rates["torch"].append(matmuls.rate(F.linear))
        rates["zsr"].append(matmuls.rate(linear))

    with torch.no_grad():
        clock_matmuls()
        rates = {name: [] for name in rates}  # the first was the warm-up; the sides had theirs in the check
    for i, (x, y, rows) in enumerate(fed[1:]):
        with torch.no_grad():
            clock_matmuls()
        seconds["zsr"].append(clocked(lambda: mine(x, y, rows, i), args))  # noqa: B023
        with torch.no_grad():
            clock_matmuls()
        seconds["plain"].append(clocked(lambda: theirs.step(x, y, start_of(x, i)), args))  # noqa: B023
    return checked, seconds, rates


def measure(args: argparse.Namespace, images: ImageSet, folder: Path) -> dict[str, Any]:
    """Return everything that the table prints."""
    # First, while this process is small: on Linux a child's peak starts at what its parent held when it was born.
    memory = {side: peak_memory(side, args) for side in ("plain", "zsr")}
    checked, seconds, rates = interleaved(args, images, folder)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rate = max(statistics.median(values) for values in rates.values())
    work = MINIMAL_FORWARDS * args.batch * flops_of_forward(args.model)
    return {
        "model": args.model, "batch": args.batch, "classes": args.classes, "threads": args.threads,
        "clock": args.clock, "repeats": args.repeats, "device": machine(args.device), "torch": torch.__version__,
        "load": os.getloadavg()[0], "check": checked, "seconds": seconds, "median_seconds": median,
        "ratio": statistics.median(p / z for p, z in zip(seconds["plain"], seconds["zsr"], strict=True)),
        "peak_bytes": memory, "minimal_flops": work, "matmul_flops_per_second": rates, "rate": rate,
        "share": {name: work / value / rate for name, value in median.items()},
    }  # fmt: skip


def machine(device: str) -> str:
    """Return what ran it, in words."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        names = [s for s in Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("model name")]
        return names[0].split(":")[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def table(timed: dict[str, Any]) -> str:
    """Return the result in Markdown."""
    check, rates = timed["check"], timed["matmul_flops_per_second"]
    head = [
        "step",
        f"{'CPU ' if timed['clock'] == 'cpu' else ''}seconds (median)",
        "speed",
        "peak memory",
        "of the fp32 matmul rate",
    ]
    lines = [
        f"TGA-ZSR step, {timed['model']}, random weights, batch {timed['batch']}, {timed['classes']} classes, "
        f"eps 1/255, 2 attack steps, fp32",
        f"{timed['device']}, {timed['threads']} threads, torch {timed['torch']}, {timed['repeats']} interleaved runs, "
        f"load average {timed['load']:.1f}",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---" for _ in head) + "|",
    ]
    for name, title in (("plain", "plain: the published scripts' manner"), ("zsr", "zsr")):
        speed = "1x" if name == "plain" else f"{timed['ratio']:.1f}x"
        lines.append(
            f"| {title} | {timed['median_seconds'][name]:.2f} | {speed} | {timed['peak_bytes'][name] / 1e9:.1f} GB "
            f"| {100 * timed['share'][name]:.0f} % |"
        )
    rate = {name: statistics.median(values) / 1e9 for name, values in rates.items()}
    lines += [
        "",
        f"Same job: loss {check['loss']:.6f} and {check['plain_loss']:.6f}, gradient norm {check['grad_norm']:.5f} and "
        f"{check['plain_grad_norm']:.5f} on the same adversarial images; the attacks agree on "
        f"{100 * check['attacks_agree']:.2f} % of pixels.",
        f"Matmul rate: {rate['torch']:.0f} GFLOP/s by torch's own route, {rate['zsr']:.0f} by zsr's; the share is "
        f"of the faster, on {timed['minimal_flops'] / 1e12:.2f} TFLOP a step.",
    ]
    return "\n".join(lines)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip CLIP whose image tower is a ViT")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each side")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--clock",
        default="wall",
        choices=("wall", "cpu"),
        help="cpu: one thread's own time, for a machine with other work",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number here")
    parser.add_argument("--side", choices=("plain", "zsr"), help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    for name in ("batch", "classes", "threads", "repeats"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: got {getattr(args, name)}, expected at least 1")
    if args.clock == "cpu" and (args.threads > 1 or args.device != "cpu"):
        parser.error("--clock cpu: threads that wait count as work; expected --threads 1 --device cpu")
    return args


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False  # fp32 on both sides, also in the convolution
    side = shapes_model(args.model).visual.image_size[0]
    images = image_set(args.batch * (1 if args.side else args.repeats + 1), args.classes, side)
    with tempfile.TemporaryDirectory() as folder:
        if args.side:
            one_side(args, images, Path(folder))
            return
        timed = measure(args, images, Path(folder))
    print(table(timed))
    if args.json is not None:
        args.json.write_text(json.dumps(timed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
