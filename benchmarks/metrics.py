"""What do all metrics cost from stored records and embeddings, beside scikit-learn computing a part of them?

`python benchmarks/metrics.py` writes a trial's Parquet files of 16 sets x 1000 images x 2 conditions, which with the
worst attack are 3, reads them, and measures every row of the table of the five families, with intervals. Beside it
scikit-learn computes what it has, without intervals: log loss, reliability curves, and the AUROCs of six uncertainties.
CPU seconds of one thread count, because they depend less on other work on the machine. `--families` times each alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, roc_auc_score

from zsr_core.evaluation.embeddings import Evaluated, read_evaluated, write_embeddings
from zsr_core.evaluation.measure import by_place, measure
from zsr_core.evaluation.metrics import Images, Metric
from zsr_core.evaluation.metrics.calibration import CALIBRATION
from zsr_core.evaluation.metrics.if_calibrated import IF_CALIBRATED
from zsr_core.evaluation.metrics.ood import OOD
from zsr_core.evaluation.metrics.outputs import ClassTexts
from zsr_core.evaluation.metrics.temperature import TEMPERATURE
from zsr_core.evaluation.metrics.uncertainty import UNCERTAINTIES, UNCERTAINTY
from zsr_core.records import SampleRecord, write_samples

FAMILIES: dict[str, tuple[Metric, ...]] = {
    "calibration": CALIBRATION, "if calibrated": IF_CALIBRATED, "temperature": TEMPERATURE,
    "uncertainty": UNCERTAINTY, "out of distribution": OOD,
}  # fmt: skip
EPS = 1 / 255
T = TypeVar("T")


def made(sets: int, images: int, classes: int, width: int) -> tuple[list[SampleRecord], dict[str, ClassTexts]]:
    """Return records with embeddings, clean and attacked, and the class texts."""
    random = np.random.default_rng(0)
    records, texts = [], {}
    for task in (f"set{i}" for i in range(sets)):
        unit = _unit(random.normal(size=(classes, width)))
        texts[task] = ClassTexts(unit=unit, classes=tuple(map(str, range(classes))), scale=100.0)
        labels = random.integers(classes, size=images)
        clean = _unit(unit[labels] + 6.0 * random.normal(size=(images, width)) / np.sqrt(width))
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


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU seconds of ``work`` and what it returns."""
    begun = time.process_time()
    got = work()
    return time.process_time() - begun, got


def stored(folder: Path, sets: int, images: int, classes: int, width: int) -> None:
    """Write the files of a trial that kept its embeddings."""
    records, texts = made(sets, images, classes, width)
    write_samples(folder / "samples.parquet", records)
    write_embeddings(folder, Evaluated(records=records, texts=texts, source=()))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    for name, default in (("sets", 16), ("images", 1000), ("classes", 100), ("width", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--families", action="store_true", help="time each family of metrics alone, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder), args.sets, args.images, args.classes, args.width)
        reading, found = timed(lambda: read_evaluated(Path(folder), None))
    source = [r for r in found.records if r.task == "set0" and r.condition == "none"]

    def numbers(metrics: tuple[Metric, ...]) -> tuple[float, int]:
        seconds, rows = timed(lambda: measure(found.records, (), metrics, texts=found.texts, source=source))
        return seconds, sum(row.value is not None for row in rows)

    every = tuple(metric for family in FAMILIES.values() for metric in family)
    measuring, count = numbers(every)
    print(f"{args.sets} sets x {args.images} images x 3 conditions, load average {os.getloadavg()[0]:.1f}\n")
    print("| what | CPU seconds | numbers |\n|---|---|---|")
    print(f"| files read | {reading:.1f} | |")
    print(f"| {len(every)} metrics with intervals | {measuring:.1f} | {count} |", flush=True)
    for name, metrics in FAMILIES.items() if args.families else ():
        seconds, count = numbers(metrics)
        print(f"| {name} alone | {seconds:.1f} | {count} |", flush=True)
    seconds, count = timed(lambda: by_scikit_learn(by_place(found.records, found.texts, source)))
    print(f"| scikit-learn, a part, without intervals | {seconds:.1f} | {count} |")


if __name__ == "__main__":
    main()
