"""Which methods become less sure when an attack moves their input, and which become surer?

UCAT's paper claims that uncertainty falls under attack in CLIP and in earlier methods, and that UCAT restores it
(arXiv 2512.12997, figure 1 and section 1); it prints no number for the rise. Expected: the entropy falls for FT-Clean
at larger budgets, and rises for UCAT. A rise counts only if the adaptive attack, which looks for confident wrong
answers, leaves it. The default run asks the same of the built-in miniature: read signs, not values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.attacks.profiles import profile
from zsr_core.methods import Fare, FtClean, PmgAft, TeCoA, TgaZsr, Ucat
from zsr_core.trial.presets import shared, side_by_side

TEST = {"miniature": (4 / 255, 2 / 255, 8 / 255), "paper": (1 / 255, 2 / 255, 4 / 255)}
ATTACKS = (profile("pgd10"), profile("confidence-away-mu1"))

SWEEP = Sweep(
    name="uncertainty_under_attack",
    question="Which methods become less sure under attack, and which surer?",
    variants=side_by_side((FtClean(), TeCoA(), Fare(), PmgAft(), TgaZsr(), Ucat()), same_data=True),
    base={preset: start.with_({"eval_suite.attacks": ATTACKS}) for preset, start in shared(test_eps=TEST).items()},
    objectives=("clean", "robust", "rise"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
