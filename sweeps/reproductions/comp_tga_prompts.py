"""Which second prompt does Comp-TGA need: none, the class denied, or the background?

Published (table VIII, means over 16 sets, eps 1/255, PGD-100): class alone 41.45 robust and 56.48 clean, with "other"
prompts 43.24 and 55.10, with non-class prompts 44.46 and 55.44.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import CompTga
from zsr_core.methods.comp_tga import NON_CLASS, OTHER
from zsr_core.space import Variant
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="comp_tga_prompts",
    question="Which second prompt does Comp-TGA need?",
    variants=(
        Variant(label="class", overrides={"method.fusion": "class"}, reference=True),
        Variant(label="class + non-class", overrides={"method.prompt": NON_CLASS}),
        Variant(label="class + other", overrides={"method.prompt": OTHER}),
        Variant(label="non-class", overrides={"method.fusion": "non_class"}),
    ),
    seeds=(0, 1, 2),
    base=scales(CompTga()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
