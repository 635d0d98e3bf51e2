"""The difference between two numbers of the same images: a bootstrap over images, from what trials have kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from sweeps.engine.analysis.stats import Number
from sweeps.engine.study.folder import StudyFolder
from zsr_core.data import Split, zero_shot_names
from zsr_core.evaluation.embeddings import Evaluated, read_evaluated
from zsr_core.evaluation.measure import by_place
from zsr_core.evaluation.metrics import Images
from zsr_core.evaluation.metrics.calibration import ece
from zsr_core.evaluation.metrics.corrupted_retrieval import recall
from zsr_core.evaluation.metrics.intervals import DRAWS, percentiles
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.resampling import Statistic, mean_of
from zsr_core.evaluation.metrics.retrieval import gallery_of
from zsr_core.evaluation.metrics.temperature import tempered
from zsr_core.evaluation.retrieval.measure import gallery_images
from zsr_core.rng import seed_for
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.numbers import source_name

Side = tuple[str, str]  # a row's label, a score
BySet = Mapping[str, Images]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a score is computed of resampled images: of which images without attack, and by what."""

    images: Callable[[TrialConfig, Evaluated], BySet]
    statistic: Statistic


def _tasks(config: TrialConfig, evaluated: Evaluated) -> BySet:
    """Return the images of the zero-shot sets without attack."""
    clean = [record for record in evaluated.records if record.condition == "none"]
    names = zero_shot_names(config.eval_suite.tasks, config.train_data)
    places = by_place(clean, evaluated.texts or None, evaluated.source)
    return {task: images for (task, _, _), images in places.items() if task in names}


def _at_source(config: TrialConfig, evaluated: Evaluated) -> BySet:
    """Return those images as the model gives them at the source's temperature; nothing where there is none."""
    found = {task: tempered(images, "source") for task, images in _tasks(config, evaluated).items()}
    return {task: images for task, images in found.items() if images is not None}


def _captions(config: TrialConfig, evaluated: Evaluated) -> BySet:
    return {one.name: gallery_images(one) for one in evaluated.retrieved}


def _accuracy(images: Images, weights: Floats) -> Floats:
    return mean_of(images.correct.astype(np.float64), weights)


def _text_to_image(images: Images, weights: Floats) -> Floats:
    return recall(gallery_of(images), "t2i", 1, weights)


READINGS: Mapping[str, Reading] = {
    "clean": Reading(images=_tasks, statistic=_accuracy),
    "ece": Reading(images=_tasks, statistic=ece),
    "ece_source_t": Reading(images=_at_source, statistic=ece),
    "t2i_r1": Reading(images=_captions, statistic=_text_to_image),
}


def paired_gap(folder: StudyFolder, split: Split, a: Side, b: Side) -> Number | None:
    """Return score ``a`` minus score ``b`` in percent, with its interval over images; None where it cannot be paired.

    It can be where trials of both rows have kept what the scores read, of the same images. Sets are resampled
    independently, and seeds that both rows have are averaged.
    """
    own, other = (_by_seed(folder, split, side) for side in (a, b))
    shared = [seed for seed in own if seed in other]
    pairs = [(own[seed], other[seed]) for seed in shared]
    if not pairs or not all(_same(*pair) for pair in pairs):
        return None
    first, second = READINGS[a[1]].statistic, READINGS[b[1]].statistic
    values: list[Floats] = []
    drawn: list[Floats] = []
    for one, another in pairs:
        for name, images in one.items():
            for weights, into in ((np.ones((1, len(images))), values), (_draws(name, len(images)), drawn)):
                into.append(first(images, weights) - second(another[name], weights))
    value, draws = 100 * np.mean(values), 100 * np.mean(drawn, axis=0)
    ends = percentiles(draws[np.isfinite(draws)], DRAWS)
    low, high = (None, None) if ends is None else ends
    return Number(value=float(value), low=low, high=high)


@lru_cache(maxsize=64)
def _draws(name: str, n: int) -> Floats:
    """Return [R, n], how often each draw holds each image of a set; the same for all rows, other for other sets."""
    random = np.random.default_rng(seed_for(0, "paired", name, n))
    return random.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)


def _by_seed(folder: StudyFolder, split: Split, side: Side) -> dict[int, BySet]:
    """Return a row's images by seed and set, of the seeds that have kept what the score reads."""
    label, score = side
    row = next((row for row in folder.study.rows(split=split) if row.cell == label), None)
    found: dict[int, BySet] = {}
    for trial in () if row is None or score not in READINGS else row.trials:
        place = folder.trial_path(trial.trial_id)
        if folder.is_done(trial) and (place / "samples.parquet").is_file():
            config = folder.results[trial.trial_id].config
            evaluated = folder.once(("evaluated", trial.trial_id), partial(read_evaluated, place, source_name(config)))
            make = partial(READINGS[score].images, config, evaluated)
            images = folder.once(("paired", trial.trial_id, score), make)
            found |= {trial.seed: images} if images else {}
    return found


def _same(one: BySet, other: BySet) -> bool:
    """Return whether both are of the same images of the same sets."""
    alike = one.keys() == other.keys()
    return alike and all(np.array_equal(images.sample_id, other[name].sample_id) for name, images in one.items())
