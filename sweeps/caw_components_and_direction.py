"""What do CAW's two terms add, and does the direction of its divergence matter?

The paper says in words: the confidence term raises robustness, the feature term clean accuracy, both together are best,
and the clean distribution first is worse. Published (means over 15 sets, eps 1/255): both terms 33.51 under AutoAttack.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.caw import PARTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Caw
from zsr_core.space import Variant, all_subsets
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="caw_components_and_direction",
    question="What do CAW's terms add, and does the divergence's direction matter?",
    variants=(
        *all_subsets(PARTS),
        Variant(label="clean first", overrides={"method.kl_direction": "clean_first"}),
        Variant(label="weight held constant", overrides={"method.weight_detach": True}),
    ),
    seeds=(0, 1, 2),
    base=scales(Caw()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
