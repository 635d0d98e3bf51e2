"""Where should CAW's confidence weight alpha and its feature weight beta stand?

Neither weight is published. Published (means over 15 sets, eps 1/255, AutoAttack without its square and FAB parts):
CAW 33.51, TGA-ZSR 31.63, PMG-AFT 31.55, FT-Adv 29.08, TeCoA 27.23.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.caw import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Caw
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="caw_alpha_beta",
    question="Where should CAW's weights alpha and beta stand?",
    space=WEIGHTS,
    surfaces=(("method.alpha", "method.beta"),),
    base=scales(Caw()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
