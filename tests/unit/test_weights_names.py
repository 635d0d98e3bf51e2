"""Weights by Hugging Face's names, and wrappers around weights: the same model, or a line that says what is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.model.load import Clip, ModelRef, check_model, load_clip
from zsr_core.model.weights import read_weights

State = dict[str, Tensor]
NAME = "tiny-quickgelu"


@pytest.fixture(autouse=True)
def architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    config["vision_cfg"].update(image_size=32, patch_size=8, width=64, layers=2)
    config["text_cfg"].update(width=64, heads=1, layers=2)
    config["embed_dim"] = 32
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, NAME, config)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", {**config, "quick_gelu": False})


@pytest.fixture
def state() -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.create_model(NAME)
        for tensor in model.state_dict().values():  # biases too
            if tensor.is_floating_point() and tensor.dim():
                torch.nn.init.normal_(tensor, std=0.1)
    return dict(model.state_dict())


BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
ALONE = {
    "class_embedding": "embeddings.class_embedding", "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight", "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm", "ln_final": "final_layer_norm",
}  # fmt: skip


def hugging_face(state: State) -> State:
    """The state dict by the names of ``transformers.CLIPModel``."""
    named: State = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    for name, tensor in state.items():
        tower, own = ("vision_model." if name.startswith("visual.") else "text_model."), name.removeprefix("visual.")
        if name in ("visual.proj", "text_projection"):
            named["visual_projection.weight" if tower[0] == "v" else "text_projection.weight"] = tensor.T.contiguous()
        elif name == "logit_scale":
            named[name] = tensor
        elif ".attn.in_proj_" in own:
            block, end = own.split(".")[2], own.rpartition("_")[2]
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                named[f"{tower}encoder.layers.{block}.self_attn.{part}_proj.{end}"] = piece.clone()
        elif own.startswith("transformer."):
            _, _, block, *rest = own.split(".")
            named[f"{tower}encoder.layers.{block}.{BLOCK['.'.join(rest[:-1])]}.{rest[-1]}"] = tensor
        else:
            first, _, end = own.rpartition(".")
            named[tower + (ALONE[own] if own in ALONE else f"{ALONE[first]}.{end}")] = tensor
    return named


def saved(path: Path, content: Any) -> str:
    torch.save(content, path)
    return str(path)


def loaded(file: str, **more: Any) -> Clip:
    ref = ModelRef(name=NAME, pretrained=file, **more)
    check_model(ref)
    return load_clip(ref)


def same(one: Clip, other: Clip) -> bool:
    texts = ["a photo of a cat", "a dog"]
    return one.sha == other.sha and torch.equal(one.encode_text(texts), other.encode_text(texts))


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "net.clip."])
def test_a_clip_model_of_hugging_face_gives_open_clips_embeddings(prefix: str, state: State, tmp_path: Path) -> None:
    theirs = {prefix + name: tensor for name, tensor in hugging_face(state).items()}
    ours = loaded(saved(tmp_path / "ours.pt", state))
    found = loaded(saved(tmp_path / "theirs.bin", theirs))
    assert same(found, ours)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.tower(x), ours.tower(x))
    save_file(theirs, tmp_path / "model.safetensors")
    assert same(loaded(str(tmp_path / "model.safetensors")), ours)


@pytest.mark.parametrize("prefix", ["vision_model.", ""])
def test_a_vision_model_without_projection_takes_that_of_its_texts(prefix: str, state: State, tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", hugging_face(state))
    of_image = {
        prefix + name.removeprefix("vision_model."): tensor
        for name, tensor in hugging_face(state).items()
        if name.startswith("vision_model.")
    }
    alone = saved(tmp_path / "vision.pt", of_image)
    assert same(loaded(alone, text_from=whole), loaded(whole))
    with pytest.raises(ConfigError, match=r"an image tower alone; expected config\.model\.text_from"):
        loaded(alone)
    projected = saved(
        tmp_path / "p.pt", {**of_image, "visual_projection.weight": 2 * state["visual.proj"].T.contiguous()}
    )
    found = loaded(projected, text_from=whole).tower.visual.state_dict()["proj"]
    assert torch.equal(found, 2 * state["visual.proj"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("vision_model.encoder.layers.1.self_attn.k_proj.bias"), "lacks k_proj of the attention"),
        (
            lambda s: s.update({"vision_model.head.probe": torch.ones(2)}),
            "of another model than CLIP, first v",
        ),
        (lambda s: s.pop("text_model.final_layer_norm.bias"), "it lacks 1 tensors, first ln_final.bias"),
    ],
)
def test_what_is_not_clip_by_hugging_faces_names_is_said(
    change: Callable[[State], object], says: str, state: State, tmp_path: Path
) -> None:
    theirs = hugging_face(state)
    change(theirs)
    with pytest.raises(ConfigError) as error:
        loaded(saved(tmp_path / "w.pt", theirs))
    assert says in str(error.value)
    assert str(tmp_path / "w.pt") in str(error.value)


def test_the_config_beside_a_model_of_hugging_face_tells_its_activation(state: State, tmp_path: Path) -> None:
    file = saved(tmp_path / "pytorch_model.bin", hugging_face(state))
    assert read_weights(Path(file)).quick_gelu is None
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {"hidden_act": "gelu"}}))
    with pytest.raises(ConfigError, match=r"config\.json beside it says hidden_act 'gelu'.* expected name 'tiny'"):
        loaded(file)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_act": "quick_gelu"}))
    assert loaded(file).scale > 0
    (tmp_path / "config.json").write_text("{")
    assert read_weights(Path(file)).quick_gelu is None


WRAPPED: dict[str, Callable[[State], Any]] = {
    "net": lambda s: {"net": s},
    "model_ema": lambda s: {"model_ema": s, "epoch": 1},
    "clip_model": lambda s: {"clip_model": s},
    "twice": lambda s: {"checkpoint": {"state_dict": s}},
    "a name that nobody knows": lambda s: {"whatever": {"it_is": s}, "optimizer": {"state": {0: {"m": torch.ones(2)}}}},
    "beside a small one": lambda s: {"model": s, "prompter": {"pad": torch.ones(3)}},
    "data parallel inside": lambda s: {n.replace("visual.", "visual.module.", 1): t for n, t in s.items()},
    "compiled inside": lambda s: {n.replace("visual.", "visual._orig_mod.", 1): t for n, t in s.items()},
    "both around": lambda s: {"model": {f"module._orig_mod.{n}": t for n, t in s.items()}},
    "an extra state": lambda s: {**s, "visual._extra_state": None},
    "Hugging Face's, wrapped": lambda s: {"state_dict": {f"clip.{n}": t for n, t in hugging_face(s).items()}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_are_found_in_any_wrapper(kind: str, state: State, tmp_path: Path) -> None:
    found = loaded(saved(tmp_path / "w.pt", WRAPPED[kind](state)))
    assert same(found, loaded(saved(tmp_path / "ours.pt", state)))


@pytest.mark.parametrize(
    "names", [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema"), ("student", "teacher")]
)
def test_one_of_two_sets_of_weights_is_never_taken_silently(
    names: tuple[str, str], state: State, tmp_path: Path
) -> None:
    other = {f"module.{name}": 2 * tensor for name, tensor in state.items()}
    file = saved(tmp_path / "w.pt", {names[0]: state, names[1]: other, "epoch": 1})
    with pytest.raises(ConfigError) as error:
        loaded(file)
    assert f"{file} holds 2 sets of weights of the same shapes, {names[0]!r}, {names[1]!r}" in str(error.value)


def test_a_file_without_weights_is_told_by_what_it_holds(state: State, tmp_path: Path) -> None:
    for content, says in (
        ({"optimizer": {"state": {}}, "epoch": 3}, "it holds optimizer (1 entries), epoch (int)"),
        ([1, 2], "it holds a list"),
        ({}, "it holds nothing"),
    ):
        with pytest.raises(ConfigError) as error:
            loaded(saved(tmp_path / "w.pt", content))
        assert says in str(error.value)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    with pytest.raises(ConfigError, match="an image tower of zeros alone"):
        loaded(saved(tmp_path / "w.pt", zeros))


def test_a_pointer_of_git_lfs_and_a_folder_are_told_as_such(state: State, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ConfigError, match="Git LFS's pointer"):
        loaded(str(tmp_path / "w.safetensors"))
    with pytest.raises(ConfigError, match=r"the folder holds w\.safetensors"):
        loaded(str(tmp_path))
