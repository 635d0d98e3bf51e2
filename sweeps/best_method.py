"""Which method is best, when each may choose its own weights?

The method is an axis of the space, and each method has weights of its own. Published tables give each method one pair
of weights (means over 16 sets, eps 1/255, PGD-100: TeCoA 28.06 robust, PMG-AFT 32.51, TGA-ZSR 42.09); a search spends
its trials on the methods that do well. `--search tpe` starts from each method's own recipe.
"""

from search_spaces.branches import by_method
from sweeps.engine import Sweep, launch
from zsr_core.methods import Agft, Caw, Fare, Laat, PmgAft, TeCoA, TgaZsr, Ucat
from zsr_core.trial.presets import shared

SWEEP = Sweep(
    name="best_method",
    question="Which method is best, when each may choose its own weights?",
    branches=by_method((TeCoA(), PmgAft(), Fare(), Laat(), TgaZsr(), Caw(), Agft(), Ucat())),
    base=shared(),
    samples=80,
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
