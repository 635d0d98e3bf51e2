"""The methods, one file each; this union is the table."""

from __future__ import annotations

from zsr_core.methods.agft import Agft
from zsr_core.methods.arow import Arow
from zsr_core.methods.caw import Caw
from zsr_core.methods.comp_tga import CompTga
from zsr_core.methods.contrastive import Flyp, FtAdv, FtClean
from zsr_core.methods.fare import Fare
from zsr_core.methods.laat import Laat
from zsr_core.methods.lp_ft import LpFt
from zsr_core.methods.mart import Mart
from zsr_core.methods.method import Defaults, Method, Passes, Seen, Terms
from zsr_core.methods.pmg_aft import PmgAft
from zsr_core.methods.tecoa import TeCoA
from zsr_core.methods.tga_zsr import TgaZsr
from zsr_core.methods.trades import Trades
from zsr_core.methods.ucat import Ucat

AnyMethod = (
    FtClean | FtAdv | LpFt | Flyp | TeCoA | PmgAft | Fare | Laat | TgaZsr | CompTga | Caw | Agft | Ucat | Trades
    | Mart | Arow
)  # fmt: skip
METHODS: tuple[type[AnyMethod], ...] = (
    FtClean, FtAdv, LpFt, Flyp, TeCoA, PmgAft, Fare, Laat, TgaZsr, CompTga, Caw, Agft, Ucat, Trades, Mart, Arow,
)  # fmt: skip

__all__ = [
    "METHODS", "Agft", "AnyMethod", "Arow", "Caw", "CompTga", "Defaults", "Fare", "Flyp", "FtAdv", "FtClean", "Laat",
    "LpFt", "Mart", "Method", "Passes", "PmgAft", "Seen", "TeCoA", "Terms", "TgaZsr", "Trades", "Ucat",
]  # fmt: skip
