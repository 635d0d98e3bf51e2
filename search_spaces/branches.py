"""The method itself as an axis: one branch for each method, with its own recipe and its own weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces import Axis, Branch, agft, arow, caw, comp_tga, fare, laat, mart, pmg_aft, tga_zsr, trades, ucat
from zsr_core.methods import (
    Agft,
    AnyMethod,
    Arow,
    Caw,
    CompTga,
    Fare,
    Laat,
    Mart,
    PmgAft,
    TgaZsr,
    Trades,
    Ucat,
)
from zsr_core.trial.presets import side_by_side

# A method that is not here, such as TeCoA, has no weights: its branch is one point.
WEIGHTS: Mapping[type[AnyMethod], tuple[Axis, ...]] = {
    Agft: agft.WEIGHTS,
    Arow: arow.WEIGHTS,
    Caw: caw.WEIGHTS,
    CompTga: comp_tga.WEIGHTS,
    Fare: fare.WEIGHTS,
    Laat: laat.WEIGHTS,
    Mart: mart.WEIGHTS,
    PmgAft: pmg_aft.WEIGHTS,
    TgaZsr: tga_zsr.WEIGHTS,
    Trades: trades.WEIGHTS,
    Ucat: ucat.WEIGHTS,
}


def by_method(methods: Sequence[AnyMethod], *, same_data: bool = True) -> Mapping[str, tuple[Branch, ...]]:
    """Return a branch for each method, per preset: its own recipe, and the axes of its weights.

    With ``same_data`` all are trained on the shared recipe's images and for its epochs.
    """
    return {
        preset: tuple(
            Branch(label=row.label, overrides=row.overrides, axes=WEIGHTS.get(type(method), ()))
            for method, row in zip(methods, rows, strict=True)
        )
        for preset, rows in side_by_side(methods, same_data=same_data).items()
    }
