"""Does UCAT gain by Dirichlet distributions, or by direction, temperature and weight?

Published (means over 16 sets, eps 1/255, PGD-100; robust and clean): cross-entropy 29.86 and 43.83; categorical clean
first 30.12 and 45.04, adversarial first 29.98 and 45.05; Dirichlet clean first 25.01 and 36.73, adversarial first 32.20
and 54.17. There the categorical rows had another temperature and weight; here all share both.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import Ucat
from zsr_core.space import Variant, grid
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="ucat_distance",
    question="Does UCAT gain by Dirichlet distributions or by the divergence's direction?",
    variants=(
        Variant(label="cross-entropy", overrides={"method.weight": 0.0}, reference=True),
        *grid({"method.divergence": ("categorical", "dirichlet"), "method.direction": ("clean_first", "adv_first")}),
    ),
    seeds=(0, 1, 2),
    base=scales(Ucat()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
