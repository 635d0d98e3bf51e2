"""Does a training perturbation of pixels, of tokens or of embeddings help retrieval under common corruptions most?

A study of CLIP's robustness asks it; no published R@1 by site and budget is known to us. Each row trains TeCoA's loss
on images moved at one site within one budget: in pixels, as ever; or by a share of the length of the tokens before a
block, or of the embedding. R@1 under corruptions is the mean over the 15 common kinds and their severities, and stands
beside R@1 on clean and attacked images. The default run asks the same of the built-in miniature, at severity 3: read
the order of the sites, not the values.
"""

from sweeps.engine import Sweep, launch
from zsr_core.attacks import Pgd
from zsr_core.data import DataRef
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.methods import TeCoA
from zsr_core.trial.perturbed import Relative, site_variants, with_retrieval

PIXELS = {"miniature": (1 / 255, 2 / 255, 4 / 255), "paper": (0.5 / 255, 1 / 255, 2 / 255)}
RELATIVE: Relative = {"token": (0.05, 0.1, 0.2), "embedding": (0.1, 0.2, 0.4)}
ASKED = RetrievalSuite(
    n=96, pixel=("query", "hiding", "gallery"), attack=Pgd(steps=10), radii=(0.1,), corruptions=("common:3",)
)
FEW = (DataRef(name="source", limit=32), DataRef(name="animals", limit=32), DataRef(name="sport", limit=32))

SWEEP = Sweep(
    name="feature_perturbations",
    question="Does a training perturbation of pixels, tokens or embeddings help retrieval under corruptions most?",
    variants=site_variants(PIXELS, RELATIVE, block=2),
    base=with_retrieval(TeCoA(), ASKED, FEW),
    objectives=("t2i_r1_corrupted", "i2t_r1_corrupted", "t2i_r1", "i2t_r1", "t2i_r1_hiding", "i2t_r1_query"),
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
