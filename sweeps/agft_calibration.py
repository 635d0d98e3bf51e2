"""What does AGFT's calibration add: the softened teacher, the sharper scale, the soft-target attack?

Published (means over 15 sets, eps 1/255, PGD-20): with all 46.57 robust and 61.35 clean; TeCoA 38.51 and 56.93. Its
calibration table has the overlap of top-5 predictions with CLIP's rise from 47.32 to 56.12.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.agft import PARTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Agft
from zsr_core.space import leave_one_out
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="agft_calibration",
    question="What does AGFT's calibration add?",
    variants=leave_one_out(PARTS, full="AGFT"),
    seeds=(0, 1, 2),
    base=scales(Agft()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
