"""What a sweep script needs before it calls ``launch``: its help, and errors in one line with exit code 2.

``--help`` is answered at the script's first import from the engine, because the imports that follow bring torch, which
takes seconds. A value such as ``Real(low=0.3, high=0.1)`` is checked when it is built. Python builds the arguments
before it calls ``Sweep`` or ``launch``, so that neither can catch the error.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from sweeps.engine.running.exit_codes import BAD_INPUT, DONE
from sweeps.engine.running.launch_flags import launch_parser
from zsr_core.codec import ConfigError


def answer_help(doc: str, argv: Sequence[str]) -> None:
    """Print the flags and end the process if ``argv`` asks for help; ``doc`` is the docstring of the script."""
    if not {"-h", "--help"}.isdisjoint(argv):
        launch_parser(doc.strip().split("\n\n")[0]).print_help()
        raise SystemExit(DONE)


def report_mistakes(script: str) -> None:
    """Print an uncaught ``ConfigError`` of this process, which runs ``script``, in one line; exit with code 2."""
    default_hook = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConfigError):
            default_hook(kind, error, trace)
            return
        print(f"error: {error}{place(script, trace)}", file=sys.stderr)
        raise SystemExit(BAD_INPUT)

    sys.excepthook = report


def place(script: str, trace: TracebackType | None) -> str:
    """Return `` (script, line N)`` for the innermost line of ``script`` in ``trace``; empty if there is none."""
    lines = [number for frame, number in traceback.walk_tb(trace) if frame.f_code.co_filename == script]
    return f" ({Path(script).name}, line {lines[-1]})" if lines else ""
