"""Scenes of one changed factor, scenes with boxes, and captions."""

from __future__ import annotations

import pytest
import torch

from zsr_core.data.miniature import ZERO_SHOT, render
from zsr_core.data.miniature.composed import CAPTIONS_EACH, render_boxes, render_captions
from zsr_core.data.miniature.factors import FACTORS, LEVELS, render_factor

N = 6


@pytest.mark.parametrize("factor", FACTORS)
def test_levels_show_the_same_objects_and_each_level_other_pixels(factor: str) -> None:
    levels = [render_factor("animals", factor, level, N) for level in range(LEVELS)]
    assert all(torch.equal(level.labels, levels[0].labels) for level in levels)
    assert all(level.images.shape == (N, 3, 96, 96) for level in levels)
    pairs = [(a, b) for i, a in enumerate(levels) for b in levels[:i]]
    assert all((a.images != b.images).flatten(1).any(dim=1).all() for a, b in pairs)


@pytest.mark.parametrize("factor", [f for f in FACTORS if f not in ("size", "rotation", "position", "background")])
def test_the_easiest_level_is_the_unchanged_scene(factor: str) -> None:
    """Size, rotation and position replace the scene's own pose at every level; background replaces its range."""
    plain = render_factor("animals", "background", 2, N)  # once the colours' range: as the scene is
    assert torch.equal(render_factor("animals", factor, 0, N).images, plain.images)


def test_a_factor_changes_what_it_names() -> None:
    def share(factor: str, level: int) -> torch.Tensor:
        return render_factor("animals", factor, level, N).masks.flatten(1).float().mean(dim=1)

    assert (share("size", 4) < share("size", 0) / 3).all()
    assert (share("occlusion", 4) < 0.7 * share("occlusion", 0)).all()
    assert (share("count", 1) > 0).all()
    assert torch.equal(share("colour", 4), share("colour", 0))
    across = [render_factor("animals", "position", level, N).masks.float() for level in (0, 4)]
    assert (across[0] != across[1]).flatten(1).any(dim=1).all()
    grey = render_factor("animals", "background", 0, N)
    assert all((grey.images[i][:, ~grey.masks[i]].float().std(dim=1) < 40).all() for i in range(N))


def test_factor_images_are_none_of_the_sets_images() -> None:
    factored = render_factor("animals", "background", 2, N).images
    for split in ("selection", "report"):
        others = render("animals", split, None, 96).images
        assert not any((other == image).all() for image in factored for other in others)


def test_an_unknown_factor_or_level_is_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        render_factor("animals", "color", 0, N)
    with pytest.raises(ValueError, match="level 5 is not one of"):
        render_factor("animals", "colour", 5, N)


def test_a_box_holds_its_object_and_no_other() -> None:
    boxed = render_boxes("animals", 12)
    for boxes, labels in zip(boxed.boxes, boxed.labels, strict=True):
        assert 2 <= len(boxes) == len(labels) <= 4
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        assert (width >= 4).all()
        assert (height >= 4).all()
        assert ((boxes >= 0) & (boxes <= 96)).all()
        quarters = {(int(box[0] + box[2] > 96), int(box[1] + box[3] > 96)) for box in boxes}
        assert len(quarters) == len(boxes), "each object has a quarter of its own"
    assert torch.equal(boxed.images, render_boxes.__wrapped__("animals", 12).images)  # type: ignore[attr-defined]


def test_captions_name_what_their_image_shows_and_no_object_comes_twice() -> None:
    captioned = render_captions(40)
    assert len(set(captioned.names)) == 40
    for name, captions in zip(captioned.names, captioned.captions, strict=True):
        assert len(set(captions)) == CAPTIONS_EACH
        assert all(name in caption for caption in captions)
    assert torch.equal(render_captions(10).images, captioned.images[:10])
    with pytest.raises(ValueError, match="n 0 is not a number of objects"):
        render_captions(0)
    assert len(ZERO_SHOT) == 12
