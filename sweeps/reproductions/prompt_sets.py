"""How much do calibration and OOD detection depend on the wording of the classes, before and after fine-tuning?

A study of CLIP's robustness measures both under one wording; published numbers by prompt set are not known to us. Each
row asks the classes in the words of one prompt set: the set's own, TGA-ZSR's one template, OpenAI's 80 of ImageNet. The
training is the same in all rows. The default run asks the same of the built-in miniature, which has not read every word
of OpenAI's templates: read signs and orders, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.methods import FtClean
from zsr_core.trial.beyond_accuracy import with_outside, worded

SWEEP = Sweep(
    name="prompt_sets",
    question="How much do calibration and OOD detection depend on the wording of the classes?",
    variants=worded(FtClean()),
    base=with_outside(),
    objectives=("ece", "ece_source_t", "overconfidence", "clean", "ood_auroc_msp", "ood_auroc_mcm"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
