"""The sweep engine: a question in, trials over a laptop or a cluster, an answer out."""

from __future__ import annotations

import sys
from types import TracebackType

from sweeps.engine.running.launch import launch
from sweeps.engine.study.sweep import Sweep
from zsr_core.codec import ConfigError

__all__ = ["Sweep", "launch"]

_before = sys.excepthook


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a script's own mistake, made before launch could see it, as launch would: one line, exit code 2."""
    if not issubclass(kind, ConfigError):
        _before(kind, error, trace)
        return
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2)


sys.excepthook = _one_line
