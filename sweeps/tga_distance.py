"""By which distance should TGA-ZSR hold one attention map to another?

The paper chooses l2 and gives 42.09 robust, 56.44 clean (means over 16 sets, eps 1/255, PGD-100); its code also offers
l1 (a mean over pixels, thousands of times smaller) and cos, and no figures for them.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import TgaZsr
from zsr_core.space import Variant, grid
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="tga_distance",
    question="By which distance should TGA-ZSR hold attention maps?",
    variants=(
        *grid({"method.distance": ("l2", "l1", "cos")}),
        Variant(label="l2, normalised per token", overrides={"method.norm_axis": "channel"}),
        Variant(label="l2, scaled after the resize", overrides={"method.minmax": "after"}),
    ),
    seeds=(0, 1, 2),
    base=scales(TgaZsr()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
