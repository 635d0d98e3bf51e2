"""Remove one ``device=`` after the other from the code: the pretended device must notice each time.

It notices by refusing a mixture, or by counting a wait or a transfer that was not there before.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pretended_cases import ATTACKS, OTHERS, STEPS, USES, Case, fitted
from pretended_cuda import PretendedCuda

from zsr_core.attacks import Pgd
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import base
from zsr_core.trial.run import run_trial

ROOT = Path(__file__).parents[2]
FOLDERS = ("attacks", "defences", "methods", "training", "evaluation")
DRIVEN = ROOT / "zsr_core" / "attacks" / "official.py"  # the official code asks for a real driver
FILES = (*(path for folder in FOLDERS for path in sorted((ROOT / "zsr_core" / folder).rglob("*.py")) if path != DRIVEN),
         ROOT / "zsr_core" / "text.py", ROOT / "zsr_core" / "threat.py")  # fmt: skip

# Without the argument these do the same.
EQUAL = {
    ("zsr_core/attacks/square.py", "uniform"): "each image's numbers are drawn on the CPU, which is torch's default",
    ("zsr_core/threat.py", "_draw"): "each image's numbers are drawn on the CPU, which is torch's default",
    ("zsr_core/text.py", "encode_prompt"): "an index on the CPU picks rows on CUDA too",
    ("zsr_core/training/reading.py", "seen_by_teacher"): "no method that we ship makes texts from cached features",
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A function without one of its ``device=`` arguments."""

    where: str  # file:line
    place: tuple[str, str]  # file and function
    function: types.FunctionType
    code: types.CodeType  # of the function without the argument


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield the outermost functions and methods with their qualified names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{n.name}", n) for n in node.body if isinstance(n, ast.FunctionDef))


def live(module: Any, name: str) -> types.FunctionType:
    """Return the function object below decorators."""
    owner, _, last = name.rpartition(".")
    found = (getattr(module, owner) if owner else module).__dict__[last]
    found = getattr(found, "fget", None) or getattr(found, "func", None) or getattr(found, "__func__", None) or found
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    assert isinstance(found, types.FunctionType), name
    return found


def compiled(tree: ast.Module, path: Path, name: str) -> types.CodeType:
    """Return the code of the function ``name`` as the tree has it."""
    queue = [compile(tree, str(path), "exec", dont_inherit=True)]
    while queue:
        code = queue.pop()
        if code.co_qualname == name:
            return code
        queue += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    raise AssertionError(name)


def mutants() -> Iterator[Mutant]:
    for path in FILES:
        module = importlib.import_module(
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, function in functions(tree):
            for call in [n for n in ast.walk(function) if isinstance(n, ast.Call)]:
                kept = call.keywords
                without = [k for k in kept if k.arg != "device"]
                if len(without) < len(kept):
                    call.keywords = without
                    code = compiled(tree, path, name)
                    call.keywords = kept
                    where = f"{path.relative_to(ROOT)}:{call.lineno}"
                    place = (str(path.relative_to(ROOT)), name)
                    yield Mutant(where=where, place=place, function=live(module, name), code=code)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a case does without a mutation."""

    case: Case
    waits: int
    copies: int
    executed: frozenset[types.CodeType]


def counted(case: Case) -> tuple[int, int]:
    with PretendedCuda() as cuda:
        case("cuda")
    return cuda.waited, sum(cuda.copies.values())


def observed(case: Case) -> Run:
    executed: set[types.CodeType] = set()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and "/zsr_core/" in frame.f_code.co_filename:
            executed.add(frame.f_code)

    counted(case)  # constants are placed by the first run
    sys.setprofile(note)
    try:
        waits, copies = counted(case)
    finally:
        sys.setprofile(None)
    return Run(case=case, waits=waits, copies=copies, executed=frozenset(executed))


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    before = mutant.function.__code__
    mutant.function.__code__ = mutant.code
    try:
        yield
    finally:
        mutant.function.__code__ = before


def noticed(mutant: Mutant, run: Run) -> bool:
    with mutated(mutant):
        try:
            waits, copies = counted(run.case)
        except Exception:  # a mixture, or an argument that must be given
            return True
    return waits > run.waits or copies > run.copies


def untouched(device: str, folder: Path) -> dict[str, float | None]:
    """Measure the untouched miniature on four images, and on a few of a visual factor."""
    suite = EvalSuite(tasks=(DataRef(limit=4),), attacks=(Pgd(steps=1),), eps=(4 / 255,), factors=("rotation",), n=2)
    config = base(TgaZsr(), "miniature").with_({"epochs": 0, "eval_suite": suite})
    result = run_trial(config, folder, RunContext(device=device))
    assert result.status == "done", result.error
    return {f"{m.metric} {m.attack}": m.value for m in result.measurements}


@pytest.mark.slow
def test_a_removed_device_is_noticed(tmp_path: Path) -> None:
    folders = (tmp_path / str(i) for i in range(10**6))
    training = [lambda device, method=method: fitted(method, next(folders))(device) for method in USES]
    cases = [*ATTACKS.values(), *OTHERS.values(), *training, *(STEPS[k] for k in STEPS if ", bf16" not in k)]
    cases.append(lambda device: untouched(device, next(folders)))
    runs = [observed(case) for case in cases]
    survivors, unseen = [], []
    for mutant in mutants():
        covering = [run for run in runs if mutant.function.__code__ in run.executed]
        if not covering:
            unseen.append(mutant.where)
        elif not any(noticed(mutant, run) for run in covering):
            survivors.append(mutant)
    assert not unseen, unseen
    assert {mutant.place for mutant in survivors} <= set(EQUAL), [mutant.where for mutant in survivors]
