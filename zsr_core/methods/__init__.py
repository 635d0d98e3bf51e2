"""The methods, one file each; this union is the table."""

from __future__ import annotations

from zsr_core.methods.contrastive import FtAdv, FtClean
from zsr_core.methods.method import Method, Passes, Terms
from zsr_core.methods.tecoa import TeCoA
from zsr_core.methods.tga_zsr import TgaZsr

AnyMethod = FtClean | FtAdv | TeCoA | TgaZsr
METHODS: tuple[type[AnyMethod], ...] = (FtClean, FtAdv, TeCoA, TgaZsr)

__all__ = ["METHODS", "AnyMethod", "FtAdv", "FtClean", "Method", "Passes", "TeCoA", "Terms", "TgaZsr"]
