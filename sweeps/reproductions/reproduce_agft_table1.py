"""Do the rows of AGFT's main tables come out again?

Published (arXiv 2603.29410, tables 1 and 2, means over 15 sets, eps 1/255, PGD-20; robust and clean): CLIP 6.24 and
66.20, TeCoA 38.51 and 56.93, AGFT 46.57 and 61.35, and 42.81 under what it calls AutoAttack (table 4); TGA-ZSR only
as its mean over 1, 2 and 4/255, 23.47.
`--preset paper` trains every row on ImageNet as that paper's code does (`--plan` says for how many GPU hours);
published.md then has each number beside the published one, or why not. GLADIATOR's row has no public code. The
default run goes the same way on the built-in miniature, whose numbers say so and are not compared.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import Agft, TeCoA, TgaZsr
from zsr_core.trial.presets import reproduction, side_by_side

SWEEP = Sweep(
    name="reproduce_agft_table1",
    question="Do the rows of AGFT's main tables come out again?",
    variants=side_by_side((TeCoA(), TgaZsr(), Agft()), same_data=True),
    base=reproduction("pgd20-agft", "aa-agft", method=Agft()),
    reproduces={"AGFT-2026": ("T1", "T2", "T3", "T4")},
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
