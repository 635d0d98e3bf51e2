"""The miniature's sets that are out of distribution: what they share with nothing else, and how they open."""

from __future__ import annotations

import pytest
import torch

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, check_data, miniature, open_data, task_ref
from zsr_core.data.miniature import outside, sets

EVERY = tuple(miniature.OUTSIDE)


def test_there_are_one_near_set_and_two_far_ones() -> None:
    assert miniature.OUTSIDE == {"near_objects": "near", "far_patterns": "far", "far_noise": "far"}


def test_the_near_set_shares_no_drawing_with_any_other_set_and_is_drawn_as_the_zero_shot_sets_are() -> None:
    (near,) = sets.NEAR_SETS
    others = {name for spec in miniature.SETS for name in spec.classes}
    assert len(near.classes) > 200
    assert not others & set(near.classes)
    assert {near.vendor} == {spec.vendor for spec in miniature.SETS if spec.name in miniature.ZERO_SHOT}


def test_no_split_shares_an_image_with_another_or_with_another_set() -> None:
    drawn = [miniature.render_outside(name, split, 40) for name in EVERY for split in ("selection", "report")]
    drawn.append(miniature.render("source", "train", 40, 96))
    images = torch.cat([rendered.images for rendered in drawn]).flatten(1)
    assert len(images.unique(dim=0)) == len(images)
    assert len({i for rendered in drawn for i in rendered.ids}) == len(images)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_request_gives_the_same_images_whoever_asks_and_for_however_many(name: str) -> None:
    more = miniature.render_outside(name, "report", 70)
    outside._far.cache_clear()
    some = miniature.render_outside(name, "report", 9)
    assert torch.equal(some.images, more.images[:9])
    assert some.ids == more.ids[:9]


@pytest.mark.parametrize("name", outside.FAR)
def test_both_sizes_show_the_same_image(name: str) -> None:
    coarse, fine = (miniature.render_outside(name, "report", 24, size).images.float() for size in (48, 96))
    halved = torch.nn.functional.avg_pool2d(fine, 2)
    apart = (halved - coarse).abs().mean() / (coarse - coarse.mean()).abs().mean()
    unlike = (halved.roll(1, 0) - coarse).abs().mean() / (coarse - coarse.mean()).abs().mean()
    assert apart < 0.5 < unlike


@pytest.mark.parametrize("name", outside.FAR)
def test_far_images_differ_from_each_other_and_are_no_plain_colour(name: str) -> None:
    images = miniature.render_outside(name, "selection", 32).images.float()
    assert images.flatten(1).std(dim=1).min() > 4
    assert (images[0] - images[8]).abs().mean() > 10, "two of one kind"


@pytest.mark.parametrize("name", EVERY)
def test_it_opens_under_its_name_without_classes(name: str) -> None:
    ref = task_ref(name, "data")
    images = open_data(ref, "report", 96, 12)
    assert (ref.outside, images.name, images.classes) == (miniature.OUTSIDE[name], name, ())
    assert images.labels.tolist() == [0] * 12
    assert images.pixels([0, 3]).shape == (2, 3, 96, 96)
    assert len(open_data(ref, "selection", 48).ids) == 96


def test_other_sets_are_not_out_of_distribution() -> None:
    assert DataRef(name="animals").outside is None
    assert DataRef(source="imagefolder", root="far_noise").outside is None


def test_it_cannot_be_trained_on_or_classified() -> None:
    with pytest.raises(ConfigError, match="expected 'selection' or 'report'"):
        open_data(DataRef(name="far_noise"), "train", 96)
    with pytest.raises(ConfigError, match=r"tasks\[0\].classes: got \[\], expected at least one class"):
        check_data(DataRef(name="far_noise"), "report", "tasks[0]", 96)


@pytest.mark.parametrize(
    ("name", "split", "n", "size", "said"),
    [("far_noises", "report", 4, 96, "did you mean 'far_noise'"), ("far_noise", "train", 4, 96, "split 'train'"),
     ("far_noise", "report", 0, 96, "n 0 is not"), ("near_objects", "report", 4, 64, "size 64")],
)  # fmt: skip
def test_a_wrong_request_says_what_is_wrong(name: str, split: str, n: int, size: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        miniature.render_outside(name, split, n, size)
