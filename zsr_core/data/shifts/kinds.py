"""The kinds of corruptions by name, and how a configuration names them.

Hendrycks and Dietterich, ICLR 2019 (ImageNet-C); Kar et al., CVPR 2022 (3D common corruptions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zsr_core.codec import require, unknown

COMMON: Final = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EXTRA: Final = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
# They need the depth of a scene or a video, so that they are read from a folder and never made here.
DEPTH: Final = (
    "near_focus", "far_focus", "bit_error", "color_quant", "flash", "fog_3d", "h265_abr", "h265_crf", "iso_noise",
    "low_light", "xy_motion_blur", "z_motion_blur",
)  # fmt: skip
KINDS: Final = (*COMMON, *EXTRA, *DEPTH)
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {"common": COMMON, "all": (*COMMON, *EXTRA), "3dcc": DEPTH}
SEVERITIES: Final = (1, 2, 3, 4, 5)


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """One kind of corruption at one severity, 1 (weakest) to 5."""

    kind: str
    severity: int


def cells_of(names: Sequence[str], field: str = "corruptions") -> tuple[Cell, ...]:
    """Return the cells that ``names`` stand for, each once, by kind and severity.

    A name is "common" (the 15 kinds), "all" (those and the 4 extra ones), "3dcc" (the 12 kinds of ImageNet-3DCC) or a
    kind, at every severity; ``:3`` behind it keeps one severity.

    Raises:
        ConfigError: naming ``field``, for an unknown kind with the nearest one, a severity outside 1 to 5, or a name
            without content.
    """
    cells = {cell for name in names for cell in _cells(name, field)}
    return tuple(sorted(cells, key=lambda cell: (KINDS.index(cell.kind), cell.severity)))


def _cells(name: str, field: str) -> list[Cell]:
    kind, sign, severity = name.strip().partition(":")
    if kind not in GROUPS and kind not in KINDS:
        raise unknown(field, kind, (*GROUPS, *KINDS))
    known = [str(s) for s in SEVERITIES]
    require(not sign or severity in known, field, name, f"{kind} alone, or {kind}:1 to {kind}:5")
    severities = (int(severity),) if sign else SEVERITIES
    return [Cell(kind=each, severity=s) for each in GROUPS.get(kind, (kind,)) for s in severities]


def generated(cell: Cell) -> bool:
    """Return whether images of this cell can be made here; others are read from a folder."""
    return cell.kind not in DEPTH
