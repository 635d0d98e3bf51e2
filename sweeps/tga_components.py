"""What does each of TGA-ZSR's two attention terms add to cross-entropy?

Published (means over 16 sets, eps 1/255, PGD-100; its grid at 0 and 0.1, axes as we read them): neither 29.45 robust
and 44.97 clean, alpha alone 31.44 and 50.42, beta alone 26.72 and 58.98, both 31.10 and 56.26; at (0.08, 0.05) 42.09.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.tga_zsr import PARTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import TgaZsr
from zsr_core.space import all_subsets
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="tga_components",
    question="What does each of TGA-ZSR's attention terms add?",
    variants=all_subsets(PARTS),
    seeds=(0, 1, 2),
    base=scales(TgaZsr()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
