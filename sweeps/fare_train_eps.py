"""At which radius should FARE be trained, if it is tested at one budget?

Published (ViT-L/14, zero-shot mean, APGD, 1000 images a set): trained at 2/255 FARE has 67.0 clean and 43.1 robust at
test eps 2/255; trained at 4/255 it has 61.1 clean and 45.9 robust at the same 2/255. So the radius of training is an
axis beside the weight, and all cells are scored at one budget: 2/255 on the miniature, 1/255 at the paper's scale.
"""

from search_spaces import Axis
from search_spaces.fare import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.methods import Fare
from zsr_core.space import Real
from zsr_core.trial.presets import scales

RADIUS = Axis(path="threat.eps", domain=Real(low=1 / 255, high=4 / 255), levels=(1 / 255, 2 / 255, 4 / 255))

SWEEP = Sweep(
    name="fare_train_eps",
    question="At which radius should FARE be trained, if it is tested at one budget?",
    space=(RADIUS, *WEIGHTS),
    base=scales(Fare()),
    score_eps={"miniature": 2 / 255, "miniature-long": 2 / 255, "paper": 1 / 255},
    surfaces=(("threat.eps", "method.clean_weight"),),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
