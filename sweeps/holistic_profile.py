"""What do the usual ways to fine-tune do to calibration, OOD detection, retrieval, corruptions and robustness?

Published (a study of CLIP's robustness): fine-tuning raises the calibration error; a temperature repairs LP-FT and
WiSE-FT; FLYP stays over-confident; retrieval follows classification. ``zsr profile`` sets each claim beside what the
study measured. The default run asks the same of the built-in miniature, which says nothing about scale.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import Flyp, FtClean, LpFt, TeCoA
from zsr_core.trial.beyond_accuracy import and_half_way, whole_suites

SWEEP = Sweep(
    name="holistic_profile",
    question="What do the usual ways to fine-tune do beside accuracy?",
    variants=and_half_way((FtClean(), LpFt(), Flyp(), TeCoA())),
    base=whole_suites(),
    objectives=("clean", "robust", "ece", "ece_source_t", "overconfidence_source_t"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
