"""``train``: one trial on a bare GPU box, without Ray."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from zsr_core.cli.options import parse_override
from zsr_core.cli.plan import planned_on, training_plan
from zsr_core.cli.start import check_device, writable
from zsr_core.codec import ConfigError, from_plain, require, unknown
from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.metrics.retrieval import budget_under
from zsr_core.events import EpochEnded, Event, TaskEnded
from zsr_core.methods import METHODS
from zsr_core.names import MINIATURE
from zsr_core.trial.check import check
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.cost import estimate
from zsr_core.trial.presets import base
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import run_trial

METHOD = "TgaZsr"  # unless --method says otherwise


def train_model(options: argparse.Namespace) -> int:
    """Run ``train``; return 0 if it is done, 1 if it failed, 2 for input that cannot be used, said in one line."""
    try:
        config = config_from(options)
        on = planned_on(options)
        if options.plan:
            print(training_plan(config, estimate(config), on))
            return 0
        check_device(options.device)
        check(config)
        folder = writable(Path(options.out) / config.trial_id)
        read_result(folder)  # raises here, before anything starts, if it cannot be read
    except ConfigError as error:
        print(f"zsr_core: {error}", file=sys.stderr)
        return 2
    print(f"trial {config.trial_id} ({config.method.title}) in {folder}", flush=True)
    context = RunContext(
        cache=Path(options.out) / "cache",
        device=options.device,
        on_event=_print_event,
        deterministic=options.deterministic,
    )
    result = run_trial(config, folder, context)
    print(summary(result))
    return 0 if result.status == "done" else 1


def config_from(options: argparse.Namespace) -> TrialConfig:
    """Return the configuration that the options describe; an error names the option or the field."""
    if options.config is not None:
        for flag in ("method", "preset"):
            value = getattr(options, flag)
            require(value is None, f"--{flag}", value, "none: --config brings the whole configuration")
        config = _saved(Path(options.config))
    else:
        config = _preset(options.method or METHOD, options.preset or MINIATURE)
    return config.with_(dict(parse_override(text) for text in options.set))


def _saved(path: Path) -> TrialConfig:
    require(path.is_file(), "--config", str(path), "a file that exists")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"--config: {path} is not JSON ({error})") from None
    return from_plain(TrialConfig, plain)


def _preset(method: str, preset: str) -> TrialConfig:
    methods = {m.__name__: m for m in METHODS}
    if method not in methods:
        raise unknown("--method", method, methods)
    return base(methods[method](), preset)


def _print_event(event: Event) -> None:
    if isinstance(event, EpochEnded):
        print("  ".join(f"{name} {value:.4g}" for name, value in event.row.items()), flush=True)
    elif isinstance(event, TaskEnded):
        print(f"evaluated {event.done} of {event.of} tasks", flush=True)


def summary(result: TrialResult) -> str:
    """Return the result as lines of text: one per task, attack and metric; or the reason it failed."""
    if result.status != "done":
        return f"failed: {result.error}"
    lines = [f"weights {result.provenance['weights_sha']}, {result.cost['seconds_total']:.1f} s"]
    norm = result.config.eval_suite.norm
    for m in result.measurements:
        span = "" if m.low is None or m.high is None else f"  [{m.low:.1f}, {m.high:.1f}]"
        number = f"– ({m.reason})" if m.value is None else f"{m.value:6.2f} {metric_named(m.metric).unit}{span}"
        lines.append(
            f"{m.task:24} {m.metric:9} {m.attack:8} eps {budget_under(m.attack, m.eps, norm)}  {number}  n={m.n}"
        )
    return "\n".join(lines)
