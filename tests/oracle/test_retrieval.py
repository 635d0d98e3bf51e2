"""Retrieval against a naive computation, closed forms and planted answers."""

from __future__ import annotations

import numpy as np
import pytest

from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.metrics.intervals import interval_of
from zsr_core.evaluation.metrics.metric import Images
from zsr_core.evaluation.metrics.ranks import Gallery, image_radius, image_to_text, moved, text_radius, text_to_image
from zsr_core.evaluation.metrics.retrieval import RETRIEVAL


def _unit(random: np.random.Generator, *shape: int) -> np.ndarray:
    raw = random.standard_normal(shape)
    return np.asarray(raw / np.linalg.norm(raw, axis=-1, keepdims=True), np.float32)


def _gallery(seed: int = 0, n: int = 23, d: int = 6, noise: float = 0.6) -> Gallery:
    """Images, and captions near them, one to four each."""
    random = np.random.default_rng(seed)
    images = _unit(random, n, d)
    owner = np.repeat(np.arange(n), random.integers(1, 5, n))
    texts = images[owner] + noise * _unit(random, len(owner), d)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return Gallery(images=images, texts=texts.astype(np.float32), owner=owner)


def _images(gallery: Gallery) -> Images:
    n = len(gallery)
    zeros = np.zeros(n)
    return Images(
        sample_id=np.arange(n).astype(object), label=zeros.astype(np.int64), pred=zeros.astype(np.int64),
        correct=zeros.astype(bool), p_max=zeros, entropy=zeros, margin=zeros, gallery=gallery,
    )  # fmt: skip


def _value(name: str, gallery: Gallery) -> float:
    value = metric_named(name).value(_images(gallery))
    assert value is not None
    return value


def _naive(g: Gallery) -> tuple[list[int], list[int]]:
    scores = g.shown.astype(float) @ g.texts.astype(float).T
    i2t = []
    for i in range(len(g)):
        best = max(scores[i, j] for j in range(len(g.texts)) if g.owner[j] == i)
        i2t.append(1 + sum(scores[i, j] >= best for j in range(len(g.texts)) if g.owner[j] != i))
    t2i = [
        1 + sum(scores[k, j] >= scores[g.owner[j], j] for k in range(len(g)) if k != g.owner[j])
        for j in range(len(g.texts))
    ]
    return i2t, t2i


@pytest.mark.parametrize("seed", range(4))
def test_ranks_recalls_and_medians_are_those_of_a_naive_computation(seed: int) -> None:
    gallery = _gallery(seed)
    i2t, t2i = _naive(gallery)
    assert (gallery.i2t.tolist(), gallery.t2i.tolist()) == (i2t, t2i)
    recalls = [np.mean(np.array(ranks) <= k) for ranks in (i2t, t2i) for k in (1, 5, 10)]
    named = [_value(f"{way}_r{k}", gallery) for way in ("i2t", "t2i") for k in (1, 5, 10)]
    assert named == pytest.approx(recalls, abs=1e-12)
    assert _value("rsum", gallery) == pytest.approx(sum(recalls), abs=1e-12)
    assert _value("i2t_median_rank", gallery) == np.median(i2t)
    assert _value("t2i_median_rank", gallery) == np.median(t2i)


def test_small_blocks_give_the_same_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _gallery(5)
    before = (whole.i2t.tolist(), whole.t2i.tolist(), whole.t2i_radius.tolist())
    monkeypatch.setattr("zsr_core.evaluation.metrics.ranks.AT_ONCE", 1)
    again = _gallery(5)
    assert (again.i2t.tolist(), again.t2i.tolist()) == before[:2]
    assert again.t2i_radius.tolist() == pytest.approx(before[2], abs=1e-12)


def test_a_collapsed_encoder_is_never_right() -> None:
    one = _unit(np.random.default_rng(0), 1, 64)
    gallery = Gallery(images=one.repeat(20, 0), texts=one.repeat(100, 0), owner=np.repeat(np.arange(20), 5))
    assert [_value(name, gallery) for name in ("i2t_r1", "i2t_r10", "t2i_r1", "t2i_r10")] == [0, 0, 0, 0]
    assert set(gallery.t2i.tolist()) == {20}
    assert set(gallery.i2t.tolist()) == {96}
    assert _value("i2t_radius", gallery) == 0


def test_perfect_embeddings_are_always_right() -> None:
    eye = np.eye(12, dtype=np.float32)
    gallery = Gallery(images=eye, texts=eye.repeat(2, 0), owner=np.repeat(np.arange(12), 2))
    assert _value("rsum", gallery) == 6
    # <e_i - e_j, e_i> / |e_i - e_j| = 1 / sqrt(2)
    assert _value("i2t_radius", gallery) == pytest.approx(2**-0.5)
    assert _value("t2i_radius", gallery) == pytest.approx(2**-0.5)


@pytest.mark.parametrize("rho", [0.05, 0.1, 0.2, 0.4])
def test_the_certificate_of_one_caption_is_exact(rho: float) -> None:
    random = np.random.default_rng(3)
    images = _unit(random, 40, 8)
    texts = images + 0.5 * _unit(random, 40, 8)
    texts = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)
    owner = np.arange(40)
    radii = image_radius(images, texts, owner)
    t = texts.astype(float)
    for i, v in enumerate(images.astype(float)):
        broken = False
        for j in set(range(40)) - {i}:  # the closed-form attack moves straight to the border with each rival
            away = v + rho * (t[j] - t[i]) / np.linalg.norm(t[j] - t[i])
            broken |= bool(t[j] @ away >= t[i] @ away)
        assert broken == (radii[i] <= rho)
    assert text_radius(texts, images, owner) == pytest.approx(radii)  # the two ways are one formula


def test_no_move_within_the_certificate_breaks_an_image_of_several_captions() -> None:
    gallery, random = _gallery(7, n=15), np.random.default_rng(1)
    radii = gallery.i2t_radius
    assert (radii > 0).any()
    for _ in range(200):
        for i in np.flatnonzero(radii > 0):
            there = moved(gallery.images[[i]], 0.999 * radii[i], random.standard_normal((1, 6)))
            shown = gallery.images.copy()
            shown[i] = there[0]
            assert image_to_text(shown, gallery.texts, gallery.owner)[i] == 1


def test_the_curve_at_no_radius_is_the_recall() -> None:
    gallery = _gallery(2)
    at_zero = Gallery(images=gallery.images, texts=gallery.texts, owner=gallery.owner, clean=gallery, radius=0.0)
    assert _value("i2t_r1_embedding", at_zero) == _value("i2t_r1", gallery)
    assert _value("t2i_r1_embedding", at_zero) == _value("t2i_r1", gallery)


def test_the_mean_radius_is_the_area_under_the_curve() -> None:
    gallery = _gallery(4, n=12)
    step = 1e-4
    curve = [np.mean(gallery.t2i_radius > rho) for rho in np.arange(0, 2, step) + step / 2]
    assert _value("t2i_radius", gallery) == pytest.approx(sum(curve) * step, abs=1e-3)


def test_hiding_moves_only_a_captions_own_image_and_the_gallery_moves_all() -> None:
    gallery, random = _gallery(1, noise=0.2), np.random.default_rng(0)
    seen = _unit(random, len(gallery), 6)
    under = Gallery(images=gallery.images, texts=gallery.texts, owner=gallery.owner, clean=gallery, seen=seen)
    i2t, t2i = _naive(under)
    assert under.t2i.tolist() == t2i
    assert under.i2t.tolist() == i2t
    scores = gallery.images.astype(float) @ gallery.texts.astype(float).T
    for j, i in enumerate(gallery.owner):
        own = float(seen[i].astype(float) @ gallery.texts[j].astype(float))
        others = sum(scores[k, j] >= own for k in range(len(gallery)) if k != i)
        assert under.t2i_hidden[j] == 1 + others
    assert text_to_image(gallery.images, gallery.images, gallery.texts, gallery.owner).tolist() == gallery.t2i.tolist()


def test_drop_and_success_count_queries_that_were_right() -> None:
    eye = np.eye(4, dtype=np.float32)
    texts = eye.copy()
    texts[3] = eye[2]  # the caption of image 3 describes image 2: wrong without attack
    clean = Gallery(images=eye, texts=texts, owner=np.arange(4))
    seen = eye[[1, 0, 2, 3]]  # the attack swaps images 0 and 1
    under = Gallery(images=eye, texts=texts, owner=np.arange(4), clean=clean, seen=seen)
    assert _value("t2i_r1", clean) == 0.75
    assert _value("t2i_r1_gallery", under) == 0.25
    assert _value("t2i_drop_gallery", under) == 0.5
    assert _value("t2i_asr_gallery", under) == pytest.approx(2 / 3)


def test_a_distractor_counts_where_it_scores_as_high_as_the_best_other_image() -> None:
    eye = np.eye(4, dtype=np.float32)
    clean = Gallery(images=eye, texts=eye, owner=np.arange(4))
    forged = np.stack([eye[0], eye[0], eye[0], eye[3]])[:, None]  # pushed to captions 0 and 3 with success
    under = Gallery(
        images=eye,
        texts=eye,
        owner=np.arange(4),
        clean=clean,
        forged=forged,
        distractors=np.array([[1], [2], [1], [0]]),
    )
    assert under.distracted.tolist() == [1, 0, 0, 1]
    assert _value("t2i_distracted", under) == 0.5
    assert _value("t2i_asr_distractor", under) == 0.5


def test_intervals_draw_images_with_their_captions() -> None:
    """Ten captions of an image that all say the same carry no more evidence than one."""
    n, d = 30, 30
    eye = np.eye(n, d, dtype=np.float32)
    wrong = np.roll(eye, 1, axis=0)
    texts = np.concatenate([eye[: n // 2], wrong[n // 2 :]])  # half of the images are found
    one = Gallery(images=eye, texts=texts, owner=np.arange(n))
    ten = Gallery(images=eye, texts=texts.repeat(10, 0), owner=np.arange(n).repeat(10))
    metric = metric_named("t2i_r1")
    ends = [interval_of(metric, _images(g), _value("t2i_r1", g)) for g in (one, ten)]
    assert ends[0] is not None
    assert ends[1] == pytest.approx(ends[0])
    width = ends[0][1] - ends[0][0]
    assert width == pytest.approx(2 * 1.96 * (0.25 / n) ** 0.5, rel=0.15)  # of a share of 30 images


def test_what_says_nothing_is_undefined_with_its_reason() -> None:
    eye = np.eye(4, dtype=np.float32)
    four = _images(Gallery(images=eye, texts=eye, owner=np.arange(4)))
    one = _images(Gallery(images=eye[:1], texts=eye[:1], owner=np.arange(1)))
    assert metric_named("t2i_r1").undefined(four) == ""
    assert "whatever the model does" in metric_named("t2i_r5").undefined(four)
    assert "whatever the model does" in metric_named("rsum").undefined(four)
    assert "1 image" in metric_named("i2t_r1").undefined(one)
    wrong = Gallery(images=eye, texts=np.roll(eye, 1, axis=0), owner=np.arange(4))
    under = Gallery(images=eye, texts=wrong.texts, owner=np.arange(4), clean=wrong, seen=eye)
    assert metric_named("t2i_asr_gallery").undefined(_images(under)) == "no query is right without attack"


def test_each_row_is_measured_under_one_condition() -> None:
    assert all(len(metric.conditions) == 1 and metric.reads == "retrieval" for metric in RETRIEVAL)
    assert len({metric.name for metric in RETRIEVAL}) == len(RETRIEVAL)
