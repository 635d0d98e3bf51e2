"""How many steps does the training attack need?

The lineage of TeCoA and TGA-ZSR trains with 2, FARE with 10, LAAT with 7; no paper of them shows the axis for CLIP at
1/255. With one step of half the radius an attack cannot leave its random start far behind.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import TgaZsr
from zsr_core.space import grid
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="attack_steps",
    question="How many steps does the training attack need?",
    variants=grid({"train_attack.steps": (1, 2, 3, 5, 10)}),
    seeds=(0, 1),
    base=scales(TgaZsr()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
