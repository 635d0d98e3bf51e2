"""Images with outputs made for the purpose: logits are known, so every metric has an answer that a loop can give."""

from __future__ import annotations

from typing import Any

import numpy as np

from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.metrics.metric import Images
from zsr_core.evaluation.metrics.outputs import ClassTexts, Outputs


def images_of(logits: Any, labels: Any, *, clean: Images | None = None, source: Images | None = None) -> Images:
    """Return images with exactly these logits [N, C]: the class texts are the axes, the scale is 1."""
    z, y = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    n, classes = z.shape
    texts = ClassTexts(
        unit=np.eye(classes, dtype=np.float32), classes=tuple(f"c{k}" for k in range(classes)), scale=1.0
    )
    outputs = Outputs(unit=z.astype(np.float32), texts=texts)
    log_p = outputs.log_p
    pred = outputs.logits.argmax(axis=1)
    own = outputs.logits[np.arange(n), y]
    others = outputs.logits.copy()
    others[np.arange(n), y] = -np.inf
    correct = pred == y if clean is None else (pred == y) & clean.correct
    return Images(
        sample_id=np.array([str(i) for i in range(n)], object), label=y, pred=pred, correct=correct,
        p_max=np.exp(log_p.max(axis=1)), entropy=-(np.exp(log_p) * log_p).sum(axis=1),
        margin=own - others.max(axis=1), clean=clean, outputs=outputs, source=source,
    )  # fmt: skip


def random_images(n: int = 300, classes: int = 5, *, seed: int = 0, sharp: float = 2.0) -> Images:
    """Return images whose labels are drawn from a softmax that is flatter than the model's: it is over-confident."""
    random = np.random.default_rng(seed)
    z = sharp * random.normal(size=(n, classes)).astype(np.float32)
    p = np.exp(z / sharp) / np.exp(z / sharp).sum(axis=1, keepdims=True)
    labels = (random.random((n, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return images_of(z, labels)


def attacked_pair(n: int = 200, classes: int = 4, seed: int = 0) -> Images:
    """Return attacked images with their clean ones: some hold, some break; wrong ones are not attacked."""
    clean = random_images(n, classes, seed=seed)
    random = np.random.default_rng(seed + 1)
    assert clean.outputs is not None
    z = clean.outputs.logits.copy()
    moved = clean.correct
    z[moved] += random.normal(size=z.shape)[moved] * 1.5
    return images_of(z, clean.label, clean=clean)


def value(name: str, images: Images) -> float | None:
    """Return the value of a metric; None where it is undefined."""
    metric = metric_named(name)
    return None if metric.undefined(images) else metric.value(images)
