"""Do TGA-ZSR's weights, its learning rate and its training radius have to be searched together?

Published (means over 16 sets, eps 1/255, PGD-100): alpha 0.08 and beta 0.05, at a learning rate of 1e-4 and a training
radius of 1/255, give 42.09 robust and 56.44 clean. No table varies all four. Its finished grid is also one of those
that `zsr replay` tries searches out over, because a search of two axes leaves little to find.
"""

from search_spaces import Axis
from sweeps.engine import Sweep, launch
from zsr_core.methods import TgaZsr
from zsr_core.space import Real
from zsr_core.trial.presets import scales

WEIGHT = Real(low=0.01, high=0.1, log=True)
LEVELS = (0.01, 0.03, 0.1)
SPACE = (
    Axis(path="method.alpha", domain=WEIGHT, levels=LEVELS, published=0.08, source="TGA-ZSR, PGD and CW tables"),
    Axis(path="method.beta", domain=WEIGHT, levels=LEVELS, published=0.05, source="TGA-ZSR, PGD and CW tables"),
    Axis(path="optim.lr", domain=Real(low=1e-5, high=1e-3, log=True), levels=(3e-4, 1e-3)),
    Axis(path="threat.eps", domain=Real(low=1 / 255, high=4 / 255), levels=(2 / 255, 4 / 255)),
)

SWEEP = Sweep(
    name="tga_weights_lr_eps",
    question="Do TGA-ZSR's weights, learning rate and training radius have to be searched together?",
    space=SPACE,
    base=scales(TgaZsr()),
    score_eps={"miniature": 2 / 255, "miniature-long": 2 / 255, "paper": 1 / 255},
    surfaces=(("method.alpha", "method.beta"), ("optim.lr", "threat.eps")),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
