"""How a GPU multiplies: decided here for every process that computes, and recorded with each result.

Torch lets cuDNN's convolutions round fp32 numbers to TF32 (10 bits of mantissa) unless it is told otherwise, and picks
kernels whose sums depend on the order in which threads arrive. On CPU none of this changes a number.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

import torch

# Of an attack's gradients in an evaluation. Its success is always judged in fp32.
AttackPrecision = Literal["fp32", "tf32"]
# Of the training attack; bf16 is the student's tower under autocast.
TrainAttackPrecision = Literal["fp32", "tf32", "bf16"]
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS reads it when it is first used; with these sizes its sums are repeatable


def decide(*, deterministic: bool = False) -> None:
    """Set what this process computes in: fp32 means fp32, and where asked for, the same sums in every run.

    Deterministic, torch raises where an op has no deterministic kernel, for instance the backward of bicubic resizing.
    Attention then uses the flash and the math kernel alone, because the others' backward is not deterministic.
    """
    _allow_tf32(False)
    if deterministic:
        os.environ.setdefault(WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_mem_efficient_sdp(not deterministic)
    torch.backends.cuda.enable_cudnn_sdp(not deterministic)


@contextlib.contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Within, fp32 products and convolutions of a GPU are computed in TF32 if ``precision`` is "tf32"; else as ever."""
    if precision != "tf32":
        yield
        return
    _allow_tf32(True)
    try:
        yield
    finally:
        _allow_tf32(False)


def facts() -> dict[str, str]:
    """Return what is set now, for a result's provenance."""
    tf32 = {"matmul": torch.backends.cuda.matmul.allow_tf32, "convolution": torch.backends.cudnn.allow_tf32}
    return {
        "tf32": ", ".join(name for name, allowed in tf32.items() if allowed) or "off",
        "deterministic": str(torch.are_deterministic_algorithms_enabled()).lower(),
    }


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
