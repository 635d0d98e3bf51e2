"""The built-in miniature: its images, its words and its shipped weights."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load

from zsr_core.data import miniature
from zsr_core.data.miniature import model, pack, pretrain, scenes, sets
from zsr_core.data.miniature.contact_sheet import mask_edge

ASSETS = files("zsr_core.data.miniature") / "assets"
EVERY_SET = tuple(spec.name for spec in miniature.SETS)


def test_the_same_request_gives_the_same_images_without_the_cache() -> None:
    first = miniature.render("hearts", "report", 20)
    scenes.rendered.cache_clear()
    again = miniature.render("hearts", "report", 20)
    assert again is not first
    assert torch.equal(again.images, first.images)
    assert torch.equal(again.labels, first.labels)
    assert torch.equal(again.masks, first.masks)
    assert again.ids == first.ids


@pytest.mark.parametrize("few", [1, 63, 64, 65])
def test_the_first_images_do_not_depend_on_how_many_are_drawn(few: int) -> None:
    some, more = (miniature.render("arrows", "selection", n) for n in (few, 130))
    assert torch.equal(some.images, more.images[:few])
    assert torch.equal(some.labels, more.labels[:few])
    assert torch.equal(some.masks, more.masks[:few])
    assert some.ids == more.ids[:few]


def test_no_two_splits_and_no_two_sets_share_an_image() -> None:
    drawn = [
        miniature.render(name, split, 40) for name in ("source", "source_shift", "hearts") for split in miniature.SPLITS
    ]
    images = torch.cat([rendered.images for rendered in drawn]).flatten(1)
    assert len(images.unique(dim=0)) == len(images)
    assert len({i for rendered in drawn for i in rendered.ids}) == len(images)


def test_pre_training_draws_other_scenes_than_any_split() -> None:
    drawn = pretrain.draw_batch(pretrain.Recipe(batch=64), 0)
    ours = (drawn.images * 255).round().to(torch.uint8).flatten(1)
    theirs = [miniature.render(name, "train", 64).images.flatten(1) for name in ("source", "hearts")]
    both = torch.cat([ours, *theirs])
    assert len(both.unique(dim=0)) == len(both)


@pytest.mark.parametrize("name", ["hearts", "animals"])
def test_labels_are_drawn_evenly_over_all_classes(name: str) -> None:
    classes = len(next(spec for spec in miniature.SETS if spec.name == name).classes)
    labels = miniature.render(name, "train", 2 * classes + 3).labels
    counts = labels.bincount(minlength=classes)
    assert counts.min() == 2
    assert counts.max() == 3
    assert labels[:classes].unique().numel() == classes


def test_fewer_images_than_classes_are_spread_over_the_classes() -> None:
    labels = miniature.render("animals", "report", 32).labels
    assert labels.unique().numel() == 32
    assert labels.max() > 65 > labels.min()


def test_without_n_the_training_split_has_fifteen_images_of_each_class() -> None:
    labels = miniature.render("source", "train").labels
    assert labels.bincount().tolist() == [15] * 78


def test_where_the_object_is_not_the_background_shows_through_unchanged() -> None:
    drawings = scenes.sprites("noto")[:32]
    drawn = scenes.draw(scenes.keyed_generator("test"), 32)
    images, coverage = scenes.compose(drawings, *drawn)
    empty, _ = scenes.compose(torch.zeros_like(drawings), *drawn)
    outside = (coverage == 0)[:, None].expand_as(images)
    assert torch.equal(images[outside], empty[outside])
    changed = (images != empty).any(dim=1)
    # Not all: here and there an object has its background's colour.
    assert changed[coverage > 0.5].float().mean() > 0.97


@pytest.mark.parametrize("name", EVERY_SET)
def test_a_mask_covers_a_part_of_every_image(name: str) -> None:
    covered = miniature.render(name, "report", 64).masks.flatten(1).float().mean(dim=1)
    assert covered.min() > 0.01
    assert covered.max() < 1


def test_a_mask_is_the_opaque_part_of_an_unposed_drawing() -> None:
    drawings = scenes.sprites("twemoji")[:8]
    still = torch.full((8, scenes.UNIFORMS), 0.5)
    still[:, 1] = (1 - scenes.SCALES[0]) / (scenes.SCALES[1] - scenes.SCALES[0])  # scale 1
    _, coverage = scenes.compose(drawings, still, torch.zeros(8, 3, 48, 48))
    assert torch.allclose(coverage, drawings[:, 3], atol=1e-4)


def test_the_outline_of_a_square_is_its_outermost_ring() -> None:
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[1:6, 1:6] = True
    assert mask_edge(mask.numpy()).sum() == 16


def test_images_have_the_announced_shapes_and_types() -> None:
    rendered = miniature.render("sport", "report", 5)
    assert rendered.images.shape == (5, 3, miniature.IMAGE_SIZE, miniature.IMAGE_SIZE)
    assert rendered.masks.shape == (5, miniature.IMAGE_SIZE, miniature.IMAGE_SIZE)
    assert (rendered.images.dtype, rendered.masks.dtype) == (torch.uint8, torch.bool)
    assert rendered.labels.dtype == torch.int64
    assert rendered.ids[4] == "sport/report/00004"


def test_there_are_a_source_its_shift_and_twelve_zero_shot_sets() -> None:
    assert ("source", "source_shift", *miniature.ZERO_SHOT) == EVERY_SET
    assert len(miniature.ZERO_SHOT) == 12
    sizes = {spec.name: len(spec.classes) for spec in miniature.SETS}
    assert (sizes["source"], sizes["animals"], sizes["arrows"]) == (78, 130, 21)


@pytest.mark.parametrize("spec", miniature.SETS, ids=EVERY_SET)
def test_no_set_names_a_class_twice(spec: miniature.SetSpec) -> None:
    assert len(set(spec.classes)) == len(spec.classes) > 20


def test_the_source_shares_its_classes_with_its_shift_only() -> None:
    source, shift, *others = miniature.SETS
    assert source.classes == shift.classes
    assert source.vendor != shift.vendor
    seen = [name for spec in (source, *others) for name in spec.classes]
    assert len(set(seen)) == len(seen)


def test_the_end_of_a_text_has_the_largest_id() -> None:
    tokens = miniature.tokenize([t.format("smiling face with 3 hearts") for t in model.CAPTIONS])
    end = int(tokens.max())
    assert end == miniature.model_config()["text_cfg"]["vocab_size"] - 1
    assert (tokens == end).sum(dim=1).eq(1).all()
    after = tokens.argmax(dim=1, keepdim=True) < torch.arange(tokens.shape[1])
    assert tokens[after].eq(model.PADDING).all()


def test_every_caption_of_every_emoji_fits_and_holds_known_words_only() -> None:
    texts = [caption.format(emoji.name) for emoji in sets.emoji_index() for caption in model.CAPTIONS]
    assert max(len(model.split_words(text)) for text in texts) <= model.CONTEXT - 2
    assert not (miniature.tokenize(texts) == model.UNKNOWN).any()


def test_words_never_met_become_the_unknown_word_and_long_texts_keep_their_end() -> None:
    odd, long = miniature.tokenize(["a flibbertigibbet", "photo " * 50])
    assert odd.tolist()[2] == model.UNKNOWN
    assert long[-1] == long.max() == odd.max()


def test_different_classes_of_a_set_have_different_tokens() -> None:
    for spec in miniature.SETS:
        assert len(miniature.tokenize(spec.classes).unique(dim=0)) == len(spec.classes)


def test_the_model_holds_exactly_the_shipped_weights() -> None:
    weights = load((ASSETS / "weights.safetensors").read_bytes())
    loaded = miniature.load_model()
    assert not loaded.training
    assert set(loaded.state_dict()) == set(weights)
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, weights[name].float()), name


def test_the_weights_say_how_they_were_made_and_keep_what_they_promise_on_one_set() -> None:
    header = model.weights_header()
    assert {"made_by", "steps", "recipe", "versions", "vocabulary", "art", "expected"} <= set(header)
    recipe = json.loads(header["recipe"])
    assert header["steps"] == f"{recipe['steps']} of {recipe['steps']}"
    promised = json.loads(header["expected"])["clean/hearts"]
    rendered = miniature.render("hearts", "report")
    loaded = miniature.load_model()
    classes = next(spec.classes for spec in miniature.SETS if spec.name == "hearts")
    with torch.no_grad():
        pixels = pretrain.standardize(rendered.images.float() / 255)
        image = loaded.encode_image(pixels, normalize=True)
        banks = [miniature.tokenize([t.format(c) for c in classes]) for t in miniature.TEMPLATES]
        text = F.normalize(sum(loaded.encode_text(b, normalize=True) for b in banks), dim=-1)
    clean = (image @ text.T).argmax(dim=1).eq(rendered.labels).float().mean().item()
    assert clean == pytest.approx(promised, abs=0.01)  # two images: other processors round differently


def test_weights_trained_with_other_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "vocabulary_hash", lambda: "0000")
    with pytest.raises(ValueError, match="pre-train again"):
        miniature.load_model()


def test_a_stopped_pre_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "clean_accuracies", lambda *_, **__: dict.fromkeys(EVERY_SET, 0.0))
    recipe = pretrain.Recipe(steps=4, batch=64, warmup=1)
    straight = pretrain.pretrain(recipe, tmp_path / "straight.safetensors", every=4)

    def stop_in_the_third_step(step: int, *_: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "report", stop_in_the_third_step)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(recipe, tmp_path / "stopped.safetensors", every=1)
    monkeypatch.setattr(pretrain, "report", lambda *_: None)
    resumed = pretrain.pretrain(recipe, tmp_path / "stopped.safetensors", every=4)
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    net = pretrain.new_model(0)
    recipe = pretrain.Recipe(steps=4)
    optimizer = pretrain.new_optimizer(net, recipe)
    pretrain.save_checkpoint(path, recipe, net, optimizer, 1, 0.0)
    with pytest.raises(ValueError, match="delete it to start anew"):
        pretrain.resume(path, pretrain.Recipe(steps=5), net, optimizer)


def test_a_header_can_be_rewritten_without_touching_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    data = (ASSETS / "weights.safetensors").read_bytes()
    path.write_bytes(data)
    pretrain.write_header(path, {"clean/source": 0.12346})
    before, after = load(data), load(path.read_bytes())
    assert all(torch.equal(before[name], after[name]) for name in before)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["expected"]) == {"clean/source": 0.1235}


def test_a_batch_of_pre_training_shows_no_emoji_twice() -> None:
    recipe = pretrain.Recipe()
    for step in (0, 9, 10):  # the first epoch is mixed, the second has runs of neighbours
        assert pretrain.choose_emoji(recipe, step).unique().numel() == recipe.batch


def test_the_kept_patches_are_those_asked_for() -> None:
    subset = pretrain.KeptPatches()
    tokens = torch.arange(5.0).reshape(1, 5, 1)
    assert subset(tokens) is tokens
    subset.kept = torch.tensor([[2, 0]])
    assert subset(tokens).flatten().tolist() == [0, 3, 1]


@pytest.mark.parametrize(
    ("name", "split", "n", "message"),
    [
        ("harts", "report", 1, r"set 'harts' is not one of .*did you mean 'hearts'\?"),
        ("hearts", "reprot", 1, r"split 'reprot' is not one of .*did you mean 'report'\?"),
        ("hearts", "report", 0, r"n 0 is not a positive number of images of hearts/report"),
    ],
)
def test_a_mistaken_request_is_told_what_was_expected(name: str, split: str, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        miniature.render(name, split, n)


def test_the_art_ships_with_its_attribution_and_licences() -> None:
    attribution = (ASSETS / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for spec in miniature.SETS:
        assert f"{spec.vendor}.webp" in attribution
    for licence in ("LICENSE-noto-Apache-2.0.txt", "LICENSE-twemoji-CC-BY-4.0.txt"):
        assert licence in attribution
        assert len((ASSETS / licence).read_text(encoding="utf-8")) > 10_000


def test_the_assets_stay_small() -> None:
    sizes = {name: len((ASSETS / name).read_bytes()) for name in ("noto.webp", "twemoji.webp")}
    assert sum(sizes.values()) < 3_000_000
    assert len((ASSETS / "weights.safetensors").read_bytes()) < 2_000_000


def test_packing_leaves_out_flags_people_and_what_one_vendor_lacks() -> None:
    def emoji(order: int, category: str, google: bool = True) -> dict[str, object]:
        return {
            "sort_order": order,
            "category": category,
            "has_img_google": google,
            "has_img_twitter": True,
        }

    given = [emoji(3, "Objects"), emoji(2, "Flags"), emoji(1, "Symbols"), emoji(0, "Objects", google=False)]
    assert [e["sort_order"] for e in pack.choose(given)] == [1, 3]
    assert pack.readable_name("jack_o_lantern") == "jack o lantern"
    assert pack.readable_name("e-mail") == "e mail"
