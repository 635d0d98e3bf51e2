"""What the commands ``train`` and ``evaluate`` take. Nothing heavy is imported, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from zsr_core.codec import parse_number, require
from zsr_core.names import ATTACKS, CARDS, DETECTORS, MINIATURE, MINIATURES, PRESETS, PROMPT_SETS, TIERS

TRAINING = "Fine-tune a model with a method, then evaluate it under attack."
EVALUATION = "Evaluate a model as it is, yours or one that others trained, under attack."
SHOWN_METHODS = "TgaZsr (default), TeCoA, PmgAft, ...: a class of zsr_core.methods; an unknown name lists them all"


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m zsr_core``."""
    words = "One trial on a bare GPU box, without Ray."
    top = argparse.ArgumentParser(prog="python -m zsr_core", description=words, allow_abbrev=False)
    verbs = top.add_subparsers(dest="verb", required=True)
    add_train_options(verbs.add_parser("train", help=TRAINING, description=TRAINING, allow_abbrev=False))
    add_evaluate_options(verbs.add_parser("evaluate", help=EVALUATION, description=EVALUATION, allow_abbrev=False))
    return top


def add_train_options(command: argparse.ArgumentParser) -> None:
    """Add what ``train`` takes to a parser."""
    add = command.add_argument
    add("--method", help=SHOWN_METHODS)
    add("--preset", help=f"{', '.join(PRESETS)} (default {MINIATURE})")
    add("--config", metavar="FILE", help="a config.json to start from instead of a preset")
    words = "override a field by dotted path, e.g. --set method.alpha=0.1 --set threat.eps=4/255"
    add("--set", action="append", default=[], metavar="PATH=VALUE", help=words)
    add("--out", default="results/single", metavar="DIR", help="where the trial's folder goes")
    _add_device(command)
    _add_plan(command)


def add_evaluate_options(command: argparse.ArgumentParser) -> None:
    """Add what ``evaluate`` takes to a parser."""
    _add_model(command)
    _add_data(command)
    _add_attacks(command)
    _add_ood(command)
    _add_shifts(command)
    add = command.add_argument
    add("--batch-size", type=int, default=128, metavar="N", help="images that are worked on at a time (default 128)")
    add("--seed", type=int, default=0, metavar="N", help="of the attacks' random starts (default 0)")
    add("--out", default="results/evaluated", metavar="DIR", help="where its folder goes")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="override a field of the trial by dotted path")
    _add_device(command)
    words = "which checks for gradient masking (default cheap; full takes longer than the evaluation)"
    add("--audit", choices=TIERS, default="cheap", help=words)
    _add_plan(command)


def _add_plan(command: argparse.ArgumentParser) -> None:
    command.add_argument("--plan", action="store_true", help="print what it will cost and start nothing")
    words = f"plan for graphics cards that need not be here, such as h100 or 8xh100: {', '.join(CARDS)}"
    command.add_argument("--on", metavar="CARD", help=words)


def _add_model(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--model", default=MINIATURES[-1], help="'miniature-96', its forerunner 'miniature', or an open_clip "
        "architecture, e.g. ViT-B-32-quickgelu")  # fmt: skip
    add("--weights", metavar="FILE|TAG", help="a local .safetensors or .pt file, or an open_clip tag")
    add("--text-from", metavar="FILE|TAG", help="the CLIP whose texts go with weights of an image tower alone: openai")


def _add_data(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--tasks",
        default="",
        metavar="A,B",
        help="names of sets, or folders of images with one sub-folder a class; NAME=FOLDER names one",
    )
    words = "the folder that holds the sets ($ZSR_DATA, else data)"
    add("--root", default=os.environ.get("ZSR_DATA", "data"), metavar="DIR", help=words)
    add("--prompts", choices=PROMPT_SETS, help="whose class names and templates (default: TGA-ZSR's)")
    words = "an image that cannot be decoded stops the run, or is left out and listed"
    add("--on-corrupt", choices=("fail", "skip"), default="fail", help=words)
    words = "selection if you choose something by the numbers"
    add("--split", choices=("selection", "report"), default="report", help=words)
    add("--n", type=int, default=1000, metavar="N", help="images of each set; 0 for all (default 1000)")
    words = "also image-text retrieval: captions (the miniature's), coco, flickr30k, or a folder with a captions file"
    add("--retrieval", default="", metavar="A,B", help=words)
    add("--trained-on", default="", metavar="SET", help="the set it was tuned on: kept out of the zero-shot mean")


def _add_attacks(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    words = f"of {', '.join(ATTACKS)}; pgd50x5: 50 steps, 5 starts"
    add("--attacks", default="pgd100,aa-standard", metavar="A,B", help=words)
    budgets = "budgets, e.g. 1/255,2/255; by default 1/255, 2/255 for miniature-96, 4/255 for miniature"
    add("--eps", default="", metavar="E,E", help=budgets)
    words = "which norm the budgets are in; an l2 budget is absolute"
    add("--norm", choices=("linf", "l2"), default="linf", help=words)
    words = "tf32: a GPU's products in attacks are faster and rounded; success is judged in fp32 (default fp32)"
    add("--attack-precision", choices=("fp32", "tf32"), default="fp32", help=words)


def _add_ood(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    words = "sets out of distribution: near_objects, far_patterns, ninco, ...; near: or far: before any other set"
    add("--ood", default="", metavar="A,B", help=words)
    words = f"attack the detectors of {', '.join(DETECTORS)}, on both sides; msp20: 20 steps (default none)"
    add("--ood-attacks", default="", metavar="A,B", help=words)


def _add_shifts(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    words = (
        "also without attack under corruptions: common (15 kinds, 5 severities), all (19), 3dcc, common:3, fog:5, ..."
    )
    add("--corruptions", default="", metavar="A,B", help=words)
    words = "a folder KIND/SEVERITY/CLASS of a set's images under corruptions, in place of making them here"
    add("--corrupted", action="append", default=[], metavar="SET=DIR", help=words)
    words = "also scenes of the miniature that differ in one visual factor: all, or colour, size, ..."
    add("--factors", default="", metavar="A,B", help=words)
    words = "which images show which factor: ImageNet-X's .jsonl, or a .parquet with a column a factor"
    add("--annotations", metavar="FILE", help=words)


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=("cpu", "cuda"), help="default: CUDA where there is one")
    words = "the same sums in every run on a GPU, by slower kernels; recorded with the result"
    command.add_argument("--deterministic", action="store_true", help=words)


def parse_override(text: str) -> tuple[str, Any]:
    """Return the path and value of ``PATH=VALUE``: a value is JSON, a fraction such as ``4/255``, or plain text.

    Raises:
        ConfigError: if there is no path or no ``=``.
    """
    path, sign, value = text.partition("=")
    require(bool(sign) and bool(path), "--set", text, "PATH=VALUE")
    try:
        return path, json.loads(value)
    except json.JSONDecodeError:
        number = parse_number(value) if "/" in value else None
        return path, value if number is None else number
