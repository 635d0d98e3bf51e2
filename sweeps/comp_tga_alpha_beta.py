"""Where should Comp-TGA's two attention weights, alpha and beta, stand?

Published (means over 16 sets, eps 1/255, PGD-100): alpha = beta = 0.1 gives 44.46 robust and 55.44 clean; alpha 0.1
alone 30.36 and 46.16, beta 0.1 alone 42.69 and 55.19, neither 29.45 and 44.97 (its grid, axes as we read them).
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.comp_tga import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import CompTga
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="comp_tga_alpha_beta",
    question="Where should Comp-TGA's attention weights alpha and beta stand?",
    space=WEIGHTS,
    surfaces=(("method.alpha", "method.beta"),),
    base=scales(CompTga()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
