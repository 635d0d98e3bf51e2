"""The sweep engine: a question in, trials over a laptop or a cluster, an answer out.

The names are imported when they are first used, because they bring torch, and help texts need none of them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sweeps.engine.running.script import answer_help, report_mistakes

if TYPE_CHECKING:
    from sweeps.engine.api import (
        evaluate,
        figures_of,
        matrix_frame,
        measurements,
        ranking,
        run_sweep,
        train,
        tuned,
        weights_of,
    )
    from sweeps.engine.running.launch import launch
    from sweeps.engine.study.folder import open_study
    from sweeps.engine.study.sweep import Sweep

__all__ = [
    "Sweep",
    "evaluate",
    "figures_of",
    "launch",
    "matrix_frame",
    "measurements",
    "open_study",
    "ranking",
    "run_sweep",
    "train",
    "tuned",
    "weights_of",
]

_MODULES = dict.fromkeys(__all__, "sweeps.engine.api") | {
    "Sweep": "sweeps.engine.study.sweep",
    "launch": "sweeps.engine.running.launch",
    "open_study": "sweeps.engine.study.folder",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    caller = sys._getframe(1)
    while caller.f_back is not None and caller.f_code.co_filename.startswith("<frozen importlib"):
        caller = caller.f_back  # Python looks for the names of `from sweeps.engine import ...` before the script does
    space = caller.f_globals
    if space.get("__name__") == "__main__" and "__file__" in space and "launch" in caller.f_code.co_names:
        # This process is a sweep script; any other importer changes nothing.
        answer_help(space.get("__doc__") or "", sys.argv[1:])
        if name == "launch":
            report_mistakes(space["__file__"])
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
