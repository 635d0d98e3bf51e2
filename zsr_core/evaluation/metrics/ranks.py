"""Ranks of an image-text set from unit embeddings: pure functions, chunked, so that no whole similarity is held.

A rank is 1 plus the number of negatives that score at least as high as the match: ties count against the model, because
an encoder that maps everything to one point would otherwise be right about everything. Scores that differ by less than
:data:`TIE` are ties, because a sum's rounding depends on where in a matrix product it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zsr_core.data.shifts.kinds import Cell
from zsr_core.evaluation.metrics.outputs import Floats, Rows, Singles

TIE = 1e-12  # ours: of cosines in double, whose rounding is about 1e-16 a term
AT_ONCE = 2**24  # numbers of a similarity that are held at a time: 128 MB of doubles


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """N images and N_t captions of one set under one condition, as unit embeddings.

    ``seen`` are the images as the condition shows them, and ``said`` the captions as it asks them; None where they are
    as they are. ``clean`` is the set without attack, of a gallery that has a condition. ``radius`` is the condition's
    budget in the embedding space. ``forged`` [N, M, D] are attacked copies of other images, each pushed to the first
    caption of image n, and ``distractors`` [N, M] the images that they are copies of. ``corrupted`` is the set with all
    images under common corruptions.
    """

    images: Singles  # [N, D]
    texts: Singles  # [N_t, D]
    owner: Rows  # [N_t] the image of each caption; it rises
    seen: Singles | None = None
    said: Singles | None = None
    clean: Gallery | None = None
    radius: float = 0.0
    forged: Singles | None = None
    distractors: Rows | None = None
    corrupted: tuple[tuple[Cell, Gallery], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def before(self) -> Gallery:
        """The set without attack."""
        assert self.clean is not None, "a condition's gallery has the clean one"
        return self.clean

    @property
    def shown(self) -> Singles:
        """[N, D], the images under this condition."""
        return self.images if self.seen is None else self.seen

    @cached_property
    def first(self) -> Rows:
        """[N], the first caption of each image."""
        return np.searchsorted(self.owner, np.arange(len(self.images)))

    @cached_property
    def i2t(self) -> Rows:
        """[N], the rank of each image's best caption among the captions of other images."""
        return image_to_text(self.shown, self.texts, self.owner)

    @cached_property
    def t2i(self) -> Rows:
        """[N_t], the rank of each caption's image, all images under this condition."""
        return text_to_image(self.shown, self.shown, self.texts, self.owner)

    @cached_property
    def t2i_hidden(self) -> Rows:
        """[N_t], the rank of each caption's image, it alone under this condition and all others without attack."""
        return text_to_image(self.images, self.shown, self.texts, self.owner)

    @cached_property
    def t2i_said(self) -> Rows:
        """[N_t], the rank of each caption's image, the captions under this condition and the images without."""
        assert self.said is not None, "measured where captions are moved"
        return text_to_image(self.images, self.images, self.said, self.owner)

    @cached_property
    def i2t_radius(self) -> Floats:
        """[N], see :func:`image_radius`."""
        return image_radius(self.shown, self.texts, self.owner)

    @cached_property
    def t2i_radius(self) -> Floats:
        """[N_t], see :func:`text_radius`."""
        return text_radius(self.shown, self.texts, self.owner)

    @cached_property
    def distracted(self) -> Rows:
        """[N], 1 where a forged copy scores at least as high as every untouched image for image n's first caption."""
        assert self.forged is not None, "measured under the distractor attack alone"
        assert self.distractors is not None, "forged copies are of images"
        query = self.texts[self.first].astype(np.float64)  # [N, D]
        pushed = np.einsum("nd,nmd->nm", query, self.forged.astype(np.float64)).max(axis=1)
        scores = query @ self.images.astype(np.float64).T  # [N, N]
        np.put_along_axis(scores, self.distractors, -np.inf, axis=1)
        return np.asarray(pushed >= scores.max(axis=1) - TIE, np.intp)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, AT_ONCE // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def image_to_text(images: Singles, texts: Singles, owner: Rows) -> Rows:
    """Return [N]: 1 + the number of captions of other images that score at least as high as the image's best own.

    Args:
        images: [N, D] unit embeddings.
        texts: [N_t, D] unit embeddings.
        owner: [N_t], the image of each caption, rising; every image has one.
    """
    of_text = texts.astype(np.float64)
    ranks = np.empty(len(images), np.intp)
    for block in _blocks(len(images), len(texts)):
        scores = images[block].astype(np.float64) @ of_text.T  # [b, N_t]
        own = owner[None, :] == np.arange(block.start, block.stop)[:, None]
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[block] = 1 + ((scores >= best - TIE) & ~own).sum(axis=1)
    return ranks


def text_to_image(others: Singles, own: Singles, texts: Singles, owner: Rows) -> Rows:
    """Return [N_t]: 1 + the number of ``others`` [N, D] that score at least as high as the caption's image in ``own``.

    ``own`` [N, D] and ``others`` are the same images, under the same condition or another; an image is no other of
    itself.
    """
    images = others.astype(np.float64)
    ranks = np.empty(len(texts), np.intp)
    for block in _blocks(len(texts), len(images)):
        queries, at = texts[block].astype(np.float64), owner[block]
        scores = queries @ images.T  # [b, N]
        same = own is others
        match = scores[np.arange(len(at)), at] if same else np.einsum("bd,bd->b", queries, own[at].astype(np.float64))
        scores[np.arange(len(at)), at] = -np.inf
        ranks[block] = 1 + (scores >= match[:, None] - TIE).sum(axis=1)
    return ranks


def image_radius(images: Singles, texts: Singles, owner: Rows) -> Floats:
    """Return [N]: how far each image's embedding can move (l2) before a caption of another image may come first.

    With t_p its captions and t_j those of others it is max_p min_j <t_p - t_j, v> / |t_p - t_j|: exact for one caption
    an image, a lower bound for several. It is 0 or below where the image is not first without any move. Bringing
    v + d back to norm 1 changes no order.
    """
    of_text = texts.astype(np.float64)
    first = np.searchsorted(owner, np.arange(len(images) + 1))
    radii = np.empty(len(images))
    for n, v in enumerate(images.astype(np.float64)):
        own = slice(first[n], first[n + 1])
        scores = of_text @ v
        gaps = scores[own, None] - scores[None, :]  # [P, N_t]
        apart = np.sqrt(np.maximum(2 - 2 * of_text[own] @ of_text.T, 0))
        each = _distance(gaps, apart)
        each[:, own] = np.inf
        radii[n] = each.min(axis=1).max()
    return radii


def text_radius(images: Singles, texts: Singles, owner: Rows) -> Floats:
    """Return [N_t]: how far each caption's embedding can move (l2) before another image comes first; exact.

    With v_i its image and v_k the others it is min_k <v_i - v_k, t> / |v_i - v_k|.
    """
    of_image = images.astype(np.float64)
    radii = np.empty(len(texts))
    for block in _blocks(len(texts), len(images)):
        at, rows = owner[block], np.arange(len(owner[block]))
        scores = texts[block].astype(np.float64) @ of_image.T  # [b, N]
        apart = np.sqrt(np.maximum(2 - 2 * of_image[at] @ of_image.T, 0))
        each = _distance(scores[rows, at][:, None] - scores, apart)
        each[rows, at] = np.inf
        radii[block] = each.min(axis=1)
    return radii


def _distance(gaps: Floats, apart: Floats) -> Floats:
    """Return gap / distance; 0 for a tie, also of two embeddings that are one point."""
    return np.where(np.abs(gaps) <= TIE, 0.0, gaps / np.maximum(apart, TIE))


def moved(unit: Singles, radius: float, noise: Floats) -> Singles:
    """Return unit embeddings [N, D] moved by ``radius`` along ``noise`` [N, D], and brought back to norm 1."""
    there = unit.astype(np.float64) + radius * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(there / np.linalg.norm(there, axis=1, keepdims=True), np.float32)
