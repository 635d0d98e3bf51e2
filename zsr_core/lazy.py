"""Import a slow library when it is first used: open_clip takes three seconds, and reading a study needs none of it."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


class LazyModule:
    """Stands for a module: the first attribute that is read imports it.

    Args:
        name: full name of the module, such as ``open_clip.transformer``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


def folder_of(package: str) -> Path:
    """Return the folder of an installed top-level package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent


def module_alone(package: str, file: str) -> ModuleType:
    """Return the module in a file that imports nothing of its package; the package itself is not imported."""
    path = folder_of(package) / file
    spec = importlib.util.spec_from_file_location(f"_{package}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module in {path}", name=package)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
