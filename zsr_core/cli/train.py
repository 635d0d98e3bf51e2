"""One trial on a bare GPU box, without Ray: ``python -m zsr_core train|evaluate``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from zsr_core.cli.evaluate import DESCRIPTION, add_options, evaluate_model, parse_override, writable
from zsr_core.codec import ConfigError, from_plain, require, unknown
from zsr_core.evaluation.metrics import metric_named
from zsr_core.methods import METHODS
from zsr_core.threat import budget_text
from zsr_core.trial.check import check
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import PRESETS, base
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import run_trial


def main(argv: Sequence[str] | None = None) -> int:
    """Run one trial; return 0 if it is done, 1 if it failed, 2 for input that cannot be used."""
    args = _parser().parse_args(argv)
    if args.verb == "evaluate":
        return evaluate_model(args, prog="zsr_core")
    try:
        config = config_from(args)
        cuda = args.device == "cuda"
        require(not cuda or torch.cuda.is_available(), "--device", "cuda", "'cpu': torch finds no CUDA here")
        check(config)
        folder = writable(Path(args.out) / config.trial_id)
        read_result(folder)  # one that cannot be read is told before anything starts
    except ConfigError as error:
        print(f"zsr_core: {error}", file=sys.stderr)
        return 2
    print(f"trial {config.trial_id} ({config.method.title}) in {folder}", flush=True)
    result = run_trial(config, folder, report=_say, cache=Path(args.out) / "cache", device=args.device)
    print(summary(result))
    return 0 if result.status == "done" else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zsr_core", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train", help="fine-tune a model with a method, then evaluate it under attack")
    train.add_argument("--method", default="TgaZsr", help=", ".join(m.__name__ for m in METHODS))
    train.add_argument("--preset", default="miniature", help=", ".join(PRESETS))
    train.add_argument("--config", help="a config.json to start from instead of a preset")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="override a field by dotted path, e.g. --set method.alpha=0.1 --set threat.eps=4/255",
    )
    train.add_argument("--out", default="results/single", help="where the trial's folder goes")
    train.add_argument("--device", choices=("cpu", "cuda"), help="default: CUDA where there is one")
    add_options(verbs.add_parser("evaluate", help="evaluate a model as it is under attack", description=DESCRIPTION))
    return parser


def config_from(args: argparse.Namespace) -> TrialConfig:
    """Return the configuration that the arguments ask for; an error names the option or the field."""
    if args.config:
        path = Path(args.config)
        require(path.is_file(), "--config", args.config, "a file that exists")
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise ConfigError(f"--config: {path} is not JSON ({error})") from None
        config = from_plain(TrialConfig, plain)
    else:
        names = {m.__name__: m for m in METHODS}
        if args.method not in names:
            raise unknown("--method", args.method, names)
        config = base(names[args.method](), args.preset)
    return config.with_(dict(parse_override(text) for text in args.set))


def _say(row: dict[str, float]) -> None:
    if "tasks" in row:
        print(f"evaluated {int(row['task'])} of {int(row['tasks'])} tasks", flush=True)
    else:
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


def summary(result: TrialResult) -> str:
    """Return the result as lines of text: one per task, attack and metric; or the reason it failed."""
    if result.status != "done":
        return f"failed: {result.error}"
    lines = [f"weights {result.provenance['weights_sha']}, {result.cost['seconds_total']:.1f} s"]
    norm = result.config.eval_suite.norm
    for m in result.measurements:
        span = "" if m.low is None or m.high is None else f"  [{m.low:.1f}, {m.high:.1f}]"
        number = f"– ({m.reason})" if m.value is None else f"{m.value:6.2f} {metric_named(m.metric).unit}{span}"
        lines.append(f"{m.task:24} {m.metric:9} {m.attack:8} eps {budget_text(m.eps, norm)}  {number}  n={m.n}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
