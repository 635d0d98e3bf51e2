"""Modules that are in no package: scripts, and the conftest of all tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]


def module_at(path: Path, name: str = "") -> Any:
    """Return the module in a file, by its stem or ``name``; its dataclasses look themselves up in ``sys.modules``."""
    spec = importlib.util.spec_from_file_location(name or path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def benchmark(stem: str) -> Any:
    """Return a script of ``benchmarks/`` as a module."""
    return module_at(TESTS.parent / "benchmarks" / f"{stem}.py")


def tiny_models() -> Any:
    """Return the conftest of all tests, whose builders also processes outside of pytest need."""
    return module_at(TESTS / "conftest.py", "tiny_models")
