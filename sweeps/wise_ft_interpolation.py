"""How far should one go from the original weights to the tuned ones?

Published for clean fine-tuning (WiSE-FT, CVPR 2022): half way keeps most of the gain and loses little elsewhere. For
adversarial fine-tuning there is no published figure: robustness at 0 is the original's, 4.90 for CLIP at 1/255.
All points share one training. The default run asks the same of the built-in miniature: read the shape, not the values.
"""

from search_spaces.wise_ft import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.defences import WiseFt
from zsr_core.methods import TeCoA
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="wise_ft_interpolation",
    question="How far should one go from the original weights to the tuned ones?",
    space=WEIGHTS,
    base=scales(TeCoA(), defence=WiseFt()),
    objectives=("clean", "robust"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
