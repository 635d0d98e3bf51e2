"""Must TGA-ZSR's attention be guided by text?

Published (table VII, means over 16 sets, eps 1/255, PGD-100): text 42.09 robust and 56.44 clean, Grad-CAM 29.47 and
45.02, which is cross-entropy alone (29.45 and 44.97): the published Grad-CAM map carries no gradient. The third row,
ours, lets it carry one.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import TgaZsr
from zsr_core.space import Variant
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="tga_attention",
    question="Must TGA-ZSR's attention be guided by text?",
    variants=(
        Variant(label="text", overrides={"method.attention": "text"}, reference=True),
        Variant(label="Grad-CAM, as published", overrides={"method.attention": "visual"}),
        Variant(label="Grad-CAM, differentiable", overrides={"method.attention": "visual_differentiable"}),
    ),
    seeds=(0, 1, 2),
    base=scales(TgaZsr()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
