"""Do the rows of Comp-TGA's main tables, TGA-ZSR's among them, come out again?

Published (arXiv 2603.18598, tables I and II, means over 16 sets, eps 1/255, PGD-100; robust and clean): CLIP 4.90 and
64.42, FT-Clean 7.05 and 54.37, FT-Adv 28.83 and 43.36, TeCoA 28.06 and 45.81, FARE 18.25 and 59.85, LAAT 28.02 and
43.10, PMG-AFT 32.51 and 46.60, TGA-ZSR 42.09 and 56.44, Comp-TGA 44.46 and 55.44.
`--preset paper` trains every row on Tiny-ImageNet and attacks it as that paper's code does (`--plan` says for how many
GPU hours); published.md then has each number beside the published one, or why not. The default run goes the same way
on the built-in miniature, whose numbers say so and are not compared.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import CompTga, Fare, FtAdv, FtClean, Laat, PmgAft, TeCoA, TgaZsr
from zsr_core.trial.presets import reproduction, side_by_side

ROWS = (FtClean(), FtAdv(), TeCoA(), Fare(), Laat(), PmgAft(), TgaZsr(), CompTga())

SWEEP = Sweep(
    name="reproduce_tga_table1",
    question="Do the rows of Comp-TGA's main tables, TGA-ZSR's among them, come out again?",
    variants=side_by_side(ROWS, same_data=True),
    base=reproduction("pgd100-tga"),
    reproduces={"CompTGA-2026": ("I", "II")},
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
