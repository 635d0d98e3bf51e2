"""``evaluate``: any model, also one that others trained, under named attacks; resumable, planned, told as it goes."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from zsr_core.attacks import AnyAttack
from zsr_core.attacks.profiles import PROFILES, profile
from zsr_core.audit.plan import TIERS, Tier
from zsr_core.audit.report import read_report
from zsr_core.codec import ConfigError, require
from zsr_core.data import DataRef, task_ref
from zsr_core.data.miniature import FINE, NAMES, ZERO_SHOT
from zsr_core.data.tasks import PROMPT_SETS
from zsr_core.duration import duration
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.evaluation.meter import Meter, Part, Standing
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.files import write_text
from zsr_core.model.load import ModelRef, check_model, is_file
from zsr_core.threat import Norm, budget_text
from zsr_core.trial.audited import audit_trial, keep_failure
from zsr_core.trial.check import check
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.cost import Estimate, estimate, evaluation_parts
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import Spread, run_trial

OPTIONS = {
    "config.model.name": "--model", "config.model.pretrained": "--weights", "config.model.text_from": "--text-from"
}  # fmt: skip
ENOUGH = 1000  # classes: no attack replaces a stage then
DESCRIPTION = "Evaluate a model as it is, yours or one that others trained, under attack."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``evaluate`` takes to a parser."""
    add = parser.add_argument
    add("--model", default="miniature", help="'miniature', 'miniature-96' or an open_clip architecture, e.g. ViT-B-32")
    add("--weights", metavar="FILE|TAG", help="a local .safetensors or .pt file, or an open_clip tag")
    add("--text-from", metavar="FILE|TAG", help="the CLIP whose texts go with weights of an image tower alone: openai")
    add("--tasks", default="", metavar="A,B", help="names of sets, or folders of images with one sub-folder a class")
    add("--root", default=os.environ.get("ZSR_DATA", "data"), metavar="DIR", help="where the sets lie ($ZSR_DATA)")
    add("--prompts", choices=PROMPT_SETS, help="whose class names and templates (default: TGA-ZSR's)")
    add(
        "--on-corrupt",
        choices=("fail", "skip"),
        default="fail",
        help="an image that cannot be decoded stops, or is left out and listed",
    )
    known = f"of {', '.join(PROFILES)}; pgd50x5: 50 steps, 5 starts"
    add("--attacks", default="pgd100,aa-standard", metavar="A,B", help=known)
    budgets = "budgets, e.g. 1/255,2/255; by default 1/255, the miniature's 4/255, miniature-96's 2/255"
    add("--eps", default="", metavar="E,E", help=budgets)
    add(
        "--norm", choices=("linf", "l2"), default="linf", help="which norm the budgets are in; an l2 budget is absolute"
    )
    add(
        "--split",
        choices=("selection", "report"),
        default="report",
        help="selection if something is to be chosen by it",
    )
    add("--n", type=int, default=1000, metavar="N", help="images of each set; 0 for all (default 1000)")
    add("--batch-size", type=int, default=128, metavar="N")
    add("--seed", type=int, default=0)
    add("--trained-on", default="", metavar="SET", help="the set it was tuned on: kept out of the zero-shot mean")
    add("--out", default="results/evaluated", metavar="DIR", help="where its folder goes")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="override a field of the trial by dotted path")
    add("--device", choices=("cpu", "cuda"), help="default: CUDA where there is one")
    add(
        "--audit",
        choices=TIERS,
        default="cheap",
        help="which checks for gradient masking (default cheap; full is dear)",
    )
    add("--plan", action="store_true", help="say what it will cost, and start nothing")


def _usual_budget(model: str) -> str:
    """Return the budget that leaves the untouched model next to nothing: 1/255 for a model of 224 pixels."""
    return "2/255" if model == FINE else "4/255" if model in NAMES else "1/255"


def config_of(options: argparse.Namespace) -> TrialConfig:
    """Return the trial that the options ask for, of no training; an error names the option.

    Raises:
        ConfigError: for an unknown attack, set or architecture, with the nearest name, or a budget out of range.
    """
    small = options.model in NAMES
    names = [name for name in options.tasks.split(",") if name] or (["source", *ZERO_SHOT] if small else [])
    require(bool(names), "--tasks", options.tasks, "at least one set, e.g. cifar10,cifar100")
    budgets = [text for text in options.eps.split(",") if text] or [_usual_budget(options.model)]
    require(options.n >= 0, "--n", options.n, "a number of images, or 0 for all")
    attacks = tuple(_attack(name) for name in options.attacks.split(",") if name)
    require(bool(attacks), "--attacks", options.attacks, "at least one attack, e.g. pgd100,aa-standard")
    suite = EvalSuite(
        tasks=tuple(
            task_ref(name, options.root, prompts=options.prompts, on_corrupt=options.on_corrupt) for name in names
        ),
        split=options.split,
        n=options.n or None,
        attacks=attacks,
        eps=tuple(_number("--eps", text) for text in budgets),
        norm=options.norm,
        batch_size=options.batch_size,
    )
    given = {"pretrained": options.weights, "text_from": options.text_from}
    model = ModelRef(name=options.model, **{name: value for name, value in given.items() if value})
    trained_on = task_ref(options.trained_on, options.root) if options.trained_on else DataRef()
    config = TrialConfig(model=model, train_data=trained_on, epochs=0, seed=options.seed, eval_suite=suite)
    return config.with_(dict(parse_override(text) for text in options.set))


def _attack(name: str) -> AnyAttack:
    try:
        return profile(name)
    except ConfigError as error:
        raise ConfigError(f"--attacks: {error}") from None


def _number(option: str, text: str) -> float:
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / (float(bottom) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"{option}: got {text!r}, expected a number or a fraction such as 1/255") from None


def parse_override(text: str) -> tuple[str, Any]:
    """Return (dotted path, value) of ``path=value``; a value is JSON, a fraction such as 4/255, or text."""
    path, sign, value = text.partition("=")
    require(bool(sign) and bool(path), "--set", text, "PATH=VALUE")
    try:
        return path, json.loads(value)
    except json.JSONDecodeError:
        pass
    top, slash, bottom = value.partition("/")
    try:
        return path, float(top) / float(bottom) if slash else value
    except (ValueError, ZeroDivisionError):
        return path, value


def writable(folder: Path) -> Path:
    """Return the folder, made; an error names ``--out`` where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "probe", "").unlink()
    except OSError as error:
        raise ConfigError(f"--out: {folder.parent} cannot be written ({error.strerror})") from None
    return folder


def evaluate_model(options: argparse.Namespace, spread: Spread | None = None, *, prog: str = "zsr evaluate") -> int:
    """Run ``evaluate``; return 0 if it is done, 1 if it failed, 2 for input that cannot be used, said in one line."""
    try:
        config = config_of(options)
        cuda = options.device == "cuda"
        require(not cuda or torch.cuda.is_available(), "--device", "cuda", "'cpu': torch finds no CUDA here")
        check_model(config.model)
        parts = evaluation_parts(config)
        if options.plan:  # also without the data, whose published sizes will do
            print(plan_text(parts, estimate(config), config.eval_suite.norm))
            return 0
        check(config)
        folder = writable(Path(options.out) / config.trial_id)
        before = read_result(folder)
        _keep_files(folder, config, before)
    except ConfigError as error:
        print(f"{prog}: {_by_option(str(error))}", file=sys.stderr)
        return 2
    print(f"evaluation {config.trial_id} of {config.model.name} in {folder}", flush=True)
    if before is not None and before.status == "done":
        print("found whole: nothing to run")
    meter = Meter(parts, partial(_say, config.eval_suite.norm))
    try:
        result = run_trial(config, folder, device=options.device, tick=meter, spread=spread)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; the same command goes on from its last finished batch", file=sys.stderr)
        return 130
    if result.status != "done":
        print(f"{prog}: {_by_option(result.error)}", file=sys.stderr)
        return 1
    result = _audited(result, folder, options.audit, options.device)
    text = table(result, parts)
    write_text(folder / "table.md", text + "\n")
    print(text)
    print(f"\nrecords: {folder / 'samples.parquet'}\nnumbers: {folder / 'result.json'}\ntable:   {folder / 'table.md'}")
    return 0


def _by_option(error: str) -> str:
    """Return an error with the options' names where it has those of the fields that they fill."""
    for field, option in OPTIONS.items():
        error = error.replace(field, option)
    return error


def _keep_files(folder: Path, config: TrialConfig, before: TrialResult | None) -> None:
    """Write down what the weights files hold; raise ``ConfigError`` where a finished result is of other contents.

    A config names files by path. Their bytes are compared, for a text tower or a scale decides numbers too.
    """
    ref, path = config.model, folder / "files.json"
    files = {"--weights": ref.pretrained, "--text-from": ref.text_from}
    found = {option: _digest(Path(file)) for option, file in files.items() if file is not None and is_file(file)}
    if before is not None and before.status == "done" and path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        changed = next((option for option in found if found[option] != known.get(option)), None)
        expected = f"what {folder} was measured on: the file has changed since; name another --out, or remove that one"
        require(changed is None, str(changed), files.get(str(changed)), expected)
    write_text(path, json.dumps(found) + "\n")


def _digest(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _audited(result: TrialResult, folder: Path, tier: Tier, device: str | None) -> TrialResult:
    """Return the result with its audit's verdicts, which are kept beside it; an audit that breaks costs no number."""
    before = read_report(folder)
    if tier != "none" and (before is None or TIERS.index(before.tier) < TIERS.index(tier)):
        print(f"audit: the {tier} tier", flush=True)
        try:
            audit_trial(result, folder, folder, tier=tier, device=device)
        except Exception as error:  # whatever stops it is said in every verdict
            keep_failure(result, folder, error)
    return read_result(folder) or result


def _say(norm: Norm, standing: Standing) -> None:
    at = standing.at
    left = "" if standing.left is None else f", about {duration(standing.left)} left"
    stage = "clean" if at.condition == "none" else f"{at.condition} at {budget_text(at.eps, norm)}, {at.stage}"
    print(f"{100 * standing.share:5.1f} %  {at.task}: {stage} {at.done} of {at.of}{left}", flush=True)


def plan_text(parts: Sequence[Part], cost: Estimate, norm: Norm = "linf") -> str:
    """Return the plan as Markdown: what each attack costs an image, on how many, and the time it takes at most."""
    lines = ["| set | attack | eps | runs | images | passes an image |", "|---|---|---|---|---|---|"]
    for (task, condition, eps), stages in _grouped(parts).items():
        ran = "+".join(p.stage for p in stages) or "one forward"
        passes = sum(p.passes for p in stages)
        budget = budget_text(eps, norm) if eps else ""
        lines.append(f"| {task} | {condition} | {budget} | {ran} | {stages[0].images} | {passes} |")
    total = sum(p.images * p.passes for p in parts)
    lines += [
        "",
        f"At most {total:,} passes of the image encoder, {cost.gflop_per_forward:.3g} GFLOP each: about "
        f"{duration(cost.seconds)} here. Images that fall are dropped, so that a weaker model costs less.",
    ]
    if cost.absent:
        lines.append(f"Not here, and counted by their published sizes: {', '.join(cost.absent)}.")
    return "\n".join(lines)


def _grouped(parts: Sequence[Part]) -> dict[tuple[str, str, float], list[Part]]:
    found: dict[tuple[str, str, float], list[Part]] = {}
    for part in parts:
        found.setdefault((part.task, part.condition, part.eps), []).append(part)
    return found


def table(result: TrialResult, parts: Sequence[Part]) -> str:
    """Return the numbers as Markdown, a row per set: clean, robust per attack and budget, the worst per image."""
    suite = result.config.eval_suite
    columns = [("clean", "none", 0.0)]
    attacks = [*(x.name for x in suite.attacks), WORST] if suite.attacks else []
    columns += [("robust", a, eps) for eps in suite.eps for a in attacks]
    found = {(m.task, m.metric, m.attack, m.eps): m for m in result.measurements}
    tasks = list(dict.fromkeys(m.task for m in result.measurements))
    names = ["clean", *(f"{a} at {budget_text(eps, suite.norm)}" for _, a, eps in columns[1:])]
    failed = [rule for rule, status in result.audit.items() if status == "FAIL"]
    mark = "†" if failed else ""
    file = result.config.model.pretrained
    of_file = f" ({file})" if file else ""
    lines = [
        f"Accuracy in percent with 95 % intervals over images; {result.config.model.name}, weights "
        f"{result.provenance.get('weights_sha', '')}{of_file}, {suite.split} split, seed {result.config.seed}."
        + (" Measured on the built-in miniature." if result.config.model.name in NAMES else ""),
        "",
        "| set | n | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for task in tasks:
        cells = [found[task, metric, attack, eps] for metric, attack, eps in columns]
        said = [
            f"{m.value:.1f}{mark if m.metric == 'robust' else ''}"
            + ("" if m.low is None else f" [{m.low:.1f}, {m.high:.1f}]")
            for m in cells
        ]
        name = "mean of the zero-shot sets" if task == ZERO_SHOT_MEAN else task
        lines.append(f"| {name} | {cells[0].n} | " + " | ".join(said) + " |")
    return "\n".join([*lines, *_replaced(parts, suite.attacks), *_left_out(result), *_verdicts(result)])


def _left_out(result: TrialResult) -> list[str]:
    """Return a sentence for every set of which images could not be decoded, with the first of them."""
    of = f"skipped_{result.config.eval_suite.split}_"
    return [
        f"\n{what.partition(':')[0]} images of {name.removeprefix(of)} cannot be decoded and are left out, "
        f"first {what.partition(': ')[2].partition(', ')[0]} (all in result.json)."
        for name, what in result.provenance.items()
        if name.startswith(of)
    ]


def _verdicts(result: TrialResult) -> list[str]:
    """Return what the audit says, in a sentence: how many rules hold, and which do not or were not asked."""
    if not result.audit:
        return ["\nNot audited."]
    rules = {
        status: [rule for rule, found in result.audit.items() if found == status]
        for status in ("FAIL", "WARN", "PASS", "SKIP")
    }
    said = [f"{status} {', '.join(rules[status])}" for status in ("FAIL", "WARN") if rules[status]]
    said += [f"{len(rules['PASS'])} rules hold, {len(rules['SKIP'])} were not decided (audit.json)"]
    doubt = "† robustness unverified. " if rules["FAIL"] else ""
    return [f"\n{doubt}Audit: {'; '.join(said)}."]


def _replaced(parts: Sequence[Part], attacks: Sequence[AnyAttack]) -> list[str]:
    """Return a sentence for every attack and the sets whose classes are too few for some of its stages."""
    usual = {a.name: "+".join(stage.name for stage in a.stages(ENOUGH)) for a in attacks}
    instead: dict[tuple[str, str], list[str]] = {}
    for (task, condition, _), stages in _grouped(parts).items():
        ran = "+".join(p.stage for p in stages)
        if condition in usual and ran != usual[condition]:
            instead.setdefault((condition, ran), []).append(task)
    return [
        f"\n{condition} ran {ran} on {', '.join(dict.fromkeys(tasks))}: too few classes for {usual[condition]}."
        for (condition, ran), tasks in instead.items()
    ]
