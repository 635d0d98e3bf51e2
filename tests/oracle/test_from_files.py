"""Numbers of a trial's measurements, computed again from its Parquet files alone with pyarrow, scikit-learn and SciPy.

Three models are made for the purpose: one that is confidently wrong, one collapsed to one class, and one whose logits
are too large by a known factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from zsr_core.evaluation.embeddings import Evaluated, read_evaluated, write_embeddings
from zsr_core.evaluation.measure import Measurement, measure
from zsr_core.evaluation.metrics import METRICS
from zsr_core.evaluation.metrics.outputs import ClassTexts
from zsr_core.records import SampleRecord, write_samples

N, CLASSES, WIDTH, SCALE, EPS = 240, 8, 12, 20.0, 1 / 255
PLANTED = 3.0
MODELS = ("confidently wrong", "collapsed", "planted temperature")
Row = dict[str, Any]


def _unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _evaluated(model: str) -> Evaluated:
    random = np.random.default_rng(0)
    text = ClassTexts(
        unit=np.eye(CLASSES, WIDTH, dtype=np.float32), classes=tuple("abcdefgh"),
        scale=SCALE * (PLANTED if model == "planted temperature" else 1.0),
    )  # fmt: skip
    clean = _unit(random.normal(size=(N, WIDTH)))
    p = softmax(SCALE * clean.astype(float) @ text.unit.T.astype(float), axis=1)
    labels = np.array([random.choice(CLASSES, p=row) for row in p])  # the model is calibrated at SCALE
    if model == "confidently wrong":
        wrong = (labels + 1) % CLASSES
        told = np.where(np.arange(N) < N // 4, labels, wrong)
        clean = _unit(clean + 6 * text.unit[told])
    if model == "collapsed":
        clean = _unit(0.05 * clean + text.unit[np.zeros(N, int)])
    away = _unit(clean - 0.5 * random.random((N, 1)) * text.unit[labels])
    records = _records("none", 0.0, clean, labels, text, np.ones(N, bool))
    right = np.array([r.correct for r in records])
    attacked = np.where(right[:, None], away, clean)
    return Evaluated(
        records=[*records, *_records("pgd", EPS, attacked, labels, text, right)], texts={"set": text}, source=()
    )


def _records(
    condition: str, eps: float, unit: np.ndarray, labels: np.ndarray, text: ClassTexts, right: np.ndarray
) -> list[SampleRecord]:
    logits = text.scale * unit.astype(float) @ text.unit.T.astype(float)
    p = softmax(logits, axis=1)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    two = np.sort(logits, axis=1)
    return [
        SampleRecord(
            trial_id="t", weights_sha="w", task="set", split="report", sample_id=str(i), condition=condition,
            attack_id="" if condition == "none" else "x", ran="", stage="", norm="linf", threat_space="model_input",
            eps=eps, label=int(labels[i]), pred=int(p[i].argmax()),
            correct=bool(right[i] and p[i].argmax() == labels[i]), p_max=float(p[i].max()),
            entropy=float(entropy[i]), margin=float(two[i, -1] - two[i, -2]), linf=eps, l2=0.0, queries=1,
            embedding=unit[i].tobytes(),
        )
        for i in range(len(labels))
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Read:
    """What the files hold of one condition."""

    label: np.ndarray
    correct: np.ndarray
    p_max: np.ndarray
    entropy: np.ndarray
    logits: np.ndarray  # [N, C]


def _read(folder: Path, condition: str) -> Read:
    samples, vectors = pq.read_table(folder / "samples.parquet"), pq.read_table(folder / "embeddings.parquet")
    texts = pq.read_table(folder / "texts.parquet").to_pylist()
    kept = {(r["sample_id"], r["condition"]): r["embedding"] for r in vectors.to_pylist()}
    rows: list[Row] = [r for r in samples.to_pylist() if r["condition"] == condition]
    unit = np.array([kept[r["sample_id"], condition] for r in rows], np.float64)
    logits = texts[0]["logit_scale"] * unit @ np.array([t["embedding"] for t in texts], np.float64).T
    columns = {name: np.array([r[name] for r in rows]) for name in ("label", "correct", "p_max", "entropy")}
    return Read(**columns, logits=logits + texts[0]["logit_bias"])


def _again(clean: Read, here: Read) -> Iterator[tuple[str, float]]:
    """Yield names and values of what this condition shows."""
    p, rows = softmax(here.logits, axis=1), np.arange(N)
    attacked = here is not clean
    yield "robust" if attacked else "clean", 100 * accuracy_score(here.correct, np.ones(N, bool))
    yield "overconfidence", 100 * (here.p_max.mean() - here.correct.mean())
    yield "nll", -np.mean([here.logits[i, here.label[i]] - logsumexp(here.logits[i]) for i in rows])
    yield "brier", np.mean(((p - np.eye(CLASSES)[here.label]) ** 2).sum(axis=1))
    for name, bins in (("ece10", 10), ("ece", 15), ("ece30", 30)):
        yield name, 100 * _calibration_error(here.p_max, here.correct, bins)
    each = [_calibration_error(p[:, k], here.label == k, 15) for k in range(CLASSES)]
    yield "ece_classwise", 100 * float(np.mean(each))
    yield "confident_errors", 100 * float(np.mean(~here.correct & (here.p_max > 0.9)))
    doubts: dict[str, Callable[[Read], np.ndarray]] = {
        "": lambda r: r.entropy,
        "_p_max": lambda r: 1 - r.p_max,
        "_energy": lambda r: -np.asarray(logsumexp(r.logits, axis=1)),
        "_margin": lambda r: -np.diff(np.sort(r.logits, axis=1)[:, -2:])[:, 0],
    }
    for suffix, doubt in doubts.items():
        if 0 < here.correct.sum() < N:
            yield f"auroc_error{suffix}", 100 * roc_auc_score(~here.correct, doubt(here))
        if attacked:
            both = np.concatenate([doubt(here)[clean.correct], doubt(clean)[clean.correct]])
            yield f"auroc_adv{suffix}", 100 * roc_auc_score(np.repeat([1, 0], len(both) // 2), both)
            unit = 100 if suffix == "_p_max" else 1
            yield f"rise{suffix}", unit * float((doubt(here) - doubt(clean))[clean.correct].mean())
    if not attacked:
        fitted = minimize_scalar(
            lambda t: log_loss(here.label, softmax(here.logits / np.exp(t), axis=1), labels=np.arange(CLASSES)),
            bounds=(-3, 6), method="bounded", options={"xatol": 1e-12},
        )  # fmt: skip
        at = softmax(here.logits / np.exp(fitted.x), axis=1)
        yield "nll_oracle_t", float(log_loss(here.label, at, labels=np.arange(CLASSES)))


def _calibration_error(sure: np.ndarray, right: np.ndarray, bins: int) -> float:
    """Return the expected calibration error over the bins ((m - 1) / M, m / M] by a loop."""
    total = 0.0
    for m in range(bins):
        inside = (sure > m / bins) & (sure <= (m + 1) / bins) if m else sure <= 1 / bins
        total += abs(right[inside].sum() - sure[inside].sum())
    return total / len(sure)


@pytest.fixture(params=MODELS)
def measured(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, dict[tuple[str, str], Measurement]]:
    evaluated = _evaluated(request.param)
    write_samples(tmp_path / "samples.parquet", evaluated.records)
    write_embeddings(tmp_path, evaluated)
    found = read_evaluated(tmp_path, None)
    rows = measure(found.records, (), METRICS, texts=found.texts)
    return request.param, tmp_path, {(m.attack, m.metric): m for m in rows}


def test_numbers_of_a_trial_follow_from_its_files_by_other_libraries(
    measured: tuple[str, Path, dict[tuple[str, str], Measurement]],
) -> None:
    _, folder, rows = measured
    clean, attacked = _read(folder, "none"), _read(folder, "pgd")
    compared = 0
    for attack, here in (("none", clean), ("pgd", attacked), ("worst", attacked)):
        for name, value in _again(clean, here):
            assert rows[attack, name].value == pytest.approx(value, rel=1e-9, abs=1e-9), (attack, name)
            compared += 1
    assert compared > 50


def test_models_made_for_the_purpose_show_what_was_made_of_them(
    measured: tuple[str, Path, dict[tuple[str, str], Measurement]],
) -> None:
    model, _, rows = measured
    values = {name: m.value for (attack, name), m in rows.items() if attack == "none"}
    if model == "confidently wrong":
        assert values["overconfidence"] > 60
        assert values["ece"] == pytest.approx(values["overconfidence"])
        assert values["confident_errors"] > 60
    elif model == "collapsed":
        assert values["clean"] < 30
        assert values["overconfidence"] > 60
    else:
        assert values["temperature_oracle"] == pytest.approx(PLANTED, rel=0.2)
        assert values["overconfidence"] > 5
