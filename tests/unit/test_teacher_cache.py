"""The frozen teacher on disk: equal to a live one, built once, named by all that shapes it."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from zsr_core.methods import TgaZsr
from zsr_core.model.tower import ImageTower
from zsr_core.training import teacher_cache as module
from zsr_core.training.teacher_cache import cache_key, teacher_cache


def test_it_holds_what_a_live_teacher_says(tiny: Any, tmp_path: Path) -> None:
    clip, images = tiny.clip(), tiny.images(12)
    cache = teacher_cache(clip.tower, clip.sha, images, tmp_path, batch_size=5)
    assert cache is not None
    rows = torch.tensor([7, 0, 11])
    live = clip.tower.features(images.pixels(rows.tolist()).float() / 255)
    kept = cache.features(rows, "cpu")
    torch.testing.assert_close(kept.embedding, live.embedding, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(kept.patches(), live.patches(), rtol=1e-5, atol=1e-6)
    assert kept.grid == live.grid
    with pytest.raises(ValueError, match="no inner layers"):
        kept.last_norm()


def test_losses_are_the_same_with_and_without_it(tiny: Any, trainable: Any, tmp_path: Path) -> None:
    clip, images = tiny.clip(), tiny.images(6)
    cache = teacher_cache(clip.tower, clip.sha, images, tmp_path)
    assert cache is not None
    rows = torch.tensor([4, 1, 2])
    x = images.pixels(rows.tolist()).float() / 255
    live = tiny.views(trainable(tiny.tower(seed=2)), clip.tower, clean=x, labels=images.labels[rows])
    read = dataclasses.replace(live, cached_teacher=lambda: cache.features(rows, "cpu"))
    a, b = TgaZsr().loss(live), TgaZsr().loss(read)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)


def test_a_second_call_encodes_nothing(tiny: Any, tmp_path: Path) -> None:
    clip, images = tiny.clip(), tiny.images(6)
    teacher_cache(clip.tower, clip.sha, images, tmp_path)
    assert clip.tower.tally.images > 0
    clip.tower.tally.reset()
    assert teacher_cache(clip.tower, clip.sha, images, tmp_path) is not None
    assert clip.tower.tally.forward == 0


def test_a_build_that_was_cut_short_is_built_again(tiny: Any, tmp_path: Path) -> None:
    clip, images = tiny.clip(), tiny.images(6)
    teacher_cache(clip.tower, clip.sha, images, tmp_path)
    (meta,) = tmp_path.rglob("meta.json")
    meta.unlink()
    clip.tower.tally.reset()
    assert teacher_cache(clip.tower, clip.sha, images, tmp_path) is not None
    assert clip.tower.tally.forward > 0
    assert meta.is_file()


def test_weights_data_activation_heads_and_pixel_statistics_each_name_another_cache(tiny: Any) -> None:
    """A QuickGELU and a GELU tower may hold the very same weights; so may one with other pixel statistics."""
    tower, images = tiny.tower(), tiny.images(6)
    fewer_heads = tiny.tower()
    for block in fewer_heads.visual.transformer.resblocks:
        block.attn.num_heads = 1
    keys = [
        cache_key(tower, "sha", images),
        cache_key(tower, "other", images),
        cache_key(tower, "sha", tiny.images(6, seed=1)),
        cache_key(tower, "sha", tiny.images(7)),
        cache_key(tiny.tower(quick_gelu=True), "sha", images),
        cache_key(fewer_heads, "sha", images),
        cache_key(ImageTower(tower.visual, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 32), "sha", images),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(tiny.tower(), "sha", tiny.images(6)) == keys[0]


def test_where_the_disk_has_no_room_there_is_no_cache(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, images = tiny.clip(), tiny.images(6)
    size = 4 * 6 * (16 + 16 * 16)
    usage = collections.namedtuple("usage", "total used free")
    for free, made in ((2 * size - 1, False), (2 * size, True)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _, free=free: usage(0, 0, free))
        assert (teacher_cache(clip.tower, clip.sha, images, tmp_path) is not None) is made
