"""The method itself as an axis: one branch for each method, with its own recipe and its own weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from search_spaces import Axis, Branch, agft, arow, caw, comp_tga, fare, laat, mart, pmg_aft, tga_zsr, trades, ucat

if TYPE_CHECKING:
    from zsr_core.methods import AnyMethod

# By class. A method that is not here, such as TeCoA, has no weights: its branch is one point.
WEIGHTS: Mapping[str, tuple[Axis, ...]] = {
    "Agft": agft.WEIGHTS,
    "Arow": arow.WEIGHTS,
    "Caw": caw.WEIGHTS,
    "CompTga": comp_tga.WEIGHTS,
    "Fare": fare.WEIGHTS,
    "Laat": laat.WEIGHTS,
    "Mart": mart.WEIGHTS,
    "PmgAft": pmg_aft.WEIGHTS,
    "TgaZsr": tga_zsr.WEIGHTS,
    "Trades": trades.WEIGHTS,
    "Ucat": ucat.WEIGHTS,
}


def by_method(methods: Sequence[AnyMethod], *, same_data: bool = True) -> Mapping[str, tuple[Branch, ...]]:
    """Return a branch for each method, per preset: its own recipe, and the axes of its weights.

    With ``same_data`` all are trained on the shared recipe's images and for its epochs.
    """
    from zsr_core.trial.presets import side_by_side  # noqa: PLC0415 - brings torch, and --help needs none

    return {
        preset: tuple(
            Branch(label=row.label, overrides=row.overrides, axes=WEIGHTS.get(type(method).__name__, ()))
            for method, row in zip(methods, rows, strict=True)
        )
        for preset, rows in side_by_side(methods, same_data=same_data).items()
    }
