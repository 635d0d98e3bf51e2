"""Image-text retrieval from ``retrieval.parquet`` by whole matrices of cosines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from zsr_core.rng import seed_for

Numbers = dict[tuple[str, str, str, float], float]
RADII = (0.1, 0.3)
AT = (1, 5, 10)


def retrieval(folder: Path) -> Numbers:
    """Return every number of retrieval of the file's one set."""
    table = pq.read_table(folder / "retrieval.parquet").to_pylist()
    of: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for row in table:
        of.setdefault((row["condition"], row["eps"]), []).append(row)
    unit = {place: np.array([row["embedding"] for row in rows], np.float64) for place, rows in of.items()}
    texts, images = unit.pop(("caption", 0.0)), unit.pop(("none", 0.0))
    owner = np.array([row["image"] for row in of["caption", 0.0]])
    found: Numbers = {}

    def put(name: str, attack: str, eps: float, value: Any) -> None:
        found["captions", name, attack, eps] = float(value)

    i2t, t2i = image_ranks(images @ texts.T, owner), text_ranks(texts @ images.T, owner)
    clean = {"i2t": i2t, "t2i": t2i}
    for way, ranks in clean.items():
        for k in AT:
            put(f"{way}_r{k}", "none", 0.0, 100 * (ranks <= k).mean())
        put(f"{way}_median_rank", "none", 0.0, np.median(ranks))
    put("rsum", "none", 0.0, sum(100 * (ranks <= k).mean() for ranks in clean.values() for k in AT))
    radii = {"i2t": image_radii(images, texts, owner), "t2i": text_radii(images, texts, owner)}
    for way, each in radii.items():
        put(f"{way}_radius", "none", 0.0, np.maximum(each, 0).mean())
        for radius in RADII:
            put(f"{way}_r1_embedding", "embedding", radius, 100 * (each > radius).mean())
    for radius in RADII:
        put("i2t_r1_noise", "noise", radius, 100 * (image_ranks(pushed(images, radius) @ texts.T, owner) == 1).mean())
        put("t2i_r1_noise", "noise", radius, 100 * (text_ranks(pushed(texts, radius) @ images.T, owner) == 1).mean())
    kinds: dict[str, list[dict[str, Any]]] = {}
    for (condition, eps), seen in unit.items():
        if condition == "distractor":
            _distractor(put, eps, seen, of["distractor", eps], images, texts, owner, t2i)
        elif condition.startswith("corruption-"):
            own = {"i2t": image_ranks(seen @ texts.T, owner), "t2i": text_ranks(texts @ seen.T, owner)}
            shares = {(way, k): 100 * (ranks <= k).mean() for way, ranks in own.items() for k in AT}
            kinds.setdefault(condition.rpartition("-")[0], []).append(shares)
            for (way, k), share in shares.items():
                put(f"{way}_r{k}_corrupted", condition, 0.0, share)
        elif condition.endswith("query"):
            _attacked(put, "i2t", condition, eps, image_ranks(seen @ texts.T, owner), i2t)
        else:
            scores = texts @ images.T
            scores[np.arange(len(owner)), owner] = (texts * seen[owner]).sum(axis=1)
            _attacked(put, "t2i", condition, eps, text_ranks(scores, owner), t2i)
            if condition == "hiding":
                _attacked(put, "t2i", "gallery", eps, text_ranks(texts @ seen.T, owner), t2i)
    for way in clean:
        for k in AT:
            means = {kind: np.mean([shares[way, k] for shares in own]) for kind, own in kinds.items()}
            for kind, mean in means.items():
                put(f"{way}_r{k}_corrupted", kind, 0.0, mean)
            put(f"{way}_r{k}_corrupted", "none", 0.0, np.mean(list(means.values())))
        over, whole = (found["captions", f"{way}_r1{end}", "none", 0.0] for end in ("_corrupted", ""))
        put(f"{way}_relative_corrupted", "none", 0.0, 100 * over / whole)
    return found


def _attacked(put: Callable[..., None], way: str, condition: str, eps: float, ranks: Any, before: Any) -> None:
    for k in AT:
        put(f"{way}_r{k}_{condition}", condition, eps, 100 * (ranks <= k).mean())
    put(f"{way}_drop_{condition}", condition, eps, 100 * ((before == 1).mean() - (ranks == 1).mean()))
    put(f"{way}_asr_{condition}", condition, eps, 100 * (ranks[before == 1] > 1).mean())


def _distractor(
    put: Callable[..., None], eps: float, seen: Any, rows: Any, images: Any, texts: Any, owner: Any, before: Any
) -> None:
    """Each copy is pushed to the first caption of the image that its row names; the image that it copies is gone."""
    lost, right = [], []
    for query in range(len(images)):
        own = [i for i, row in enumerate(rows) if row["query"] == query]
        first = int(np.argmax(owner == query))
        left = [k for k in range(len(images)) if k not in {rows[i]["image"] for i in own}]
        lost.append(max(float(seen[i] @ texts[first]) for i in own) >= max(images[left] @ texts[first]) - 1e-12)
        right.append(before[first] == 1)
    put("t2i_distracted", "distractor", eps, 100 * np.mean(lost))
    put("t2i_asr_distractor", "distractor", eps, 100 * np.mean(np.array(lost)[np.array(right)]))


def image_ranks(scores: Any, owner: Any) -> Any:
    """Return 1 + the captions of others that score at least as high as an image's best own, of scores [N, T]."""
    own = owner[None, :] == np.arange(len(scores))[:, None]
    best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + ((scores >= best - 1e-12) & ~own).sum(axis=1)


def text_ranks(scores: Any, owner: Any) -> Any:
    """Return 1 + the other images that score at least as high as a caption's own, of scores [T, N]."""
    match = scores[np.arange(len(owner)), owner][:, None]
    others = np.arange(scores.shape[1])[None, :] != owner[:, None]
    return 1 + ((scores >= match - 1e-12) & others).sum(axis=1)


def image_radii(images: Any, texts: Any, owner: Any) -> Any:
    """Return the distance to the nearest bisector, of an image's best caption; rows count as of norm 1 exactly."""
    found = []
    for n, v in enumerate(images):
        own, others = texts[owner == n], texts[owner != n]
        found.append(max(min((p - q) @ v / np.sqrt(2 - 2 * p @ q) for q in others) for p in own))
    return np.array(found)


def text_radii(images: Any, texts: Any, owner: Any) -> Any:
    """Return the distance of a caption to the nearest bisector of its image and another."""
    return np.array([
        min((images[i] - images[k]) @ t / np.linalg.norm(images[i] - images[k]) for k in range(len(images)) if k != i)
        for t, i in zip(texts, owner, strict=True)
    ])  # fmt: skip


def pushed(unit: Any, radius: float) -> Any:
    """Return unit rows moved in the directions that every model is moved in."""
    noise = np.random.default_rng(seed_for(0, "retrieval noise", *unit.shape)).standard_normal(unit.shape)
    there = unit + radius * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return (there / np.linalg.norm(there, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
