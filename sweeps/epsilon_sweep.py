"""At which radius should one train, for which radius at test time?

Published (means over 16 sets, PGD-100, trained at eps 1/255, tested at 1, 2, 4 and 8/255): TGA-ZSR falls from 42.09
to 11.48 at 2/255, where TeCoA has 14.20 and PMG-AFT 19.64; at 8/255 LAAT's 8.49 is best. AGFT (15 sets, PGD-20) has
25.46 as its mean over 1, 2 and 4/255. The default run moves the miniature's radius, 2/255, in the same steps.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import Agft, PmgAft, TeCoA, TgaZsr, Ucat
from zsr_core.trial.presets import shared, side_by_side

TRAIN = {"miniature": (1 / 255, 2 / 255, 4 / 255), "paper": (1 / 255, 2 / 255, 4 / 255)}
# the first is where all rows are compared, whatever radius each trained at
TEST = {"miniature": (2 / 255, 1 / 255, 4 / 255, 8 / 255), "paper": (1 / 255, 2 / 255, 4 / 255, 8 / 255)}

SWEEP = Sweep(
    name="epsilon_sweep",
    question="At which radius should one train, for which radius at test time?",
    variants=side_by_side((TeCoA(), PmgAft(), TgaZsr(), Agft(), Ucat()), train_eps=TRAIN),
    base=shared(test_eps=TEST),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
