"""Do the rows of UCAT's comparison come out again?

Published (tables 13 and 16 of the rebuttal in VivienLu/UCAT, means over 16 sets, eps 1/255, PGD-100; robust and
clean): CLIP 3.46 and 64.45, TeCoA 29.86 and 43.83, FARE 12.81 and 53.00, PMG-AFT 31.63 and 53.72, TGA-ZSR 31.55 and
49.91, Comp-TGA 31.40 and 52.09, UCAT 32.20 and 54.17, and 30.58 under AutoAttack (APGD-CE and APGD-DLR).
`--preset paper` trains every row on Tiny-ImageNet (`--plan` says for how many GPU hours); published.md then has each
number beside the published one, or why not. The default run goes the same way on the built-in miniature, whose
numbers say so and are not compared.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import CompTga, Fare, PmgAft, TeCoA, TgaZsr, Ucat
from zsr_core.trial.presets import reproduction, side_by_side

ROWS = (TeCoA(), Fare(), PmgAft(), TgaZsr(), CompTga(), Ucat())

SWEEP = Sweep(
    name="reproduce_ucat_table16",
    question="Do the rows of UCAT's comparison come out again?",
    variants=side_by_side(ROWS, same_data=True),
    base=reproduction("pgd100-tga", "cw100-tga", "aa-tecoa"),
    reproduces={"UCAT-2026": ("T13_ablation", "T16")},
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
