"""What every command checks before it starts anything; an error names the option."""

from __future__ import annotations

from pathlib import Path

import torch

from zsr_core.codec import ConfigError, require
from zsr_core.files import write_text


def check_device(device: str | None) -> None:
    """Raise ``ConfigError`` for "cuda" where torch finds none."""
    missing = device == "cuda" and not torch.cuda.is_available()
    require(not missing, "--device", "cuda", "'cpu': torch finds no CUDA here")


def writable(folder: Path) -> Path:
    """Return the folder, made; an error names ``--out`` where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "probe", "").unlink()
    except OSError as error:
        raise ConfigError(f"--out: {folder.parent} cannot be written ({error.strerror})") from None
    return folder
