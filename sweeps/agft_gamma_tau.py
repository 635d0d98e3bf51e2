"""How soft should AGFT's teacher be (gamma), and how sharp its comparison (scale = 1 / tau)?

Published (means over 15 sets, eps 1/255, PGD-20, trained on ImageNet): gamma 0.4 and scale 180 give 46.57 robust and
61.35 clean; TeCoA 38.51 and 56.93. Smaller gamma loses robustness, gamma towards 1 trades it for clean accuracy.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.agft import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Agft
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="agft_gamma_tau",
    question="How soft should AGFT's teacher be, and how sharp its comparison?",
    space=WEIGHTS,
    surfaces=(("method.gamma", "method.scale"),),
    base=scales(Agft()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
