"""How much of FARE's loss should go to clean images?

Published models take none of it. ViT-B/32 trained at eps 1/255 (zero-shot mean, APGD, 1000 images a set): 60.5 clean,
38.0 robust at 1/255, 20.1 at 2/255.
The default run asks the same of the built-in miniature: read the shape beside these figures, not the values.
"""

from search_spaces.fare import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Fare
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="fare_clean_weight",
    question="How much of FARE's loss should go to clean images?",
    space=WEIGHTS,
    base=scales(Fare()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
