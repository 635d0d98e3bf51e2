"""A model on images that differ from a suite's own in a known way: corrupted, or of one visual factor. No attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from zsr_core.codec import require
from zsr_core.data import DataRef, ImageSet, open_data
from zsr_core.data.miniature.factors import LEVELS
from zsr_core.data.open import taken
from zsr_core.data.pictures import Preprocessing
from zsr_core.data.shifts.annotations import read_annotations
from zsr_core.data.shifts.corrupt import chunks, corrupted, library
from zsr_core.data.shifts.factored import USUAL, factor_set, factors_of, unchanged_set
from zsr_core.data.shifts.kinds import Cell, cells_of
from zsr_core.data.shifts.made import made
from zsr_core.data.shifts.names import CORRUPTION, FACTOR, UNCHANGED, corruption_name, factor_name, untouched_name
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.events import AsOne, OnEvent, ignore
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank

Banks = Callable[[ImageSet], TextBank]


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A classifier and the class texts that go with it."""

    victim: Victim
    banks: Banks


@dataclass(frozen=True, kw_only=True, eq=False)
class How:
    """How records are made, whatever the images are; the fields are those of :func:`predict`."""

    image_size: int
    seed: int = 0
    trial_id: str = ""
    device: torch.device | str = "cpu"
    journal: Journal | None = None
    on_event: OnEvent = ignore
    shard: tuple[int, int] = (0, 1)
    trained_on: DataRef | None = None


def shifted_records(
    model: Model, untouched: Model, suite: EvalSuite, clean: Sequence[SampleRecord], how: How
) -> list[SampleRecord]:
    """Return the records under every corruption and of every factor that the suite names.

    Their ``condition`` is that of :mod:`zsr_core.data.shifts.names`, their budget 0. The untouched model has records
    under the corruptions too, unless it is the model itself.

    Args:
        clean: the suite's own records without attack, of which annotations pick those that show a factor.
    """
    records: list[SampleRecord] = []
    for ref in suite.tasks if suite.corruptions or suite.factors else ():
        images = _opened(ref, suite, how)
        if len(images.labels) and suite.corruptions:
            records += _corrupted(model, untouched, suite, ref, images, how)
        if ref.source == "miniature" and suite.factors:
            records += _factored(model, suite, images, how)
    return records + _annotated(suite, clean)


def check_shifts(suite: EvalSuite, image_size: int, trained_on: DataRef | None) -> None:
    """Raise ``ConfigError`` if corruptions cannot be made or read, or annotations are of none of the suite's images."""
    cells = cells_of(suite.corruptions)
    if cells and any(ref.corrupted is None for ref in suite.tasks):
        library()
    how = How(image_size=image_size, trained_on=trained_on)
    for ref in suite.tasks if cells else ():
        if ref.corrupted is not None:
            images = _opened(ref, suite, how)
            for cell in cells:
                _under(ref, images, cell, suite, image_size)
    if suite.annotations is None:
        return
    known = read_annotations(Path(suite.annotations))
    ids = [name for ref in suite.tasks for name in _opened(ref, suite, how).ids]
    some = any(known.name_of(name) is not None for name in ids)
    expected = f"images of the suite, such as {ids[0]}; it names others, such as {min(known.images)}"
    require(some, "annotations", suite.annotations, expected)


def shifted_images(suite: EvalSuite, images: int, ref: DataRef) -> dict[str, int]:
    """Return how many images a task of so many images adds under corruptions and factors, by what they are."""
    corrupt = len(cells_of(suite.corruptions)) * images
    groups = LEVELS * len(factors_of(suite.factors)) + 1 if suite.factors and ref.source == "miniature" else 0
    found = {CORRUPTION: corrupt, FACTOR: groups * (suite.n or USUAL)}
    return {name: n for name, n in found.items() if n}


def _opened(ref: DataRef, suite: EvalSuite, how: How) -> ImageSet:
    images = open_data(ref, suite.split, how.image_size, suite.n, space=suite.space, trained_on=how.trained_on)
    return _own(images, how)


def _own(images: ImageSet, how: How) -> ImageSet:
    k, of = how.shard
    return images if of == 1 else taken(images, range(k, len(images.labels), of))


def _corrupted(
    model: Model, untouched: Model, suite: EvalSuite, ref: DataRef, images: ImageSet, how: How
) -> list[SampleRecord]:
    same = untouched.victim.sha == model.victim.sha and model.victim.defended is None
    models = [model] if same else [model, untouched]
    cells = cells_of(suite.corruptions)
    progress = AsOne(on_event=how.on_event, condition=CORRUPTION, of=len(cells) * len(images.labels) * len(models))
    records: list[SampleRecord] = []
    for cell in cells:
        for chunk in chunks(images):
            changed = _under(ref, chunk, cell, suite, how.image_size)
            for each in models:
                condition = corruption_name(cell)
                named = condition if each is model else untouched_name(condition)
                records += _judged(each, changed, named, suite, how, progress)
    return records


def _under(ref: DataRef, images: ImageSet, cell: Cell, suite: EvalSuite, image_size: int) -> ImageSet:
    """Return the images under one corruption: from the set's folder of corrupted images, else made here."""
    if ref.corrupted is None:
        return corrupted(images, cell)
    size = ref.native if suite.space == "native" and ref.native else image_size
    return made(images, Path(ref.corrupted).expanduser(), cell, size, _preprocessing(ref))


def _preprocessing(ref: DataRef) -> Preprocessing:
    usual: Preprocessing = "resize256_crop224" if ref.row is None else ref.row.preprocessing
    return ref.preprocessing or usual


def _factored(model: Model, suite: EvalSuite, images: ImageSet, how: How) -> list[SampleRecord]:
    n, size, (k, of) = suite.n or USUAL, how.image_size, how.shard
    sets = {UNCHANGED: partial(unchanged_set, images, n, size)}
    sets |= {
        factor_name(factor, level): partial(factor_set, images, factor, level, n, size)
        for factor in factors_of(suite.factors)
        for level in range(1, LEVELS + 1)
    }
    mine = len(range(k, n, of))
    progress = AsOne(on_event=how.on_event, condition=FACTOR, of=mine * len(sets))
    return [
        record
        for name, rendered in sets.items()
        if mine
        for record in _judged(model, _own(rendered(), how), name, suite, how, progress)
    ]


def _annotated(suite: EvalSuite, clean: Sequence[SampleRecord]) -> list[SampleRecord]:
    """Return copies of the clean records of annotated images, and of those that show a factor one for each factor."""
    if suite.annotations is None:
        return []
    known = read_annotations(Path(suite.annotations))
    named = [(name, r) for r in clean if (name := known.name_of(r.sample_id)) is not None]
    shown = [(UNCHANGED, r) for _, r in named]
    shown += [
        (factor_name(factor), r) for factor, images in known.factors.items() for name, r in named if name in images
    ]
    return [replace(r, condition=condition, embedding=b"") for condition, r in shown]


def _judged(
    model: Model, images: ImageSet, condition: str, suite: EvalSuite, how: How, progress: AsOne
) -> list[SampleRecord]:
    records = predict(
        model.victim, images, model.banks(images), (), (), seed=how.seed, trial_id=how.trial_id,
        batch_size=suite.batch_size, device=how.device, threat_space=suite.space, journal=how.journal,
        on_event=progress,
    )  # fmt: skip
    progress.before += len(records)
    return [replace(record, condition=condition, norm=suite.norm) for record in records]
