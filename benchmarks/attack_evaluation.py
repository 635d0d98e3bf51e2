"""How long does an evaluation take, beside the published scripts' PGD loop and beside the official AutoAttack?

`python benchmarks/attack_evaluation.py` asks both on the miniature, fine-tuned for some seconds; `--model ViT-B-32` on
random weights, where the options below keep it short. Every side gets the same images, weights, texts, seed and
budget, one that about half of the rightly classified images withstand. Time is taken turn about in one process, peak
memory in a process of its own for each side; robust accuracies are printed beside them. On CPU all have the same
threads: the others within a batch, as torch shares them out, zsr one for each of its batches.

- pgd: the loop of the published scripts (`plain.py`) encodes every prompt in every step, takes the gradient of all
  weights, and attacks every image to the end, also those that were wrong when clean or have fallen.
- aa: pyautoattack, the official AutoAttack as a package, on a plain open_clip model with its texts encoded once and
  its weights frozen, as a careful user calls it; and on zsr's own classifier, which tells what the attacks gain and
  what the tower.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from plain import Plain
from pyautoattack import AutoAttack as Official
from torch import Tensor
from training_step import clocked, image_set, machine

from zsr_core.attacks import Apgd, Attack, AutoAttack, Fab, Pgd, Square, Target
from zsr_core.data import DataRef, ImageSet, batches, miniature, open_data
from zsr_core.data.miniature import ZERO_SHOT
from zsr_core.data.miniature.sets import set_named
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.model.load import Clip, ModelRef, load_clip
from zsr_core.model.tower import ImageTower
from zsr_core.rng import generator
from zsr_core.text import TextBank, encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import fit
from zsr_core.trial import presets
from zsr_core.trial.config import recipe_of

TEMPLATE = "This is a photo of a {}"
TITLES = {
    "pgd": {"plain": "plain: the published scripts' loop", "zsr": "zsr"},
    "aa": {"plain": "pyautoattack, open_clip model", "official": "pyautoattack, zsr's classifier", "zsr": "zsr"},
}
Verdicts = Tensor  # [N] bool: right under attack


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """One task for every side: the same weights as zsr's classifier and as a plain open_clip model."""

    victim: Victim
    model: Any  # open_clip's
    mean: Sequence[float]
    std: Sequence[float]
    tokenize: Callable[[Sequence[str]], Tensor]
    images: ImageSet
    text: TextBank
    threat: ThreatModel

    def batch(self, device: str) -> tuple[Tensor, Tensor]:
        """Return all images and labels."""
        ((x, y, _),) = batches(self.images, [torch.arange(len(self.images.labels))], device)
        return x, y


@dataclass(frozen=True, kw_only=True)
class Parts(AutoAttack):
    """AutoAttack's standard parts with fewer steps, targets and queries, where the options ask for them."""

    parts: tuple[Attack, ...]

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return self.parts


def class_names(*more: str) -> tuple[str, ...]:
    """Return the names of the miniature's classes: its source's, and those of ``more`` sets."""
    return tuple(dict.fromkeys(name for task in ("source", *more) for name in set_named(task).classes))


def tuned(clip: Clip, args: argparse.Namespace) -> ImageTower:
    """Return the miniature's tower after so many epochs of adversarial training."""
    if args.epochs == 0:
        return clip.tower
    config = presets.miniature(TeCoA()).with_({"epochs": args.epochs, "model.name": args.model})
    images = open_data(config.train_data, "train", clip.tower.image_size)
    text = encode_classes(clip.encode_text, images.classes, images.templates)
    return fit(clip, config.method, text, images, recipe_of(config), device=args.device).tower


def open_model(clip: Clip, args: argparse.Namespace) -> Any:
    """Return the same model as open_clip builds it, without any of zsr's code."""
    if args.model in miniature.NAMES:
        return miniature.load_model(args.model).to(args.device).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(clip.ref.init_seed)
        return open_clip.create_model(args.model, pretrained=None, device=args.device).eval()


def problem(args: argparse.Namespace) -> Problem:
    """Return the task: the miniature's source on tuned weights, or noise on random ones with their own answers."""
    clip = load_clip(ModelRef(name=args.model), args.device)
    small = args.model in miniature.NAMES
    tower = tuned(clip, args) if small else clip.tower
    model = open_model(clip, args)
    model.visual.load_state_dict(tower.visual.state_dict())
    victim = Victim(embed=tower, scale=clip.scale, sha=clip.sha, bias=clip.bias)
    text = encode_classes(clip.encode_text, class_names(*ZERO_SHOT)[: args.classes], (TEMPLATE,))
    if small:
        images = open_data(DataRef(name="source"), "report", clip.tower.image_size, args.images)
    else:
        images = own_answers(image_set(args.images, args.classes, clip.tower.image_size), victim, text, args)
    task = Problem(
        victim=victim, model=model, mean=tower.mean.flatten().tolist(), std=tower.std.flatten().tolist(), images=images,
        tokenize=miniature.tokenize if small else open_clip.get_tokenizer(args.model), text=text,
        threat=ThreatModel(norm=args.norm),
    )  # fmt: skip
    eps = half(task, args) if args.eps is None else args.eps
    return replace(task, threat=ThreatModel(norm=args.norm, eps=eps))


def own_answers(images: ImageSet, victim: Victim, text: TextBank, args: argparse.Namespace) -> ImageSet:
    """Return the images labelled as the classifier itself would: with random weights nothing else is ever right."""
    order = torch.arange(len(images.labels)).split(args.batch)
    with torch.no_grad():
        predictions = [victim.logits(x, text).argmax(dim=1).cpu() for x, _, _ in batches(images, order, args.device)]
    return replace(images, labels=torch.cat(predictions))


def half(task: Problem, args: argparse.Namespace) -> float:
    """Return the budget that breaks about half of the right images: the median distance that a short FAB finds."""
    x, y = (part[: args.batch] for part in task.batch(args.device))
    target = Target(
        ask=lambda x, rows: task.victim.logits(x, task.text)[None], labels=y, classes=len(task.text.classes)
    )
    _, size = Fab(steps=10, targets=3).nearest(target, x, args.norm)
    return float(f"{float(size[size > 0].median()):.3g}")


def zsr(task: Problem, attack: Attack, args: argparse.Namespace) -> Verdicts:
    """Return what zsr's evaluation says."""
    records = predict(
        task.victim, task.images, task.text, (attack,), (task.threat,), batch_size=args.batch, device=args.device
    )
    return torch.tensor([record.correct for record in records if record.condition == attack.name])


def pgd(args: argparse.Namespace) -> Pgd:
    """Return the attack of the first question."""
    return Pgd(steps=args.steps, step_ratio=args.step_ratio)


def plain_loop(task: Problem, args: argparse.Namespace) -> Callable[[], Verdicts]:
    """Return the published scripts' evaluation, from the same random starts."""
    side = Plain(
        task.model, task.tokenize, [TEMPLATE.format(name) for name in task.text.classes], mean=task.mean, std=task.std,
        eps=task.threat.eps, step_size=args.step_ratio * task.threat.eps, steps=args.plain_steps or args.steps,
    )  # fmt: skip
    del side.frozen  # the evaluation does not need it
    x, y = task.batch(args.device)
    name = pgd(args).name
    starts = task.threat.random_start(x, [generator(0, "attack", name, "start-0", i) for i in task.images.ids])

    def run() -> Verdicts:
        side.model.eval().requires_grad_(True)
        correct = []
        for part, labels, start in zip(*(each.split(args.batch) for each in (x, y, starts)), strict=True):
            x_adv = side.attack(part, labels, start)
            with torch.no_grad():
                correct.append(side.logits(x_adv, side.text()).argmax(dim=1) == labels)
        side.model.zero_grad()
        return torch.cat(correct).cpu()

    return run


def parts(args: argparse.Namespace) -> Parts:
    """Return AutoAttack's standard parts as short as the options say."""

    def short(part: Attack) -> Attack:
        if isinstance(part, Square):
            return replace(part, queries=args.queries)
        assert isinstance(part, (Apgd, Fab))
        return replace(part, steps=args.aa_steps, targets=args.targets)

    return Parts(parts=tuple(short(part) for part in AutoAttack().stages(args.classes)))


def official(task: Problem, logits: Callable[[Tensor], Tensor], args: argparse.Namespace) -> Callable[[], Verdicts]:
    """Return the official AutoAttack's evaluation of a classifier."""
    norm = {"linf": "Linf", "l2": "L2"}[args.norm]
    attack = Official(logits, norm=norm, eps=task.threat.eps, seed=0, device=args.device, version="standard")
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = args.aa_steps
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = args.targets
    attack.square.n_queries = args.queries
    x, y = task.batch(args.device)

    def run() -> Verdicts:
        with torch.random.fork_rng():
            x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=args.batch)
        with torch.no_grad():
            return torch.cat([logits(p).argmax(dim=1) for p in x_adv.split(args.batch)]).eq(y).cpu()

    return run


def open_logits(task: Problem, args: argparse.Namespace) -> Callable[[Tensor], Tensor]:
    """Return the plain open_clip model as a classifier of pixels in [0, 1]."""
    mean, std = (torch.tensor(v, device=args.device).view(1, 3, 1, 1) for v in (task.mean, task.std))
    visual = task.model.visual

    def logits(x: Tensor) -> Tensor:
        out = visual((x - mean) / std)
        raw = out[0] if isinstance(out, tuple) else out
        return task.victim.scale * F.normalize(raw, dim=-1) @ task.text.unit.T

    return logits


def sides(question: str, task: Problem, args: argparse.Namespace) -> dict[str, Callable[[], Verdicts]]:
    """Return what is timed, by name."""
    task.model.eval().requires_grad_(False)
    task.model.visual.output_tokens = False  # the plain loop, which wants them, says so itself
    if question == "pgd":
        return {"plain": plain_loop(task, args), "zsr": lambda: zsr(task, pgd(args), args)}
    return {
        "plain": official(task, open_logits(task, args), args),
        "official": official(task, lambda x: task.victim.logits(x, task.text), args),
        "zsr": lambda: zsr(task, parts(args), args),
    }


def peak_memory(question: str, side: str, args: argparse.Namespace) -> int:
    """Return the peak bytes of one side in a process of its own: one batch, as few steps as reach the peak."""
    words = [sys.executable, __file__, "--side", f"{question}:{side}", "--model", args.model, "--device", args.device]
    words += ["--batch", str(args.batch), "--images", str(min(args.batch, args.images)), "--classes", str(args.classes)]
    words += ["--threads", str(args.threads), "--norm", args.norm, "--eps", "1e-4", "--epochs", "0", "--steps", "1"]
    words += ["--aa-steps", "2", "--targets", "1", "--queries", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the {side} side stopped:\n{done.stderr}")
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def one_side(args: argparse.Namespace) -> None:
    """Run ``args.side`` once and print the peak memory."""
    question, side = args.side.split(":")
    sides(question, problem(args), args)[side]()
    if args.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"peak_bytes": peak}))


def measure(question: str, task: Problem, args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and verdicts of every side, turn about."""
    runs = sides(question, task, args)
    seconds: dict[str, list[float]] = {side: [] for side in runs}
    verdicts: dict[str, Verdicts] = {}
    loads = [os.getloadavg()[0]]
    for _ in range(args.repeats):
        for side, run in runs.items():
            seconds[side].append(clocked(lambda: verdicts.update({side: run()}), args))  # noqa: B023
        loads.append(os.getloadavg()[0])
    if question == "pgd" and args.plain_steps:  # every step of the plain loop is the same work
        seconds["plain"] = [value * args.steps / args.plain_steps for value in seconds["plain"]]
    return {
        "seconds": seconds, "loads": loads,
        "robust": {side: 100 * float(right.float().mean()) for side, right in verdicts.items()},
        "agree": {side: 100 * float((right == verdicts["zsr"]).float().mean()) for side, right in verdicts.items()},
        "ratio": {
            side: statistics.median(s / z for s, z in zip(values, seconds["zsr"], strict=True))
            for side, values in seconds.items()
        },
    }  # fmt: skip


def clean_accuracy(task: Problem, args: argparse.Namespace) -> float:
    """Return the accuracy in percent."""
    x, y = task.batch(args.device)
    with torch.no_grad():
        right = torch.cat([task.victim.logits(p, task.text).argmax(dim=1) for p in x.split(args.batch)]) == y
    return 100 * float(right.float().mean())


def table(timed: dict[str, Any]) -> str:
    """Return the result in Markdown."""
    eps = f"{255 * timed['eps']:.3g}/255" if timed["norm"] == "linf" else f"{timed['eps']:.3g} (l2)"
    weights = "fine-tuned in seconds (miniature numbers)" if timed["model"] in miniature.NAMES else "random weights"
    lines = [
        f"{timed['model']}, {weights}, {timed['images']} images, {timed['classes']} classes, batch {timed['batch']}, "
        f"eps {eps}, clean accuracy {timed['clean']:.1f} %, fp32",
        f"{timed['device']}, {timed['threads']} threads, torch {timed['torch']}, {timed['repeats']} interleaved runs",
    ]
    head = ["", f"{'CPU ' if timed['clock'] == 'cpu' else ''}seconds (median)", "speed", "peak memory"]
    head += ["robust accuracy", "same verdict as zsr"]
    for question, what in (("pgd", timed["pgd_says"]), ("aa", timed["aa_says"])):
        if question not in timed:
            continue
        part = timed[question]
        loads = ", ".join(f"{load:.1f}" for load in part["loads"])
        lines += ["", f"{what}; load average {loads}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        slowest = part["ratio"]["plain"]
        for side, title in TITLES[question].items():
            partly = side == "plain" and question == "pgd" and timed["plain_steps"]
            lines.append(
                f"| {title} | {statistics.median(part['seconds'][side]):.1f} | {slowest / part['ratio'][side]:.1f}x "
                f"| {part['peak_bytes'][side] / 1e9:.2f} GB "
                + ("| - | - |" if partly else f"| {part['robust'][side]:.1f} % | {part['agree'][side]:.1f} % |")
            )
        if question == "pgd" and timed["plain_steps"]:
            lines += [
                "",
                f"The plain loop was timed on {timed['plain_steps']} of its {timed['steps']} equal steps.",
            ]
    return "\n".join(lines)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return everything that the table prints."""
    # First, while this process is small: on Linux a child's peak starts at what its parent held when it was born.
    memory = {q: {side: peak_memory(q, side, args) for side in TITLES[q]} for q in args.questions}
    task = problem(args)
    measured = {q: {**measure(q, task, args), "peak_bytes": memory[q]} for q in args.questions}
    aa = parts(args)
    return {
        **{k: getattr(args, k) for k in ("model", "images", "classes", "batch", "threads", "clock", "repeats", "norm")},
        "steps": args.steps, "plain_steps": args.plain_steps, "eps": task.threat.eps,
        "clean": clean_accuracy(task, args), "device": machine(args.device), "torch": torch.__version__,
        "pgd_says": f"PGD-{args.steps}, step {args.step_ratio:g} eps",
        "aa_says": "AutoAttack standard: " + ", ".join(part.name for part in aa.parts), **measured,
    }  # fmt: skip


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default=miniature.FINE, help="the miniature, or an open_clip CLIP with a ViT")
    parser.add_argument("--questions", nargs="*", default=["pgd", "aa"], choices=("pgd", "aa"))
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--norm", default="linf", choices=("linf", "l2"))
    parser.add_argument("--eps", type=float, help="in [0, 1] pixel units; by default half of the right images stand")
    parser.add_argument("--epochs", type=int, default=3, help="of fine-tuning the miniature, some seconds each")
    parser.add_argument("--steps", type=int, default=100, help="of PGD")
    parser.add_argument("--step-ratio", type=float, default=0.25, help="PGD's step in units of eps")
    parser.add_argument("--plain-steps", type=int, default=0, help="time so many steps of the plain loop, not all")
    parser.add_argument("--aa-steps", type=int, default=100, help="of APGD and FAB")
    parser.add_argument("--targets", type=int, default=9, help="of APGD-T and FAB-T")
    parser.add_argument("--queries", type=int, default=5000, help="of Square")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--clock", default="wall", choices=("wall", "cpu"), help="cpu: one thread's own time, for a busy machine"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number here")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    for name in ("images", "batch", "steps", "aa_steps", "targets", "queries", "repeats", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: got {getattr(args, name)}, expected at least 1")
    least = len(class_names()) if args.model in miniature.NAMES else 1 + args.targets
    most = len(class_names(*ZERO_SHOT))
    if not least <= args.classes <= most:
        why = "the images' own" if args.model in miniature.NAMES else "the targets and the label"
        parser.error(f"--classes: got {args.classes}, expected {least} ({why}) to {most} (all names that there are)")
    if args.clock == "cpu" and (args.threads > 1 or args.device != "cpu"):
        parser.error("--clock cpu: threads that wait count as work; expected --threads 1 --device cpu")
    return args


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False  # fp32 on every side
    if args.side:
        one_side(args)
        return
    timed = run(args)
    print(table(timed))
    if args.json is not None:
        args.json.write_text(json.dumps(timed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
