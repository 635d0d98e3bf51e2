"""Where should the weights of PMG-AFT's two divergences stand?

Published with both at 1 (means over 16 sets, eps 1/255, PGD-100): 32.51 robust and 46.60 clean; TeCoA in the same
tables 28.06 robust. The paper's own code sums the divergences over the batch, which multiplies both by its size.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.pmg_aft import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import PmgAft
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="pmg_weights",
    question="Where should the weights of PMG-AFT's two divergences stand?",
    space=WEIGHTS,
    surfaces=(("method.alpha", "method.beta"),),
    base=scales(PmgAft()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
