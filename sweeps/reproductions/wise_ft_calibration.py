"""Does interpolation towards the original weights repair what clean fine-tuning does to calibration?

Published (a study of CLIP's robustness): fine-tuning raises the calibration error, and WiSE-FT recovers once a
temperature is fitted; no published value by alpha is known to us. All points share one training. Each is read raw, at
the temperature fitted on the source set, and at each set's own best one, clean and under attack. The default run asks
the same of the built-in miniature: read the order of the points, not the values.
"""

from search_spaces.wise_ft import WEIGHTS
from sweeps.engine import Sweep, launch
from zsr_core.defences import WiseFt
from zsr_core.methods import FtClean
from zsr_core.trial.presets import scales

SWEEP = Sweep(
    name="wise_ft_calibration",
    question="Does interpolation towards the original weights repair calibration?",
    space=WEIGHTS,
    base=scales(FtClean(), defence=WiseFt()),
    objectives=("ece_source_t", "ece", "ece_oracle_t", "clean"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
