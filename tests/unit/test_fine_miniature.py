"""The miniature of 96 pixels: the same scenes as at 48, and weights that a second stage of pre-training made."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F

from zsr_core.data import DataRef, miniature, open_data
from zsr_core.data.miniature import model, pack_svg, pretrain, scenes, second_stage
from zsr_core.model.load import ModelRef, image_size_of, load_clip

ASSETS = files("zsr_core.data.miniature") / "assets"


def test_both_sizes_show_the_same_scenes() -> None:
    coarse, fine = (miniature.render("sport", "selection", 16, size) for size in miniature.IMAGE_SIZES)
    assert torch.equal(coarse.labels, fine.labels)
    assert coarse.ids == fine.ids
    reduced = F.avg_pool2d(fine.images.float(), 2)
    assert (reduced - coarse.images.float()).abs().mean() < 4  # grey levels: other art packages, sharper edges
    covered = F.avg_pool2d(fine.masks.float()[:, None], 2)[:, 0] > 0.5
    assert (covered == coarse.masks).float().mean() > 0.97


def test_an_image_of_96_pixels_does_not_depend_on_how_many_are_asked_for() -> None:
    few, many = (miniature.render("hearts", "report", n, 96).images for n in (3, 70))
    assert torch.equal(few, many[:3])


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size 64 is not one of \[48, 96\]"):
        miniature.render("hearts", "report", 1, 64)


def test_a_set_is_opened_at_the_size_of_the_model() -> None:
    assert image_size_of(ModelRef(name="miniature-96")) == 96
    images = open_data(DataRef(name="hearts"), "selection", 96, limit=2)
    assert images.pixels([0, 1]).shape == (2, 3, 96, 96)
    assert images.key != open_data(DataRef(name="hearts"), "selection", 48, limit=2).key


def test_the_shipped_weights_are_those_of_their_vocabulary_and_load_by_name() -> None:
    header = model.weights_header(miniature.FINE)
    assert header["vocabulary"] == model.vocabulary_hash()
    assert json.loads(header["expected"])["clean/hearts"] > 0.5
    clip = load_clip(ModelRef(name="miniature-96"))
    assert clip.tower.image_size == 96
    assert clip.sha != load_clip(ModelRef()).sha


def test_the_enlarged_model_is_the_shipped_one_behind_two_by_two_averaging() -> None:
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    large = second_stage.enlarged().eval()
    with torch.no_grad():
        fine = large.encode_image(images, normalize=True)
        coarse = miniature.load_model().encode_image(F.avg_pool2d(images, 2), normalize=True)
    torch.testing.assert_close(fine, coarse, atol=1e-4, rtol=1e-4)


def test_the_dct_basis_is_orthonormal_and_its_gain_is_undone_by_its_inverse() -> None:
    basis = second_stage.dct_basis(16)
    torch.testing.assert_close(basis @ basis.T, torch.eye(16), atol=1e-5, rtol=0)
    gained = second_stage.Gained(torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) + 0.5)
    kernels = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(gained(gained.right_inverse(kernels)), kernels, atol=1e-5, rtol=1e-5)


def test_the_retina_lifts_the_middle_frequencies() -> None:
    gain = second_stage.retina(second_stage.Stage())
    assert gain.min() >= 0.25
    assert gain[5, 5] > 2 * gain[1, 1]
    assert gain[5, 5] > 5 * gain[12, 12]


def test_a_share_of_nothing_is_the_model_that_the_stage_started_from() -> None:
    changed = second_stage.enlarged()
    with torch.no_grad():
        changed.visual.conv1.weight.add_(1.0)
    kept = second_stage.mixed(changed, 0.0).state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in second_stage.enlarged().state_dict().items())


def test_a_batch_depends_on_the_step_alone() -> None:
    recipe = pretrain.Recipe(batch=8, related=4)
    first, again, other = (second_stage.draw_batch(recipe, step) for step in (3, 3, 4))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.images, other.images)


def test_an_emoji_is_found_with_and_without_its_variation_selector() -> None:
    chars = {"1f600": "grinning-face", "2764": "red-heart"}
    assert pack_svg.icon_names(chars, ["1F600", "2764-FE0F"]) == ["grinning-face", "red-heart"]


def test_the_finer_art_is_attributed_and_all_assets_stay_below_twelve_megabytes() -> None:
    attribution = (ASSETS / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for vendor in ("noto", "twemoji"):
        assert f"`{scenes.sheet_name(vendor, 96)}`" in attribution
    assert sum(len(file.read_bytes()) for file in ASSETS.iterdir()) < 12_000_000
