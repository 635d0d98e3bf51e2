"""Where should TGA-ZSR's two attention weights, alpha and beta, stand?

Published (means over 16 sets, eps 1/255, PGD-100): alpha 0.08, beta 0.05 gives 42.09 robust and 56.44 clean; the
untouched CLIP 4.90 robust and 64.42 clean. The default run asks the same of the built-in miniature, so read the shape
of its surface beside these figures, not the values; `--preset paper` asks it at the paper's scale.
"""

from search_spaces.tga_zsr import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import TgaZsr
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="tga_alpha_beta",
    question="Where should TGA-ZSR's attention weights alpha and beta stand?",
    space=WEIGHTS,
    base=scales(TgaZsr()),
    objectives=("clean", "robust"),
    surfaces=(("method.alpha", "method.beta"),),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
