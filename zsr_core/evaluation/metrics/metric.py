"""What a metric is, and what it reads: the images of one task under one condition, as columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from zsr_core.codec import require
from zsr_core.evaluation.metrics.boxed import Boxed
from zsr_core.evaluation.metrics.outputs import Outputs
from zsr_core.evaluation.metrics.ranks import Gallery
from zsr_core.evaluation.metrics.shifts import Corruptions, Profile
from zsr_core.names import OodKind

Unit = Literal["%", "points", "nats", ""]
Reads = Literal["records", "embeddings", "corruptions", "factors", "retrieval", "attention", "detection"]
# Without attack; under each attack on the classifier; per image the worst attack; under each attack on a detector;
# under each kind of corruption at each severity; under each kind at all its severities; where each visual factor shows;
# then what retrieval is measured under.
Condition = Literal[
    "clean", "attack", "worst", "detector", "corruption", "kind", "factor", "query", "hiding", "gallery", "distractor",
    "embedding", "noise", "token_query", "token_hiding",
]  # fmt: skip
IntervalKind = Literal["wilson", "bootstrap", "none"]
Ends = tuple[float, float]  # low, high

FACTORS: dict[Unit, float] = {"%": 100.0, "points": 100.0, "nats": 1.0, "": 1.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class OodSet:
    """The M images of one out-of-distribution set in front of one task's texts; they have no labels."""

    name: str
    kind: OodKind
    clean: Outputs
    attacked: tuple[Outputs, ...] = ()  # the same images under an attack on the detector, or under each of several


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """What a detector of out-of-distribution images is measured on, under one condition."""

    sets: tuple[OodSet, ...]
    inside: tuple[Outputs, ...]  # the task's own images under this condition, or under each of several attacks


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """One task's images under one condition, N of them; every column is [N]."""

    sample_id: npt.NDArray[np.object_]
    label: npt.NDArray[np.int64]
    pred: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]  # under this condition; an image that is wrong without attack is wrong under each
    p_max: npt.NDArray[np.float64]  # largest softmax probability
    entropy: npt.NDArray[np.float64]  # of the softmax, in nats
    margin: npt.NDArray[np.float64]  # logit of the true class minus the largest other logit
    clean: Images | None = None  # the same images without attack, in the same order; None if these are without attack
    outputs: Outputs | None = None  # embeddings and logits; None where they were not kept
    attention: npt.NDArray[np.float32] | None = None  # [N, len(ATTENTION_COLUMNS)]; None where it was not measured
    source: Images | None = None  # clean images of the training set, of the selection split, with outputs
    ood: Detection | None = None  # what a detector is measured on; None without out-of-distribution sets
    corruptions: Corruptions | None = None  # the same images under corruptions; None where there are none
    factors: Profile | None = None  # None where no factor was asked for
    gallery: Gallery | None = None  # of an image-text set, whose other columns are blank
    boxes: Boxed | None = None  # where these images are crops of objects; None of any other set

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def kept(self) -> Outputs:
        """The outputs, for a metric that reads embeddings: it is called on no images without them."""
        assert self.outputs is not None, "measure() does not call a metric that reads embeddings without them"
        return self.outputs

    @property
    def corrupted(self) -> Corruptions:
        """The corruptions, for a metric that reads them: it is called on no images without them."""
        assert self.corruptions is not None, "measure() does not call a metric that reads corruptions without them"
        return self.corruptions

    @property
    def profile(self) -> Profile:
        """The factors, for a metric that reads them: it is called on no images without them."""
        assert self.factors is not None, "measure() does not call a metric that reads factors without them"
        return self.factors

    @property
    def boxed(self) -> Boxed:
        """The boxes, for a metric that reads detection: it is called on no images without them."""
        assert self.boxes is not None, "measured of crops of objects alone"
        return self.boxes

    @property
    def looked(self) -> npt.NDArray[np.float32]:
        """The attention columns, for a metric that reads them: it is called on no images without them."""
        assert self.attention is not None, "measure() does not call a metric that reads attention without it"
        return self.attention

    def take(self, rows: npt.NDArray[np.intp]) -> Images:
        """Return the images at ``rows``, which may repeat; those without attack and under corruptions follow.

        A profile of factors is of other images, and stays as it is.
        """
        return Images(
            sample_id=self.sample_id[rows], label=self.label[rows], pred=self.pred[rows], correct=self.correct[rows],
            p_max=self.p_max[rows], entropy=self.entropy[rows], margin=self.margin[rows],
            clean=None if self.clean is None else self.clean.take(rows),
            outputs=None if self.outputs is None else self.outputs.take(rows), source=self.source,
            corruptions=None if self.corruptions is None else self.corruptions.take(rows), factors=self.factors,
            attention=None if self.attention is None else self.attention[rows],
        )  # fmt: skip


def always_defined(images: Images) -> str:
    """Return "", because the metric has a value for any images."""
    return ""


Value = Callable[[Images], float | None]
Interval = IntervalKind | Callable[[Images, float], Ends | None]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of the table of metrics.

    Attributes:
        name: how measurements and scores name it, such as "robust".
        title: how tables and figures name it, such as "robust accuracy".
        unit: of the reported number. Where it is "%" or "points", ``value`` and ``interval`` return fractions, which
            :func:`measure` reports times 100.
        higher_is_better: whether the larger of two numbers is the better one.
        conditions: what it is measured under.
        value: a pure function; it returns None where the metric is undefined, never a neutral value.
        attacked: whether a doubt of the audit about robustness concerns it.
        reads: what ``value`` needs; one that reads embeddings has ``Images.outputs``, one that reads corruptions or
            factors has those, and it is undefined without them. One that reads retrieval has ``Images.gallery``, and is
            measured of sets of captions alone; one that reads detection of crops alone, with ``Images.boxes``. One
            that reads attention has ``Images.attention``.
        always: whether every trial measures it; one that does not is measured where it is asked for. One that reads
            corruptions or factors is measured by every trial that has them.
        interval: the 95 % interval over images. "wilson" is right only if ``value`` is a share of all images.
            "bootstrap" resamples the images. A function gets the images and the value and returns the ends, or None.
        undefined: returns why the metric has no value for these images, or "" if it has one.
        counted: how many images the value is of; by default all.
    """

    name: str
    title: str
    unit: Unit
    higher_is_better: bool
    conditions: tuple[Condition, ...]
    value: Value
    attacked: bool
    reads: Reads = "records"
    always: bool = True
    interval: Interval = "none"
    undefined: Callable[[Images], str] = always_defined
    counted: Callable[[Images], int] = len

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), "metric.name", self.name, "letters, digits and _, because scores name it")
        require(bool(self.conditions), f"metric {self.name}: conditions", self.conditions, "at least one condition")

    @property
    def factor(self) -> float:
        """What ``value`` is multiplied by when it is reported in ``unit``."""
        return FACTORS[self.unit]
