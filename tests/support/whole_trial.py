"""The files of a trial that has everything: a made model on one set, attacked, corrupted, on captions and in boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zsr_core.data.formats.boxes import Boxes
from zsr_core.evaluation.attention import write_attention
from zsr_core.evaluation.detection import write_ood
from zsr_core.evaluation.embeddings import SHIFTED, Evaluated, write_embeddings
from zsr_core.evaluation.metrics.outputs import ClassTexts
from zsr_core.evaluation.retrieval.gather import Retrieved
from zsr_core.evaluation.retrieval.store import write_retrieved
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.evaluation.scenes.store import Detected, write_detected
from zsr_core.records import ATTENTION_COLUMNS, SampleRecord, write_samples

N, CLASSES, WIDTH, SCALE, EPS = 120, 6, 10, 9.0, 1 / 255
ATTACKS = ("pgd", "fab")
DETECTORS = ("detect-msp", "detect-mcm")
SETS = (("near", "close", 40), ("far", "noise", 50), ("far", "dots", 30))
SUITE = RetrievalSuite(radii=(0.1, 0.3))
CELLS = ("corruption-fog-1", "corruption-fog-4", "corruption-snow-2")
LEVELS = ("factor-colour-1", "factor-colour-2", "factor-size-1")
TEXTS = ClassTexts(unit=np.eye(CLASSES, WIDTH, dtype=np.float32), classes=tuple("abcdef"), scale=SCALE)


def unit(rows: Any) -> Any:
    """Return rows of norm 1 in single precision."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def moved(units: Any, random: np.random.Generator, by: float) -> Any:
    """Return unit rows moved at random."""
    return unit(units + by * random.normal(size=units.shape))


def records(condition: str, eps: float, units: Any, labels: Any, right: Any, **changes: Any) -> list[SampleRecord]:
    """Return a record of each image; one that is not ``right`` without attack is never right."""
    logits = SCALE * units.astype(float) @ TEXTS.unit.T.astype(float)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    facts: dict[str, Any] = {
        "trial_id": "t", "weights_sha": "w", "task": "set", "split": "report", "attack_id": condition, "ran": "",
        "stage": "", "norm": "linf", "threat_space": "model_input", "linf": eps, "l2": 0.0, "queries": 1,
    }  # fmt: skip
    return [
        SampleRecord(
            **{**facts, "sample_id": str(i), **changes}, condition=condition, eps=eps, label=int(label),
            pred=int(p[i].argmax()), correct=bool(right[i] and p[i].argmax() == label), p_max=float(p[i].max()),
            entropy=float(-(p[i] * np.log(p[i])).sum()), embedding=units[i].tobytes(),
            margin=float(logits[i, label] - np.delete(logits[i], label).max()),
        )
        for i, label in enumerate(labels)
    ]  # fmt: skip


def write_everything(folder: Path) -> None:
    """Write every file of the trial into ``folder``."""
    random = np.random.default_rng(3)
    labels = random.integers(CLASSES, size=N)
    clean = moved(TEXTS.unit[labels], random, 0.28)
    every = np.ones(N, bool)
    own = records("none", 0.0, clean, labels, every)
    right = np.array([r.correct for r in own])
    for attack in ATTACKS:
        away = unit(clean - 0.9 * random.random((N, 1)) * TEXTS.unit[labels] + 0.1 * random.normal(size=clean.shape))
        own += records(attack, EPS, np.where(right[:, None], away, clean), labels, right)
    own = [_looked(record, random) for record in own]
    others = random.integers(CLASSES, size=80)
    source = records("none", 0.0, moved(TEXTS.unit[others], random, 0.4), others, np.ones(80, bool), split="selection",
                     task="source")  # fmt: skip
    source = [replace(record, sample_id=f"s{record.sample_id}") for record in source]
    texts = {"set": TEXTS, "source": replace(TEXTS, unit=unit(TEXTS.unit + 0.05))}
    write_samples(folder / "samples.parquet", own)
    write_embeddings(folder, Evaluated(records=own, texts=texts, source=source))
    write_attention(folder, own)
    write_ood(folder, _outside(clean, labels, random))
    write_samples(folder / SHIFTED, _shifted(clean, labels, random))
    write_retrieved(folder, [_retrieved(random)])
    write_detected(folder, _detected(random))


def _looked(record: SampleRecord, random: np.random.Generator) -> SampleRecord:
    facts = random.random(len(ATTENTION_COLUMNS)).astype("<f4")
    facts[random.random(len(facts)) < 0.1] = np.nan  # an image without a mask, a constant map
    return replace(record, attention=facts.tobytes())


def _outside(clean: Any, labels: Any, random: np.random.Generator) -> list[SampleRecord]:
    found: list[SampleRecord] = []
    bases = {name: unit(random.normal(size=(n, WIDTH))) for _, name, n in SETS}
    for kind, name, n in SETS:
        found += records("none", 0.0, bases[name], np.zeros(n, int), np.ones(n, bool), split=f"{kind}:{name}", task="")
    for detector in DETECTORS:
        found += records(detector, EPS, moved(clean, random, 0.4), labels, np.ones(N, bool), split="own:report")
        for kind, name, n in SETS:
            near = unit(bases[name] + 0.5 * TEXTS.unit[random.integers(CLASSES, size=n)])
            found += records(detector, EPS, near, np.zeros(n, int), np.ones(n, bool), split=f"{kind}:{name}")
    return found


def _shifted(clean: Any, labels: Any, random: np.random.Generator) -> list[SampleRecord]:
    found: list[SampleRecord] = []
    for i, cell in enumerate(CELLS):
        for name, by in ((cell, 0.2 + 0.1 * i), (f"untouched-{cell}", 0.35)):
            found += records(name, 0.0, moved(clean, random, by), labels, np.ones(N, bool))
    scenes = moved(TEXTS.unit[labels], random, 0.3)
    found += records("factor-none", 0.0, scenes, labels, np.ones(N, bool))
    for name in LEVELS:
        found += records(name, 0.0, moved(scenes, random, 0.35), labels, np.ones(N, bool))
    return found


def _retrieved(random: np.random.Generator) -> Retrieved:
    n, pushed = 25, 2
    images = unit(random.normal(size=(n, WIDTH)))
    owner = np.repeat(np.arange(n), random.integers(1, 4, n)).astype(np.intp)
    texts = moved(images[owner], random, 0.35)
    copies = {(name, EPS): moved(images, random, 0.4) for name in ("query", "hiding")}
    distractors = np.array([random.permutation(np.delete(np.arange(n), i))[:pushed] for i in range(n)])
    first = np.searchsorted(owner, np.arange(n))
    copies["distractor", EPS] = unit(images[distractors.ravel()] + 0.8 * np.repeat(texts[first], pushed, axis=0))
    copies |= {(name, 0.05): moved(images, random, 0.3) for name in ("token_query", "token_hiding")}
    copies |= {(cell, 0.0): moved(images, random, 0.3 + 0.1 * i) for i, cell in enumerate(CELLS)}
    return Retrieved(
        name="captions", split="report", trial_id="t", weights_sha="w", ids=tuple(map(str, range(n))),
        captions=tuple(map(str, owner)), owner=owner, images=images, texts=texts, copies=copies,
        distractors=distractors,
    )  # fmt: skip


def _detected(random: np.random.Generator) -> Detected:
    image = np.repeat(np.arange(5), 4)
    corner, sides = 100 * random.random((20, 2)), np.exp(random.uniform(np.log(15), np.log(150), (20, 2)))
    box = np.hstack([corner, corner + sides])
    label = random.integers(CLASSES, size=20)
    objects = Boxes(image=image, box=box, label=label, score=np.ones(20))
    near = np.tile(box, (2, 1)) + 6 * random.normal(size=(40, 4))
    proposals = Boxes(image=np.tile(image, 2), box=near, label=np.full(40, -1), score=random.random(40))
    named: dict[int, list[SampleRecord]] = {20: [], 40: []}
    for n, labels in ((20, label), (40, np.tile(label, 2))):
        base = moved(TEXTS.unit[labels], random, 0.25)
        for condition, by in (("none", 0.0), *((attack, 0.5) for attack in ATTACKS)):
            seen = moved(base, random, by) if by else base
            rows = records(condition, EPS if by else 0.0, seen, labels, np.ones(n, bool), task="scenes")
            named[n] += [replace(r, sample_id=f"{n}/{r.sample_id}") for r in rows]
    return Detected(
        name="scenes", objects=objects, proposals=proposals, objects_named=named[20], proposals_named=named[40]
    )
