"""Which method keeps most clean accuracy at which robustness, all under one trainer, one attack, the same seeds?

Published (means over 16 sets, eps 1/255, PGD-100; robust and clean): CLIP 4.90 and 64.42, TeCoA 28.06 robust, LAAT
28.02 and 43.10, PMG-AFT 32.51 and 46.60, TGA-ZSR 42.09 and 56.44, Comp-TGA 44.46 and 55.44. Such figures come from
scripts and checkpoints that differ in more than the method; here each has its own recipe and all else in common.
"""

from sweeps.engine import Sweep, launch
from zsr_core.trial.presets import shared, side_by_side

SWEEP = Sweep(
    name="methods_table",
    question="Which method keeps most clean accuracy at which robustness?",
    variants=side_by_side(),
    base=shared(),
    seeds=(0, 1, 2),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
