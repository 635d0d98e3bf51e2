"""The scores and measures of out-of-distribution detection, by their formulas and by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def scores_of(cosines: Any, logits: Any) -> dict[str, Any]:
    """Return every score of images from their cosines and logits [N, C], larger in distribution."""
    p = special.softmax(logits, axis=1)
    return {
        "msp": p.max(axis=1), "max_logit": logits.max(axis=1), "energy": special.logsumexp(logits, axis=1),
        "mcm": special.softmax(cosines, axis=1).max(axis=1), "entropy": -stats.entropy(p, axis=1),
    }  # fmt: skip


def measures_of(inside: Any, outside: Any) -> dict[str, float]:
    """Return every measure of how well scores tell images in distribution from those outside of it."""
    labels, scores = np.repeat([1, 0], [len(inside), len(outside)]), np.concatenate([inside, outside])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    back, caught, _ = roc_curve(1 - labels, -scores, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(labels, scores), "aupr_in": average_precision_score(labels, scores),
        "aupr_out": average_precision_score(1 - labels, -scores),
        "fpr_ood_at_id95": fpr[np.argmax(tpr >= 0.95 - 1e-12)],
        "fpr_id_at_ood95": back[np.argmax(caught >= 0.95 - 1e-12)],
    }  # fmt: skip
