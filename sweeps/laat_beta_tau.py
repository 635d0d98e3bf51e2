"""Where should LAAT's consistency weight beta and its temperature tau stand?

Published for CLIP without its settings (means over 16 sets, eps 1/255): PGD-100 28.02, clean 43.10, AutoAttack 27.47;
at 8/255 its 8.49 is the best of that table. The original code has beta = tau = 1, for small networks from scratch.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.laat import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Laat
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="laat_beta_tau",
    question="Where should LAAT's weight beta and temperature tau stand?",
    space=WEIGHTS,
    surfaces=(("method.beta", "method.tau"),),
    base=scales(Laat()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
