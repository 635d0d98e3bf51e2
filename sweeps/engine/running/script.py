"""The mistakes of a sweep script before it calls ``launch``: one line and exit code 2, as ``launch`` reports others.

A script's values are checked where they are built, such as ``Real(low=0.3, high=0.1)`` in a call of ``Sweep``. Python
evaluates them before ``Sweep`` or ``launch`` is called, so that neither can catch the error.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType

from sweeps.engine.running.exit_codes import BAD_INPUT
from zsr_core.codec import ConfigError


def report_mistakes(script: str) -> None:
    """Make an uncaught ``ConfigError`` of this process, which runs ``script``, one line and exit code 2."""
    otherwise = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConfigError):
            otherwise(kind, error, trace)
            return
        print(f"error: {error}{place(script, trace)}", file=sys.stderr)
        raise SystemExit(BAD_INPUT)

    sys.excepthook = report


def place(script: str, trace: TracebackType | None) -> str:
    """Return `` (script, line N)`` for the line of ``script`` that ``trace`` goes through, or nothing."""
    lines = [number for frame, number in traceback.walk_tb(trace) if frame.f_code.co_filename == script]
    return f" ({Path(script).name}, line {lines[-1]})" if lines else ""
