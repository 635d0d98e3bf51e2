"""The numbers of a trial from its Parquet files, by formulas, scikit-learn, SciPy, mpmath and pycocotools.

Each function returns numbers by (task, metric, attack, budget), in the unit in which they are reported.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from calibration_by_formula import (
    adaptive_error,
    area,
    classwise_error,
    debiased_error,
    error_of,
    largest_gap,
    simulated,
    summed_likelihood_root,
)
from mpmath import mp
from ood_by_formula import measures_of, scores_of
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.special import logsumexp, softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from zsr_core.rng import seed_for

Numbers = dict[tuple[str, str, str, float], float]
Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the files hold of one set under one condition."""

    label: Any
    correct: Any
    p_max: Any
    entropy: Any
    margin: Any  # of the true class
    unit: Any
    cosines: Any
    logits: Any


def read(path: Path) -> Rows:
    found: Rows = pq.read_table(path).to_pylist()
    return found


def texts_of(folder: Path, task: str) -> tuple[Any, float, float]:
    own = [row for row in read(folder / "texts.parquet") if row["task"] == task]
    return np.array([row["embedding"] for row in own], np.float64), own[0]["logit_scale"], own[0]["logit_bias"]


def conditions(folder: Path, task: str = "set") -> dict[tuple[str, float], Seen]:
    """Return the set under every condition, and under the worst of the attacks."""
    unit, scale, bias = texts_of(folder, task)
    kept = {(r["task"], r["split"], r["sample_id"], r["condition"]): r["embedding"]
            for r in read(folder / "embeddings.parquet")}  # fmt: skip
    rows = read(folder / "samples.parquet")
    found = {}
    for condition, eps in dict.fromkeys((r["condition"], r["eps"]) for r in rows):
        own = [r for r in rows if (r["condition"], r["eps"]) == (condition, eps)]
        there = np.array([kept[task, "report", r["sample_id"], condition] for r in own], np.float64)
        columns = {
            name: np.array([r[name] for r in own]) for name in ("label", "correct", "p_max", "entropy", "margin")
        }
        cosines = there @ unit.T
        found[condition, eps] = Seen(**columns, unit=there, cosines=cosines, logits=scale * cosines + bias)
    attacked = [seen for (condition, _), seen in found.items() if condition != "none"]
    pick = [min(range(len(attacked)), key=lambda a: (attacked[a].correct[i], attacked[a].margin[i]))
            for i in range(len(rows) // len(found))]  # fmt: skip
    eps = max(eps for _, eps in found)
    names = Seen.__dataclass_fields__
    found["worst", eps] = Seen(**{n: np.array([getattr(attacked[a], n)[i] for i, a in enumerate(pick)]) for n in names})
    return found


def source(folder: Path) -> Seen:
    """Return the images that a temperature is fitted on."""
    unit, scale, bias = texts_of(folder, "source")
    own = [r for r in read(folder / "embeddings.parquet") if r["task"] == "source"]
    there = np.array([r["embedding"] for r in own], np.float64)
    nothing = np.zeros(len(own))
    return Seen(label=np.array([r["label"] for r in own]), correct=nothing, p_max=nothing, entropy=nothing,
                margin=nothing, unit=there, cosines=there @ unit.T, logits=scale * there @ unit.T + bias)  # fmt: skip


def tasks(folder: Path) -> Numbers:
    """Return accuracy, calibration, temperatures, uncertainty and detection of what is out of distribution."""
    found: Numbers = {}
    every, fitted = conditions(folder), source(folder)
    clean = every["none", 0.0]
    for (attack, eps), here in every.items():
        named = [*_calibration(here, fitted), *_errors(here)]
        if attack == "none":
            named += [("clean", 100 * accuracy_score(here.correct, np.ones(len(here.correct), bool)))]
        else:
            named += [("robust", 100 * here.correct.mean()), *_under_attack(clean, here)]
        if attack == "worst":
            c, r = clean.correct.mean(), here.correct.mean()
            named += [("harmonic", 100 * 2 * c * r / (c + r))]
        named += _class_split(clean, here, attack)
        found |= {("set", name, attack, eps): float(value) for name, value in named}
    return found | _outside(folder, every)


def _calibration(here: Seen, fitted: Seen) -> Iterator[tuple[str, float]]:
    p, onehot = softmax(here.logits, axis=1), np.eye(here.logits.shape[1])[here.label]
    for name, bins in (("ece10", 10), ("ece", 15), ("ece30", 30)):
        yield name, 100 * error_of(here.p_max, here.correct, bins)
    yield "ece_adaptive", 100 * adaptive_error(here.p_max, here.correct)
    yield "ece_classwise", 100 * classwise_error(p, here.label)
    yield "mce", 100 * largest_gap(here.p_max, here.correct)
    yield "ece_debiased", debiased_error(here.p_max, here.correct)
    yield "aurc", 100 * area(here.p_max, ~here.correct)
    yield "overconfidence", 100 * (here.p_max.mean() - here.correct.mean())
    yield "nll", log_loss(here.label, p, labels=np.arange(p.shape[1]))
    yield "brier", ((p - onehot) ** 2).sum(axis=1).mean()
    yield "nll_if_calibrated", entropy(p, axis=1).mean()  # a label that is drawn from p
    yield "brier_if_calibrated", (1 - (p**2).sum(axis=1)).mean()
    for on, images in (("source", fitted), ("oracle", here)):
        t = 1 / summed_likelihood_root(images.logits, images.label)
        at = softmax(here.logits / t, axis=1)
        sure = at.max(axis=1)
        yield f"temperature_{on}", t
        yield f"ece_{on}_t", 100 * error_of(sure, here.correct, 15)
        yield f"overconfidence_{on}_t", 100 * (sure.mean() - here.correct.mean())
        yield f"nll_{on}_t", log_loss(here.label, at, labels=np.arange(p.shape[1]))
        yield f"brier_{on}_t", ((at - onehot) ** 2).sum(axis=1).mean()


DOUBTS: dict[str, Callable[[Seen], Any]] = {
    "": lambda seen: seen.entropy,
    "_p_max": lambda seen: 1 - seen.p_max,
    "_margin": lambda seen: -np.diff(np.sort(seen.logits, axis=1)[:, -2:])[:, 0],
    "_energy": lambda seen: -logsumexp(seen.logits, axis=1),
    "_evidence": lambda seen: -logsumexp((seen.cosines + 1) / 0.07, axis=1),
    "_mi": lambda seen: _information(seen.cosines),
}


@cache
def doubted(seen: Seen, suffix: str) -> Any:
    """Return an uncertainty of every image."""
    return DOUBTS[suffix](seen)


def _information(cosines: Any) -> Any:
    """Return the entropy of the mean minus the mean entropy of Dirichlet distributions, with 40 digits."""
    mp.dps = 40
    found = []
    for row in cosines:
        alpha = [mp.exp((mp.mpf(float(c)) + 1) / mp.mpf("0.07")) for c in row]
        total = mp.fsum(alpha)
        mean = [a / total for a in alpha]
        of_mean = -mp.fsum(m * mp.log(m) for m in mean)
        each = -mp.fsum(m * (mp.digamma(a + 1) - mp.digamma(total + 1)) for m, a in zip(mean, alpha, strict=True))
        found.append(float(of_mean - each))
    return np.array(found)


def _errors(here: Seen) -> Iterator[tuple[str, float]]:
    yield "confident_errors", 100 * np.mean(~here.correct & (here.p_max > 0.9))
    for suffix in DOUBTS:
        yield f"auroc_error{suffix}", 100 * roc_auc_score(~here.correct, doubted(here, suffix))


def _under_attack(clean: Seen, here: Seen) -> Iterator[tuple[str, float]]:
    broken = clean.correct & ~here.correct
    for suffix in DOUBTS:
        before, after, unit = doubted(clean, suffix), doubted(here, suffix), 100 if suffix == "_p_max" else 1
        for name, group in (("", clean.correct), ("_broken", broken), ("_held", here.correct)):
            yield f"rise{name}{suffix}", unit * (after - before)[group].mean()
        yield f"p_rise{suffix}", 100 * ((after - before)[clean.correct] > 0).mean()
        for name, group in (("", clean.correct), ("_broken", broken)):
            told = np.concatenate([after[group], before[group]])
            yield f"auroc_adv{name}{suffix}", 100 * roc_auc_score(np.repeat([1, 0], group.sum()), told)
        wrong = ~np.concatenate([clean.correct, here.correct])
        yield f"auroc_error_mixed{suffix}", 100 * roc_auc_score(wrong, np.concatenate([before, after]))
    sure, wrong = np.concatenate([clean.p_max, here.p_max]), ~np.concatenate([clean.correct, here.correct])
    yield "aurc_mixed", 100 * area(sure, wrong)


def _class_split(clean: Seen, here: Seen, attack: str) -> Iterator[tuple[str, float]]:
    """Yield the means over five halves of the classes, of which the first has texts."""
    classes, found = clean.logits.shape[1], {}
    for i in range(5):
        order = np.random.default_rng(seed_for(0, "ood split", classes, i)).permutation(classes)
        held = np.sort(order[: (classes + 1) // 2])
        inside = np.isin(clean.label, held)
        before, after = (scores_of(seen.cosines[:, held], seen.logits[:, held]) for seen in (clean, here))
        sides = (
            {"": (before, before)} if attack == "none" else {"_adv_id": (after, before), "_adv_ood": (before, after)}
        )
        for side, (ids, oods) in sides.items():
            for score in before:
                for measure, value in measures_of(ids[score][inside], oods[score][~inside]).items():
                    found.setdefault(f"ood_{measure}_{score}{side}", []).append(100 * value)
    yield from ((name, float(np.mean(values))) for name, values in found.items())


def _outside(folder: Path, every: dict[tuple[str, float], Seen]) -> Numbers:
    """Return the means over near and over far sets; of several attacks each image has its worst score."""
    rows = read(folder / "ood.parquet")
    unit, scale, bias = texts_of(folder, "set")

    def scores(role: str, of: str, condition: str) -> dict[str, Any]:
        own = [r["embedding"] for r in rows if (r["role"], r["set"], r["condition"]) == (role, of, condition)]
        cosines = np.array(own, np.float64) @ unit.T
        return scores_of(cosines, scale * cosines + bias)

    sets = list(dict.fromkeys((r["role"], r["set"]) for r in rows if r["role"] != "own"))
    detectors = list(dict.fromkeys(r["condition"] for r in rows if r["condition"] != "none"))
    eps = max(eps for _, eps in every)
    inside = {at: scores_of(seen.cosines, seen.logits) for (at, _), seen in every.items() if at != "worst"}
    inside |= {detector: scores("own", "report", detector) for detector in detectors}
    attacks = [name for name in inside if name != "none"]
    found: Numbers = {}
    for at in (*inside, "worst"):
        budget = 0.0 if at == "none" else eps
        hidden = detectors if at == "worst" else [at] if at in detectors else []
        for kind in ("near", "far"):
            sides: dict[str, tuple[list[str], list[str]]] = (
                {"": (["none"], ["none"])}
                if at == "none"
                else {
                    "_adv_id": (attacks if at == "worst" else [at], ["none"]),
                    **({"_adv_ood": (["none"], hidden)} if hidden else {}),
                }
            )
            for side, (ids, oods) in sides.items():
                for score in inside["none"]:
                    own = np.min([inside[name][score] for name in ids], axis=0)
                    told = [measures_of(own, np.max([scores(role, of, name)[score] for name in oods], axis=0))
                            for role, of in sets if role == kind]  # fmt: skip
                    for measure in told[0]:
                        value = 100 * float(np.mean([each[measure] for each in told]))
                        found["set", f"{kind}_{measure}_{score}{side}", at, budget] = value
    return found


def calibrated(folder: Path) -> dict[tuple[str, str], list[float]]:
    """Return, by metric and attack, draws of what a perfectly calibrated model would show."""
    seen = conditions(folder)
    return {
        (name, attack): draws
        for attack in ("none", "pgd")
        for (at, _), here in seen.items()
        if at == attack
        for name, draws in simulated(here.p_max, softmax(here.logits, axis=1)).items()
    }


def corrupted(folder: Path) -> Numbers:
    """Return the numbers under corruptions: of each, errors of each kind, and over all kinds."""
    rows = read(folder / "shifted.parquet")
    clean = np.mean([r["correct"] for r in read(folder / "samples.parquet") if r["condition"] == "none"])
    of: dict[str, Rows] = {}
    for row in rows:
        of.setdefault(row["condition"], []).append(row)
    kinds: dict[str, list[str]] = {}
    for name in of:
        if name.startswith("corruption-"):
            kinds.setdefault(name.rpartition("-")[0], []).append(name)
    found: Numbers = {}
    each = {
        name: {
            "accuracy": np.mean([r["correct"] for r in own]),
            "ece": error_of(np.array([r["p_max"] for r in own]), np.array([r["correct"] for r in own])),
        }
        for name, own in of.items()
    }
    wrong = {name: sum(not r["correct"] for r in own) for name, own in of.items()}
    errors = {
        kind: sum(wrong[n] for n in own) / sum(wrong[f"untouched-{n}"] for n in own) for kind, own in kinds.items()
    }
    for number in ("accuracy", "ece"):
        by_kind = {kind: np.mean([each[n][number] for n in own]) for kind, own in kinds.items()}
        found |= {("set", f"corrupted_{number}", n, 0.0): 100 * each[n][number] for own in kinds.values() for n in own}
        found["set", f"corrupted_{number}", "none", 0.0] = 100 * np.mean(list(by_kind.values()))
    found |= {("set", "corruption_error", kind, 0.0): 100 * value for kind, value in errors.items()}
    found["set", "corruption_error", "none", 0.0] = 100 * np.mean(list(errors.values()))
    whole = found["set", "corrupted_accuracy", "none", 0.0]
    found["set", "relative_corrupted_accuracy", "none", 0.0] = whole / clean
    return found


def factors(folder: Path) -> Numbers:
    """Return the profile of visual factors: of each level, of each factor over its levels, and over all factors."""
    right: dict[str, list[bool]] = {}
    for row in read(folder / "shifted.parquet"):
        name = row["condition"]
        if name.startswith("factor-"):
            right.setdefault(name, []).append(row["correct"])
            if name != "factor-none":
                right.setdefault(name.rpartition("-")[0], []).append(row["correct"])
    every = np.mean(right.pop("factor-none"))
    own = {name: float(np.mean(values)) for name, values in right.items()}
    found: Numbers = {}
    whole: dict[str, list[float]] = {}
    for name, value in own.items():
        numbers = {"factor_accuracy": 100 * value, "factor_gap": 100 * (value - every),
                   "factor_error_ratio": (1 - value) / (1 - every)}  # fmt: skip
        for metric, number in numbers.items():
            found["set", metric, name, 0.0] = number
            whole.setdefault(metric, []).extend([number] if name.count("-") == 1 else [])
    return found | {("set", metric, "none", 0.0): float(np.mean(values)) for metric, values in whole.items()}


def attention(folder: Path) -> Numbers:
    """Return means of the kept facts: of all images without attack, of the attacked ones under it."""
    rows, samples = read(folder / "attention.parquet"), read(folder / "samples.parquet")
    kinds = ("text", "complementary", "gradcam")
    by: dict[str, dict[str, dict[str, Any]]] = {}
    for row, sample in zip(rows, samples, strict=True):
        by.setdefault(row["condition"], {})[row["sample_id"]] = row | {
            "right": sample["correct"],
            "at": sample["margin"],
        }
    clean, eps = by["none"], max(s["eps"] for s in samples)
    attacks = [by[name] for name in by if name != "none"]
    by["worst"] = {i: min((a[i] for a in attacks), key=lambda row: (row["right"], row["at"])) for i in clean}
    found: Numbers = {("set", "mask_share", "none", 0.0): 100 * np.nanmean([r["mask_share"] for r in clean.values()])}
    for attack, own in by.items():
        ids = [i for i in own if attack == "none" or clean[i]["right"]]
        budget = 0.0 if attack == "none" else eps
        for kind in kinds:
            for fact in ("soft_iou", "pointing", "energy", *(() if attack == "none" else ("drift", "kept"))):
                mean = np.nanmean([own[i][f"{fact}_{kind}"] for i in ids])
                found["set", f"{fact}_{kind}", attack, budget] = 100 * float(mean)
            if attack != "none":
                moved = np.nanmean([own[i][f"soft_iou_{kind}"] - clean[i][f"soft_iou_{kind}"] for i in ids])
                found["set", f"soft_iou_change_{kind}", attack, budget] = 100 * float(moved)
    return found


def detection(folder: Path) -> Numbers:
    """Return detection by crops: shares of crops, the gated IoU by loops, and the average precision by pycocotools."""
    boxes, crops = read(folder / "boxes.parquet"), read(folder / "crops.parquet")
    objects, proposals = ([b for b in boxes if b["role"] == role] for role in ("object", "proposal"))
    seen = {(c["sample_id"], c["condition"]): c for c in crops}
    budgets = {c["condition"]: c["eps"] for c in crops}
    worst = {o["sample_id"]: all(seen[o["sample_id"], a]["correct"] for a in budgets if a != "none") for o in objects}
    found: Numbers = {}
    for attack in (*budgets, "worst"):
        eps = max(budgets.values()) if attack == "worst" else budgets[attack]
        sizes = {"": (0, np.inf), "_small": (0, 32**2), "_medium": (32**2, 96**2), "_large": (96**2, np.inf)}
        for size, (low, high) in sizes.items():
            own = [o["sample_id"] for o in objects if low <= (o["x1"] - o["x0"]) * (o["y1"] - o["y0"]) < high]
            right = [worst[i] if attack == "worst" else seen[i, attack]["correct"] for i in own]
            found["scenes", f"crop_accuracy{size}", attack, eps] = 100 * float(np.mean(right))
        if attack != "worst":
            named = [p | {"pred": seen[p["sample_id"], attack]["pred"], "sure": seen[p["sample_id"], attack]["p_max"]}
                     for p in proposals]  # fmt: skip
            best = [max((_iou(o, p) for p in named if (p["image"], p["pred"]) == (o["image"], o["label"])), default=0.0)
                    for o in objects]  # fmt: skip
            found["scenes", "class_gated_iou", attack, eps] = 100 * float(np.mean(best))
            found["scenes", "map", attack, eps] = 100 * _average_precision(objects, named)
    return found


def _iou(a: dict[str, Any], b: dict[str, Any]) -> float:
    across, down = (min(a[f"{x}1"], b[f"{x}1"]) - max(a[f"{x}0"], b[f"{x}0"]) for x in "xy")
    both = max(across, 0) * max(down, 0)
    one, other = ((box["x1"] - box["x0"]) * (box["y1"] - box["y0"]) for box in (a, b))
    return float(both / (one + other - both))


def _average_precision(objects: Rows, named: Rows) -> float:
    def flat(box: dict[str, Any]) -> list[float]:
        return [box["x0"], box["y0"], box["x1"] - box["x0"], box["y1"] - box["y0"]]

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {}, "images": [{"id": i} for i in sorted({o["image"] for o in objects})],
            "categories": [{"id": k} for k in range(100)],
            "annotations": [
                {"id": i + 1, "image_id": o["image"], "category_id": o["label"], "bbox": flat(o), "iscrowd": 0,
                 "area": flat(o)[2] * flat(o)[3]}
                for i, o in enumerate(objects)
            ],
        }  # fmt: skip
        truth.createIndex()
        rows = [{"image_id": p["image"], "category_id": p["pred"], "bbox": flat(p), "score": p["score"] * p["sure"]}
                for p in named]  # fmt: skip
        judged = COCOeval(truth, truth.loadRes(rows), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0])
