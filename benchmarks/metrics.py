"""What do all metrics cost from stored records and embeddings, beside scikit-learn computing a part of them?

`python benchmarks/metrics.py` makes records of 16 sets x 1000 images x 2 conditions with embeddings, which with the
worst attack are 3, and measures every row of the table, with intervals. Beside it scikit-learn computes what it has,
without intervals: log loss, reliability curves, and the AUROCs of six uncertainties. CPU seconds count, because they
depend less on other work on the machine.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, roc_auc_score

from zsr_core.evaluation.measure import by_place, measure
from zsr_core.evaluation.metrics import METRICS, Images, Metric
from zsr_core.evaluation.metrics.calibration import CALIBRATION
from zsr_core.evaluation.metrics.if_calibrated import IF_CALIBRATED
from zsr_core.evaluation.metrics.ood import OOD
from zsr_core.evaluation.metrics.outputs import ClassTexts
from zsr_core.evaluation.metrics.temperature import TEMPERATURE
from zsr_core.evaluation.metrics.uncertainty import UNCERTAINTIES, UNCERTAINTY
from zsr_core.records import SampleRecord

FAMILIES: dict[str, tuple[Metric, ...]] = {
    "calibration": CALIBRATION, "if calibrated": IF_CALIBRATED, "temperature": TEMPERATURE,
    "uncertainty": UNCERTAINTY, "out of distribution": OOD,
}  # fmt: skip
EPS = 1 / 255


def made(sets: int, images: int, classes: int, width: int) -> tuple[list[SampleRecord], dict[str, ClassTexts]]:
    """Return records with embeddings, clean and attacked, and the class texts."""
    random = np.random.default_rng(0)
    records, texts = [], {}
    for task in (f"set{i}" for i in range(sets)):
        unit = _unit(random.normal(size=(classes, width)))
        texts[task] = ClassTexts(unit=unit, classes=tuple(map(str, range(classes))), scale=100.0)
        labels = random.integers(classes, size=images)
        clean = _unit(0.9 * unit[labels] + 2.0 * random.normal(size=(images, width)) / np.sqrt(width))
        first = _records(task, "none", 0.0, clean, labels, texts[task], np.ones(images, bool))
        right = np.array([r.correct for r in first])
        moved = _unit(clean - 0.2 * random.random((images, 1)) * right[:, None] * unit[labels])
        records += [*first, *_records(task, "pgd100", EPS, moved, labels, texts[task], right)]
    return records, texts


def _unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _records(
    task: str, condition: str, eps: float, unit: np.ndarray, labels: np.ndarray, text: ClassTexts, right: np.ndarray
) -> list[SampleRecord]:
    logits = text.scale * unit.astype(np.float64) @ text.unit.T
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    blank = SampleRecord(
        trial_id="t", weights_sha="w", task=task, split="report", sample_id="", condition=condition, attack_id="",
        ran="", stage="", norm="linf", threat_space="model_input", eps=eps, label=0, pred=0, correct=False, p_max=0.0,
        entropy=0.0, margin=0.0, linf=0.0, l2=0.0, queries=1,
    )  # fmt: skip
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    return [
        replace(
            blank, sample_id=str(i), label=int(labels[i]), pred=int(p[i].argmax()), p_max=float(p[i].max()),
            correct=bool(p[i].argmax() == labels[i] and right[i]), entropy=float(entropy[i]), margin=0.0,
            embedding=unit[i].tobytes(),
        )
        for i in range(len(labels))
    ]  # fmt: skip


def by_scikit_learn(places: dict[tuple[str, str, float], Images]) -> int:
    """Compute what scikit-learn has of the same metrics, and return how many numbers that is."""
    numbers = 0
    for images in places.values():
        assert images.outputs is not None
        p = np.exp(images.outputs.log_p)
        log_loss(images.label, p, labels=np.arange(p.shape[1]))
        for bins in (10, 15, 30):
            calibration_curve(images.correct, images.p_max, n_bins=bins)
        numbers += 4
        for u in UNCERTAINTIES:
            score = u.of(images)
            if len(set(images.correct)) == 2:
                roc_auc_score(~images.correct, score)
                numbers += 1
            if images.clean is not None:
                roc_auc_score(np.repeat([1, 0], len(images)), np.r_[score, u.of(images.clean)])
                numbers += 1
    return numbers


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """Return the CPU seconds of ``work`` and the number of numbers that it made."""
    begun = time.process_time()
    made_numbers = work()
    return time.process_time() - begun, made_numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    for name, default in (("sets", 16), ("images", 1000), ("classes", 100), ("width", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    records, texts = made(args.sets, args.images, args.classes, args.width)
    source = [r for r in records if r.task == "set0" and r.condition == "none"]
    print(f"{args.sets} sets x {args.images} images x 3 conditions, load average {os.getloadavg()[0]:.1f}\n")
    print("| what | CPU seconds | numbers |\n|---|---|---|")
    whole = 0.0
    for name, metrics in FAMILIES.items():
        seconds, numbers = timed(lambda m=metrics: len(measure(records, (), m, texts=texts, source=source)))  # type: ignore[misc]
        whole += seconds
        print(f"| {name} | {seconds:.1f} | {numbers} |", flush=True)
    print(f"| all, with intervals ({len(METRICS)} metrics) | {whole:.1f} | |")
    places = by_place(records, texts, source)
    seconds, numbers = timed(lambda: by_scikit_learn(places))
    print(f"| scikit-learn, a part, without intervals | {seconds:.1f} | {numbers} |")


if __name__ == "__main__":
    main()
