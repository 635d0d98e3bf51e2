"""Which methods become less sure when an attack moves their input, and which become surer?

The UCAT paper (arXiv 2512.12997) claims that a CLIP attacked becomes surer, and that UCAT gives it back the doubt that
it should have; we have no published number of the rise. It counts only if an adaptive attack, which looks for
confident wrong answers, leaves it. The default run asks the same of the built-in miniature: read the signs beside the
claim, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.attacks import Confidence, Pgd
from zsr_core.attacks.profiles import profile
from zsr_core.methods import Fare, FtClean, PmgAft, TeCoA, TgaZsr, Ucat
from zsr_core.trial.presets import shared, side_by_side

# the first is where the rows are judged, the others draw the curve
TEST = {"miniature": (2 / 255, 1 / 255, 4 / 255), "paper": (1 / 255, 2 / 255, 4 / 255)}
SHORT = {"eval_suite.attacks": (Pgd(steps=10, step_ratio=0.25), Confidence(steps=10)), "eval_suite.n": 32}
LONG = {"eval_suite.attacks": (profile("pgd100"), profile("confidence-away-mu1"))}
START = shared(test_eps=TEST)

SWEEP = Sweep(
    name="uncertainty_under_attack",
    question="Which methods become less sure under attack, and which surer?",
    variants=side_by_side((FtClean(), TeCoA(), Fare(), PmgAft(), TgaZsr(), Ucat()), same_data=True),
    base={
        "miniature": START["miniature"].with_(SHORT),
        "miniature-long": START["miniature-long"].with_(SHORT),
        "paper": START["paper"].with_(LONG),
    },
    objectives=("clean", "robust", "rise"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
