"""Do the rows of CAW's table come out again?

Published (arXiv 2510.02913, means over 15 sets, eps 1/255, AutoAttack as its baselines' code has it, APGD-CE and
APGD-DLR): CLIP 0.09, FT-Adv 29.08, TeCoA 27.23, PMG-AFT 31.55, TGA-ZSR 31.63, CAW 33.51. CAW's own alpha and beta are
nowhere public: its row stands at ours, 1 and 1.
`--preset paper` trains every row on Tiny-ImageNet (`--plan` says for how many GPU hours); published.md then has each
number beside the published one, or why not. The default run goes the same way on the built-in miniature, whose
numbers say so and are not compared.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import Caw, FtAdv, PmgAft, TeCoA, TgaZsr
from zsr_core.trial.presets import reproduction, side_by_side

SWEEP = Sweep(
    name="reproduce_caw_table1",
    question="Do the rows of CAW's table come out again?",
    variants=side_by_side((FtAdv(), TeCoA(), PmgAft(), TgaZsr(beta=0.009), Caw()), same_data=True),
    base=reproduction("aa-tecoa"),
    reproduces={"CAW-2025": ("main",)},
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
