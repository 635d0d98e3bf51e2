"""What do LARM, GACM and the second prompt add in Comp-TGA?

Published (table X, means over 16 sets, eps 1/255, PGD-100): cross-entropy alone 29.45 robust and 44.97 clean, with
LARM 30.69 and 46.68, with LARM and GACM 44.46 and 55.44; without the second prompt (table VIII) 41.45 and 56.48.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.comp_tga import PARTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import CompTga
from zsr_core.space import leave_one_out
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="comp_tga_components",
    question="What do LARM, GACM and the second prompt add in Comp-TGA?",
    variants=leave_one_out(PARTS),
    seeds=(0, 1, 2),
    base=scales(CompTga()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
