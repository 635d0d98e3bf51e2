"""Whose attention lies on the object, and does it stay there under attack?

Published (Comp-TGA, arXiv 2603.18598, table A1, ImageNet-S-50, soft IoU of a method's own map and the mask): TGA-ZSR
0.3117 without and 0.3121 under attack, from 0.3104 and 0.3033 of the untouched model; Comp-TGA 0.3648 and 0.3646, from
0.3630 and 0.3632. The paper prints no interval, and a constant map reaches the mask's share of the image, which it does
not print either: read a soft IoU beside mask_share, and a change beside its paired interval.
The default run asks the same of the built-in miniature, whose masks are exact: read the order, not the values.
"""

import os

from sweeps.engine import Sweep, launch
from zsr_core.data import DataRef
from zsr_core.methods import CompTga, FtClean, TeCoA, TgaZsr
from zsr_core.trial.presets import shared, side_by_side

MASKED = DataRef(source="imagefolder", root=f"{os.environ.get('ZSR_DATA', 'data')}/ImageNetS50/validation")
START = shared()

SWEEP = Sweep(
    name="attention_overlap",
    question="Whose attention lies on the object, and does it stay there under attack?",
    variants=side_by_side((FtClean(), TeCoA(), TgaZsr(), CompTga()), same_data=True),
    base={
        "miniature": START["miniature"].with_({"eval_suite.n": 32}),
        "miniature-long": START["miniature-long"],
        "paper": START["paper"].with_({"eval_suite.tasks": (MASKED,)}),
    },
    objectives=("soft_iou_text", "soft_iou_complementary", "soft_iou_change_text"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
