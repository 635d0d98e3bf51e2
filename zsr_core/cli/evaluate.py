"""``evaluate``: any model, also one that others trained, under named attacks; planned, resumable, followed live."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from zsr_core.attacks import AnyAttack
from zsr_core.attacks.profiles import profile
from zsr_core.audit.plan import Request
from zsr_core.audit.report import read_report
from zsr_core.cli.detection import ood_attacks, ood_sets
from zsr_core.cli.options import parse_override
from zsr_core.cli.plan import plan_text, planned_on, standing_line
from zsr_core.cli.start import check_device, writable
from zsr_core.cli.table import table
from zsr_core.codec import ConfigError, parse_names, parse_number, require
from zsr_core.data import DataRef, is_flat, same_set, task_ref, task_refs
from zsr_core.data.captions import caption_refs
from zsr_core.data.miniature import ZERO_SHOT
from zsr_core.data.ref import check_names
from zsr_core.data.shifts.kinds import cells_of, generated
from zsr_core.evaluation.meter import Meter, Part
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.files import write_text
from zsr_core.model.load import ModelRef, check_model, image_size_of
from zsr_core.names import MINIATURES, TIERS, Tier
from zsr_core.trial.audited import audit_trial, keep_failure
from zsr_core.trial.check import check
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.content import changed_since
from zsr_core.trial.context import RunContext, Spread
from zsr_core.trial.cost import estimate, evaluation_parts
from zsr_core.trial.provenance import set_notes
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import run_trial

OPTIONS = {
    "config.model.name": "--model", "config.model.pretrained": "--weights", "config.model.text_from": "--text-from"
}  # fmt: skip
SUITE = r"^(?:config\.)?(?:eval_suite\.)?"
SETS = r"(?:\[\d+\])?(?=[:. ])"  # the number of a set, and what follows the name of a field of sets
# By flag, the beginning of an error that names a field which the flag fills.
FIELDS = {
    "--tasks": re.compile(f"{SUITE}tasks?{SETS}"),
    "--ood": re.compile(rf"{SUITE}ood_(?:near|far|\*){SETS}"),
    "--retrieval": re.compile(rf"{SUITE}retrieval(?:\.sets)?{SETS}"),
    **{f"--{name}": re.compile(rf"{SUITE}{name}\b") for name in ("corruptions", "corrupted", "factors", "annotations")},
}
Read = TypeVar("Read")


def evaluate_model(options: argparse.Namespace, spread: Spread | None = None, *, prog: str = "zsr evaluate") -> int:
    """Run ``evaluate``; return 0 if it is done, 1 if it failed, 2 for input that cannot be used, said in one line."""
    try:
        on = planned_on(options)
        config = config_of(options)
        check_device(options.device)
        check_model(config.model)
        parts = evaluation_parts(config)
        for note in set_notes(config, image_size_of(config.model)):
            print(f"note: {note}", flush=True)
        if options.plan:  # also without the data: published sizes are enough
            print(plan_text(parts, estimate(config), config.eval_suite.norm, on))
            return 0
        check(config)
        folder = writable(Path(options.out) / config.trial_id)
        before = _still_true(folder)
    except ConfigError as error:
        print(f"{prog}: {_by_option(str(error))}", file=sys.stderr)
        return 2
    print(f"evaluation {config.trial_id} of {config.model.name} in {folder}", flush=True)
    if before is not None and before.status == "done":
        print("found whole: nothing to run")
    norm = config.eval_suite.norm
    meter = Meter(parts, lambda standing: print(standing_line(standing, norm), flush=True))
    try:
        context = RunContext(device=options.device, on_event=meter, spread=spread, deterministic=options.deterministic)
        result = run_trial(config, folder, context)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; the same command goes on from its last finished batch", file=sys.stderr)
        return 130
    if result.status != "done":
        print(f"{prog}: {_by_option(result.error)}", file=sys.stderr)
        return 1
    _print_result(_audited(result, folder, options.audit, options.device), parts, folder)
    return 0


def _print_result(result: TrialResult, parts: Sequence[Part], folder: Path) -> None:
    """Print the table, keep it in ``folder``, and say where everything is."""
    text = table(result, parts)
    write_text(folder / "table.md", text + "\n")
    print(text)
    print(f"\nrecords: {folder / 'samples.parquet'}\nnumbers: {folder / 'result.json'}\ntable:   {folder / 'table.md'}")


def config_of(options: argparse.Namespace) -> TrialConfig:
    """Return the trial that the options describe, of no training; an error names the option.

    Raises:
        ConfigError: for an unknown attack, set or architecture, with the nearest name, or a budget out of range.
    """
    given = {"pretrained": options.weights, "text_from": options.text_from}
    model = ModelRef(name=options.model, **{name: value for name, value in given.items() if value})
    trained_on = DataRef()
    if options.trained_on:
        trained_on = _of_flag("--trained-on", lambda: task_ref(options.trained_on, options.root))
    suite = _suite(options, trained_on)
    config = TrialConfig(model=model, train_data=trained_on, epochs=0, seed=options.seed, eval_suite=suite)
    return config.with_(dict(parse_override(text) for text in options.set))


def usual_budget(model: str) -> str:
    """Return the budget that leaves little of an untouched model: 1/255 for models of 224 pixels, more for fewer."""
    return {"miniature": "4/255", "miniature-96": "2/255"}.get(model, "1/255")


def _suite(options: argparse.Namespace, trained_on: DataRef) -> EvalSuite:
    small = options.model in MINIATURES
    names = options.tasks or (",".join(["source", *ZERO_SHOT]) if small else "")
    require(bool(names), "--tasks", options.tasks, "at least one set, e.g. cifar10,cifar100")
    how = {"prompts": options.prompts, "on_corrupt": options.on_corrupt}
    tasks = _of_flag("--tasks", lambda: task_refs(names, options.root, **how))
    _of_flag("--tasks", lambda: check_names(tasks))
    tasks = _with_corrupted(tasks, options.corrupted)
    retrieval = None
    if options.retrieval:
        sets = _of_flag("--retrieval", lambda: caption_refs(options.retrieval, options.root))
        corruptions = parse_names(options.corruptions)
        made = tuple(name for name in corruptions if all(map(generated, cells_of((name,), "--corruptions"))))
        retrieval = RetrievalSuite(sets=sets, n=options.n or None, corruptions=made)
    # Nothing is chosen here, so a folder without splits is measured whole.
    flat = [task for task in tasks if is_flat(task) and not same_set(task, trained_on)]
    flat_captions = [] if retrieval is None else [ref for ref in retrieval.sets if ref.source == "folder"]
    whole = options.split == "report" and bool(flat or flat_captions)
    budgets = parse_names(options.eps) or [usual_budget(options.model)]
    require(options.n >= 0, "--n", options.n, "a number of images, or 0 for all")
    attacks = tuple(_attack(name) for name in parse_names(options.attacks))
    require(bool(attacks), "--attacks", options.attacks, "at least one attack, e.g. pgd100,aa-standard")
    outside = ood_sets(options.ood, options.root, options.on_corrupt)
    require(not options.ood_attacks or bool(options.ood), "--ood-attacks", options.ood_attacks, "--ood with it")
    return EvalSuite(
        tasks=tasks, split="all" if whole else options.split, n=options.n or None, attacks=attacks,
        eps=tuple(_budget(text) for text in budgets), norm=options.norm, batch_size=options.batch_size,
        attack_precision=options.attack_precision, ood_near=outside["near"], ood_far=outside["far"],
        ood_attacks=ood_attacks(options.ood_attacks), corruptions=parse_names(options.corruptions),
        factors=parse_names(options.factors), annotations=options.annotations, retrieval=retrieval,
    )  # fmt: skip


def _with_corrupted(tasks: Sequence[DataRef], given: Sequence[str]) -> tuple[DataRef, ...]:
    """Return the tasks with the folders of their corrupted images, which ``SET=DIR`` names."""
    folders: dict[str, str] = {}
    for text in given:
        name, sign, folder = text.partition("=")
        known = bool(sign) and name in {task.called for task in tasks} and Path(folder).expanduser().is_dir()
        require(known, "--corrupted", text, "SET=DIR, one of the sets of --tasks and a folder that exists")
        folders[name] = folder
    return tuple(replace(task, corrupted=folders.get(task.called)) for task in tasks)


def _of_flag(flag: str, read: Callable[[], Read]) -> Read:
    """Return ``read()``; an error that names a field which the flag fills names the flag in its place."""
    try:
        return read()
    except ConfigError as error:
        field = FIELDS.get(flag, FIELDS["--tasks"])  # other flags name a set as --tasks does
        raise ConfigError(field.sub(flag, str(error), count=1)) from None


def _attack(name: str) -> AnyAttack:
    try:
        return profile(name)
    except ConfigError as error:
        raise ConfigError(f"--attacks: {error}") from None


def _budget(text: str) -> float:
    eps = parse_number(text)
    if eps is None:
        raise ConfigError(f"--eps: got {text!r}, expected a number or a fraction such as 1/255")
    return eps


def _by_option(error: str) -> str:
    """Return an error with the options' names where it has those of the fields that they fill."""
    for field, option in OPTIONS.items():
        error = error.replace(field, option)
    for flag, pattern in FIELDS.items():
        error = pattern.sub(flag, error, count=1)
    return error


def _still_true(folder: Path) -> TrialResult | None:
    """Return the result in the folder; one that was measured on other contents is set aside, and that is printed."""
    before = read_result(folder)
    changed = changed_since(before) if before is not None and before.status == "done" else ()
    if not changed:
        return before
    aside = folder.with_name(f"{folder.name}.old-{time.strftime('%Y%m%d-%H%M%S')}")
    folder.rename(aside)
    folder.mkdir()
    print(
        f"changed since it was measured: {', '.join(changed)}; measured anew, the old numbers are in {aside}",
        flush=True,
    )
    return None


def _audited(result: TrialResult, folder: Path, tier: Tier, device: str | None) -> TrialResult:
    """Return the result with its audit's verdicts, which are kept beside it; an audit that fails costs no number."""
    before = read_report(folder)
    if tier != "none" and (before is None or TIERS.index(before.tier) < TIERS.index(tier)):
        print(f"audit: the {tier} tier", flush=True)
        try:
            audit_trial(result, folder, folder, Request(tier=tier), device=device)
        except Exception as error:  # every verdict then gives it as its reason
            keep_failure(result, folder, error)
    return read_result(folder) or result
