"""What do the usual ways to fine-tune do to calibration, OOD detection, retrieval, corruptions and robustness?

Published (a study of CLIP's robustness): fine-tuning raises the calibration error; a temperature repairs LP-FT and
WiSE-FT; FLYP stays over-confident; retrieval follows classification. ``zsr profile`` sets each claim beside what the
study measured. The default run asks the same of the built-in miniature, which says nothing about scale.
"""

from sweeps.engine import Sweep, launch
from zsr_core.data import DataRef
from zsr_core.defences import WiseFt
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.methods import Flyp, FtClean, LpFt, TeCoA
from zsr_core.space import Variant
from zsr_core.trial.presets import shared, side_by_side

NARROW = {"eval_suite.n": 48, "eval_suite.ood_near": (DataRef(name="near_objects", limit=96),),
          "eval_suite.ood_far": (DataRef(name="far_patterns", limit=96),), "eval_suite.factors": ("all",),
          "eval_suite.corruptions": ("gaussian_noise:3", "defocus_blur:3", "contrast:3"),
          "eval_suite.retrieval": RetrievalSuite(n=96, pixel=("query",)), "eval_suite.attention": True}  # fmt: skip
WIDE = {"eval_suite.corruptions": ("common",)}
KEPT = {"eval_suite.embeddings": "all"}
START = shared()
TUNED = side_by_side((FtClean(), LpFt(), Flyp(), TeCoA()), same_data=True)
HALF = {p: Variant(label="WiSE-FT", overrides={**rows[0].overrides, "defence": WiseFt()}) for p, rows in TUNED.items()}

SWEEP = Sweep(
    name="holistic_profile",
    question="What do the usual ways to fine-tune do beside accuracy?",
    variants={preset: (*rows, HALF[preset]) for preset, rows in TUNED.items()},
    base={p: c.with_({**KEPT, **(WIDE if p == "paper" else NARROW)}) for p, c in START.items()},
    objectives=("clean", "robust", "ece", "ece_source_t", "overconfidence_source_t"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
