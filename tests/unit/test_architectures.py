"""open_clip's own configurations, cut down, with random weights that are saved and loaded back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import zsr_core.model.load
from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.methods import Fare, TeCoA, TgaZsr
from zsr_core.methods.method import Method
from zsr_core.model.load import Clip, ModelRef, check_model, image_size_of, load_clip, weights_sha
from zsr_core.model.tower import ImageTower
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, fit
from zsr_core.training.optim import Optim
from zsr_core.trial.check import check_reads

TEXT = {"width": 64, "heads": 1, "layers": 1}
# The real configuration; what is cut down in it; layout; patch grid.
SMALL: dict[str, tuple[str, dict[str, Any], str, tuple[int, int]]] = {
    "vit": ("ViT-B-16-quickgelu", {"image_size": 64, "width": 64, "layers": 2}, "vit", (4, 4)),
    "vit-336": ("ViT-L-14-336", {"image_size": 84, "width": 64, "layers": 2}, "vit", (6, 6)),
    "resnet": ("RN50-quickgelu", {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}, "resnet", (2, 2)),
    "sigmoid": ("ViT-B-16-SigLIP", {"image_size": 160, "timm_model_name": "test_vit"}, "trunk", (10, 10)),
    "convnext": ("convnext_base", {"image_size": 64, "timm_model_name": "test_convnext"}, "trunk", (2, 2)),
    "average": ("ViTamin-S", {"image_size": 160, "timm_model_name": "test_vit"}, "trunk", (10, 10)),
    "opaque": ("MobileCLIP-S1", {"image_size": 64, "timm_model_name": "test_efficientnet"}, "opaque", (0, 0)),
}
WITH_PATCHES = [name for name in SMALL if name != "opaque"]


@pytest.fixture(autouse=True)
def architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (real, vision, _, _) in SMALL.items():
        config = open_clip.get_model_config(real)
        config["vision_cfg"].update(vision)
        # The words of SigLIP come from a hub; here its texts are in CLIP's.
        config["text_cfg"] = {k: v for k, v in config["text_cfg"].items() if "tokenizer" not in k} | TEXT
        config["text_cfg"].update(vocab_size=49408)
        config["embed_dim"] = 64
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, f"small-{name}", config)


def random(name: str) -> Any:
    """An open_clip model in which no weight is 0 or 1, so that forgetting one shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = open_clip.create_model(f"small-{name}").eval()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05 * torch.randn_like(p))
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.uniform_(-0.1, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
    return model


def loaded(name: str, folder: Path) -> tuple[Any, Clip]:
    """The model, and what is loaded from the file it was saved to."""
    model = random(name)
    file = folder / f"{name}.safetensors"
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, file)
    ref = ModelRef(name=f"small-{name}", pretrained=str(file))
    check_model(ref)
    return model, load_clip(ref)


def pixels(tower: ImageTower, n: int = 2) -> Tensor:
    return torch.rand(n, 3, tower.image_size, tower.image_size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
def test_saved_and_loaded_back_it_encodes_as_open_clip_does(name: str, tmp_path: Path) -> None:
    model, clip = loaded(name, tmp_path)
    assert clip.tower.layout.name == SMALL[name][2]
    assert clip.tower.image_size == SMALL[name][1]["image_size"] == image_size_of(clip.ref)
    x = pixels(clip.tower)
    theirs = model.encode_image((x - clip.tower.mean) / clip.tower.std)
    torch.testing.assert_close(clip.tower(x), theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()))
    tokens = open_clip.get_tokenizer(f"small-{name}")(["a cat", "a photo of a red heart"])
    texts = clip.encode_text(["a cat", "a photo of a red heart"])
    torch.testing.assert_close(texts, model.encode_text(tokens).detach(), rtol=1e-5, atol=1e-5)
    assert clip.scale == pytest.approx(model.logit_scale.exp().item())


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_pixels_and_every_weight_as_in_open_clip(name: str, tmp_path: Path) -> None:
    model, clip = loaded(name, tmp_path)
    tower, x = clip.tower.requires_grad_(True), pixels(clip.tower)
    direction = torch.linspace(-1, 1, 64)

    def grads(embed: Callable[[Tensor], Tensor], weights: Any) -> list[Tensor]:
        image = x.clone().requires_grad_()
        score = (F.normalize(embed(image), dim=-1) @ direction).square().sum()
        return list(torch.autograd.grad(score, [image, *weights]))

    ours = grads(tower, tower.visual.parameters())
    theirs = grads(lambda i: model.encode_image((i - tower.mean) / tower.std), model.visual.parameters())
    size = max(float(other.abs().max()) for other in theirs[1:])  # a bias of keys has none but round-off
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5 * size)


@pytest.mark.parametrize("name", WITH_PATCHES)
def test_patch_tokens_lie_on_the_grid_in_the_joint_space_and_carry_gradients(name: str, tmp_path: Path) -> None:
    _, clip = loaded(name, tmp_path)
    x = pixels(clip.tower).requires_grad_()
    seen = clip.tower.features(x)
    assert seen.grid == SMALL[name][3]
    assert seen.patches().shape == (2, seen.grid[0] * seen.grid[1], 64)
    (grad,) = torch.autograd.grad(seen.patches().square().sum(), x)
    assert float((grad != 0).float().mean()) > 0.9


@pytest.mark.parametrize("name", ["sigmoid", "convnext", "average"])
def test_a_trunks_patch_token_is_the_embedding_of_an_image_that_is_that_patch_everywhere(
    name: str, tmp_path: Path
) -> None:
    """Pooling, by attention or average, of equal tokens gives that token, so the head sees the patch alone."""
    model, clip = loaded(name, tmp_path)
    x, visual = pixels(clip.tower), model.visual
    h = visual.trunk.forward_features((x - clip.tower.mean) / clip.tower.std)
    patches = clip.tower.features(x).patches()
    for p in (0, 3):
        if h.dim() == 4:
            everywhere = h.flatten(2)[:, :, p, None, None].expand_as(h)
        else:
            everywhere = h[:, visual.trunk.num_prefix_tokens + p, None].expand_as(h)
        whole = visual.head(visual.trunk.forward_head(everywhere))
        torch.testing.assert_close(patches[:, p], whole, rtol=1e-4, atol=1e-5 * float(whole.detach().abs().max()))


def test_a_sigmoid_models_bias_and_pixel_statistics_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random("sigmoid")
    with torch.no_grad():
        model.logit_bias.fill_(-7.5)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pt")
    clip = load_clip(ModelRef(name="small-sigmoid", pretrained=str(tmp_path / "w.pt")))
    assert clip.bias == -7.5
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, "small-sigmoid", open_clip.pretrained._PRETRAINED["ViT-B-16-SigLIP"]
    )
    assert load_clip(clip.ref).tower.mean.flatten().tolist() == [0.5, 0.5, 0.5]


def test_without_its_tokenizer_a_model_has_its_tower_and_says_what_its_texts_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = open_clip.get_model_config("small-sigmoid")
    config["text_cfg"]["hf_tokenizer_name"] = str(tmp_path / "no tokenizer")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small-wordless", config)
    model, ref = random("wordless"), ModelRef(name="small-wordless", pretrained=str(tmp_path / "w.safetensors"))
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, tmp_path / "w.safetensors")
    clip = load_clip(ref)
    x = pixels(clip.tower)
    torch.testing.assert_close(clip.tower(x), model.encode_image((x - clip.tower.mean) / clip.tower.std))
    for ask in (lambda: check_model(ref), lambda: clip.encode_text(["a cat"])):
        with pytest.raises(ConfigError, match="name: the tokenizer of 'small-wordless' is not here"):
            ask()


def recipe() -> Recipe:
    return Recipe(
        optim=Optim(lr=1e-4, warmup_steps=0), threat=ThreatModel(eps=4 / 255), epochs=1, batch_size=4,
        attack=Pgd(steps=1, step_ratio=1.0, keep="last"), precision="fp32", seed=0,
    )  # fmt: skip


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Gets every open_clip model that is loaded, text tower and all."""
    models: list[Any] = []
    build = zsr_core.model.load._build
    monkeypatch.setattr(zsr_core.model.load, "_build", lambda ref: models.append(build(ref)) or models[-1])
    return models


@pytest.mark.parametrize("name", ["vit", "resnet", "sigmoid", "convnext"])
@pytest.mark.parametrize("method", [TgaZsr(), TeCoA()], ids=["TGA-ZSR", "TeCoA"])
def test_training_moves_the_student_and_leaves_teacher_texts_and_untouched_student_as_they_were(
    tiny: Any, built: list[Any], name: str, method: Method, tmp_path: Path
) -> None:
    _, clip = loaded(name, tmp_path)
    whole = weights_sha(built[-1])  # both towers, scale and bias
    images = tiny.images(8, side=clip.tower.image_size)
    bank = encode_classes(clip.encode_text, images.classes, images.templates)
    text = bank.unit.clone()
    for cached in (True, False):
        fitted = fit(clip, method, bank, images, recipe(), cache_folder=tmp_path if cached else None)
        assert weights_sha(fitted.tower) != clip.sha
    assert weights_sha(built[-1]) == whole
    assert weights_sha(clip.tower) == clip.sha == loaded(name, tmp_path)[1].sha
    assert torch.equal(bank.unit, text)
    if name == "resnet":  # statistics of batch norm are weights that no gradient moves: they stay as they came
        start = clip.tower.state_dict()
        stay = [n for n in start if "running" in n or "batches" in n]
        assert stay
        assert all(torch.equal(start[n], t) for n, t in fitted.tower.state_dict().items() if n in stay)


def test_a_method_that_reads_what_a_tower_has_not_is_refused_before_it_starts() -> None:
    opaque, trunk = ModelRef(name="small-opaque"), ModelRef(name="small-sigmoid")
    with pytest.raises(ConfigError) as error:
        check_reads(TgaZsr(), opaque)
    assert str(error.value) == (
        "config.method: TGA-ZSR cannot tune 'small-opaque': model: EfficientNet has no patch tokens in the joint "
        "space; expected a CLIP ViT or ResNet, or a timm VisionTransformer, Eva, ConvNeXt"
    )
    with pytest.raises(ConfigError, match="the last attention of VisionTransformer cannot be read"):
        check_reads(TgaZsr(attention="visual"), trunk)
    for method, model in (
        (TeCoA(), opaque),
        (Fare(), opaque),
        (TgaZsr(), trunk),
        (TgaZsr(attention="visual"), ModelRef()),
    ):
        check_reads(method, model)


def test_a_tower_without_patches_is_tuned_by_methods_that_read_none_teachers_cache_and_all(
    tiny: Any, tmp_path: Path
) -> None:
    _, clip = loaded("opaque", tmp_path)
    images = tiny.images(8, side=64)
    bank = encode_classes(clip.encode_text, images.classes, images.templates)
    live, kept = (fit(clip, Fare(), bank, images, recipe(), cache_folder=folder) for folder in (None, tmp_path))
    assert weights_sha(live.tower) == weights_sha(kept.tower) != clip.sha
    with pytest.raises(ConfigError, match="no patch tokens"):
        fit(clip, TgaZsr(), bank, images, recipe(), cache_folder=tmp_path)
