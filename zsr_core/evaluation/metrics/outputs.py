"""What a model gave for images beyond their records: unit embeddings, and the class texts that make logits of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassTexts:
    """A task's class texts as the model used them: logits are ``scale * cosine + bias``."""

    unit: Singles  # [C, D], rows of norm 1
    classes: tuple[str, ...]
    scale: float
    bias: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What the model gave for N images of one task; derived columns are computed once, in double."""

    unit: Singles  # [N, D] unit image embeddings
    texts: ClassTexts

    def __len__(self) -> int:
        return len(self.unit)

    def take(self, rows: Rows) -> Outputs:
        """Return the outputs of the images at ``rows``, which may repeat."""
        return Taken(unit=self.unit, texts=self.texts, whole=self, rows=rows)

    def among(self, classes: Rows) -> Outputs:
        """Return the outputs in front of the texts of ``classes`` alone."""
        return Among(unit=self.unit, texts=self.texts, whole=self, of=classes)

    @cached_property
    def cosines(self) -> Floats:
        """[N, C], of images and class texts."""
        return self.unit.astype(np.float64) @ self.texts.unit.astype(np.float64).T

    @cached_property
    def logits(self) -> Floats:
        """[N, C]"""
        return self.texts.scale * self.cosines + self.texts.bias

    @cached_property
    def log_p(self) -> Floats:
        """[N, C], log of the softmax."""
        return log_softmax(self.logits)


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken(Outputs):
    """Rows of other outputs: a bootstrap takes thousands, so nothing is computed or copied before it is read."""

    whole: Outputs
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Rows) -> Outputs:
        """Return the outputs of the images at ``rows`` of these."""
        return Taken(unit=self.unit, texts=self.texts, whole=self.whole, rows=self.rows[rows])

    @cached_property
    def cosines(self) -> Floats:
        """[N, C], of images and class texts."""
        return self.whole.cosines[self.rows]

    @cached_property
    def logits(self) -> Floats:
        """[N, C]"""
        return self.whole.logits[self.rows]

    @cached_property
    def log_p(self) -> Floats:
        """[N, C], log of the softmax."""
        return self.whole.log_p[self.rows]


@dataclass(frozen=True, kw_only=True, eq=False)
class Among(Outputs):
    """Columns of other outputs: a class split takes half of the classes, so no cosine is computed again."""

    whole: Outputs
    of: Rows  # [C], classes of the other outputs

    @cached_property
    def cosines(self) -> Floats:
        """[N, C], of images and class texts."""
        return self.whole.cosines[:, self.of]

    @cached_property
    def logits(self) -> Floats:
        """[N, C]"""
        return self.whole.logits[:, self.of]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tempered(Outputs):
    """Other outputs with their logits divided by a temperature."""

    whole: Outputs
    temperature: float

    @cached_property
    def cosines(self) -> Floats:
        """[N, C], of images and class texts."""
        return self.whole.cosines

    @cached_property
    def logits(self) -> Floats:
        """[N, C]"""
        return self.whole.logits / self.temperature


def logsumexp(values: Floats) -> Floats:
    """Return [N] for values [N, C]."""
    top = values.max(axis=1)
    return np.asarray(top + np.log(np.exp(values - top[:, None]).sum(axis=1)), dtype=np.float64)


def log_softmax(logits: Floats) -> Floats:
    """Return [N, C] for logits [N, C]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p
