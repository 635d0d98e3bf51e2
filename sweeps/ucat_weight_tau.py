"""Where should UCAT's effective weight and its temperature tau stand?

Published (means over 16 sets, eps 1/255, PGD-100): tau 0.07 with the code's lambda, a weight of about 240 at 200
classes, gives 32.20 robust and 54.17 clean; TeCoA 29.86 and 43.83. The paper never moves tau at a fixed weight.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.ucat import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Ucat
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="ucat_weight_tau",
    question="Where should UCAT's effective weight and temperature stand?",
    space=WEIGHTS,
    surfaces=(("method.weight", "method.tau"),),
    base=scales(Ucat()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
