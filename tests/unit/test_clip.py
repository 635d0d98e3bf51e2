"""Models by name and weights from local files, which are read without running anything they carry."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.data import miniature
from zsr_core.model.load import ModelRef, check_model, image_size_of, is_file, load_clip, weights_sha
from zsr_core.model.weights import read_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def other() -> State:
    """A whole state dict of the miniature's architecture, with other weights than the shipped ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return dict(open_clip.model.CLIP(**miniature.model_config()).state_dict())


def _visual(state: State) -> State:
    return {name.removeprefix("visual."): t for name, t in state.items() if name.startswith("visual.")}


def _safetensors(path: Path, state: State) -> str:
    save_file({name: t.contiguous() for name, t in state.items()}, path)
    return str(path)


def _pt(path: Path, content: Any, *, legacy: bool = False) -> str:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return str(path)


def test_the_miniature_comes_frozen_in_eval_mode_with_its_own_scale() -> None:
    clip = load_clip(ModelRef())
    assert not clip.tower.training
    assert not any(p.requires_grad for p in clip.tower.parameters())
    assert clip.scale == pytest.approx(miniature.load_model().logit_scale.exp().item())
    assert clip.sha == weights_sha(clip.tower) == load_clip(ModelRef()).sha
    assert clip.encode_text(["a photo of a cat", "a red heart"]).shape == (2, 96)
    assert image_size_of(ModelRef()) == clip.tower.image_size == miniature.IMAGE_SIZE


FILES: dict[str, Callable[[Path, State], str]] = {
    "whole safetensors": lambda d, s: _safetensors(d / "w.safetensors", s),
    "whole pt": lambda d, s: _pt(d / "w.pt", s),
    "whole pt of the old format": lambda d, s: _pt(d / "w.pt", s, legacy=True),
    "half precision": lambda d, s: _pt(d / "w.bin", {n: t.half() for n, t in s.items()}),
    "tower alone": lambda d, s: _pt(d / "w.pth", _visual(s)),
    "tower with its prefix": lambda d, s: _pt(d / "w.pt", {n: t for n, t in s.items() if n.startswith("visual.")}),
    "training checkpoint": lambda d, s: _pt(
        d / "w.ckpt", {"epoch": 3, "state_dict": {f"module.{n}": t for n, t in s.items()}, "optimizer": {"lr": 1.0}}
    ),
    "wrapped tower": lambda d, s: _pt(d / "w.pt", {"vision_encoder_state_dict": _visual(s)}),
    "wrapped whole": lambda d, s: _pt(d / "w.pt", {"model_state_dict": {f"model.{n}": t for n, t in s.items()}}),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_local_file_fills_the_image_tower(kind: str, other: State, tmp_path: Path) -> None:
    ref = ModelRef(pretrained=FILES[kind](tmp_path, other))
    check_model(ref)
    clip = load_clip(ref)
    wanted = {n: t.half().float() if kind == "half precision" else t for n, t in _visual(other).items()}
    found = clip.tower.visual.state_dict()
    assert set(found) == set(wanted)
    assert all(torch.equal(found[n], wanted[n]) for n in wanted)
    assert clip.sha != load_clip(ModelRef()).sha


def test_a_whole_file_brings_its_text_tower_and_a_tower_alone_does_not(other: State, tmp_path: Path) -> None:
    own = load_clip(ModelRef()).encode_text(["a cat"])
    whole = load_clip(ModelRef(pretrained=_pt(tmp_path / "whole.pt", other)))
    alone = load_clip(ModelRef(pretrained=_pt(tmp_path / "alone.pt", _visual(other))))
    assert torch.equal(alone.encode_text(["a cat"]), own)
    assert not torch.allclose(whole.encode_text(["a cat"]), own)
    both = load_clip(ModelRef(pretrained=str(tmp_path / "alone.pt"), text_from=str(tmp_path / "whole.pt")))
    assert torch.equal(both.encode_text(["a cat"]), whole.encode_text(["a cat"]))
    assert both.sha == alone.sha


class _Bomb:
    """Unpickling it calls ``Path.touch`` on the file it names."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def _cut(path: str, keep: float) -> str:
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(keep * len(data))])
    return path


def _without(state: State, *names: str) -> State:
    return {n: t for n, t in state.items() if n not in names}


BROKEN: dict[str, tuple[Callable[[Path, State], str], str]] = {
    "missing": (lambda d, s: str(d / "none.pt"), "a file that exists"),
    "missing safetensors": (lambda d, s: str(d / "none.safetensors"), "a file that exists"),
    "a folder": (lambda d, s: str(d), "a file that exists"),
    "empty safetensors": (lambda d, s: _cut(_safetensors(d / "w.safetensors", s), 0.0), "no whole safetensors file"),
    "cut safetensors": (lambda d, s: _cut(_safetensors(d / "w.safetensors", s), 0.7), "no whole safetensors file"),
    "cut header": (lambda d, s: _cut(_safetensors(d / "w.safetensors", s), 0.001), "no whole safetensors file"),
    "empty pt": (lambda d, s: _cut(_pt(d / "w.pt", s), 0.0), "truncated or no weights file"),
    "cut pt": (lambda d, s: _cut(_pt(d / "w.pt", s), 0.7), "truncated or no weights file"),
    "cut pt of the old format": (lambda d, s: _cut(_pt(d / "w.pt", s, legacy=True), 0.7), "truncated or no weights"),
    "text": (lambda d, s: _text(d / "w.pt", "these are no weights"), "no weights file"),
    "pickled code": (lambda d, s: _pt(d / "w.pt", {"a": _Bomb(d / "ran")}), "holds pickled code"),
    "pickled code of the old format": (lambda d, s: _pt(d / "w.pt", _Bomb(d / "ran"), legacy=True), "pickled code"),
    "a bare pickle": (lambda d, s: _pickle(d / "w.pt", _Bomb(d / "ran")), "pickled code"),
    "a pickled module": (lambda d, s: _pt(d / "w.pt", torch.nn.Linear(2, 2)), "holds pickled code"),
    "no state dict": (lambda d, s: _pt(d / "w.pt", [1, 2]), "a state dict: names and tensors"),
    "names that are no text": (lambda d, s: _pt(d / "w.pt", {1: torch.ones(2)}), "a state dict: names and tensors"),
    "an empty state dict": (lambda d, s: _pt(d / "w.pt", {}), "a state dict: names and tensors"),
    "another width": (lambda d, s: _pt(d / "w.pt", {n: torch.ones(3, 3) for n in s}), "another architecture"),
    "another patch size": (
        lambda d, s: _pt(d / "w.pt", {**s, "visual.conv1.weight": torch.ones(96, 3, 4, 16)}),
        "visual.conv1.weight has shape [96, 3, 4, 16], expected [96, 3, 8, 8]",
    ),
    "a tensor too few": (lambda d, s: _pt(d / "w.pt", _without(s, "visual.proj")), "lacks 1 tensors"),
    "another model": (lambda d, s: _pt(d / "w.pt", {"stem.weight": torch.ones(2)}), "another architecture"),
}


def _text(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def _pickle(path: Path, content: Any) -> str:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return str(path)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_cannot_be_used_is_one_clear_error_and_runs_nothing(
    kind: str, other: State, tmp_path: Path
) -> None:
    make, says = BROKEN[kind]
    ref = ModelRef(pretrained=make(tmp_path, other))
    for attempt in (check_model, load_clip):
        with pytest.raises(ConfigError) as error:
            attempt(ref)
        message = str(error.value)
        assert message.startswith("config.model.pretrained: ")
        assert str(ref.pretrained) in message
        assert says in message
        assert "\n" not in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("byte", range(0, 4000, 97))
def test_a_weights_file_with_a_wrong_byte_is_read_or_refused_and_nothing_else(byte: int, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.arange(4.0), "b": torch.ones(2, 2)}, path)
    data = bytearray(path.read_bytes())
    data[byte % len(data)] ^= 0x5A
    path.write_bytes(bytes(data))
    try:
        state = read_weights(path).tensors
    except ConfigError:
        return
    assert all(isinstance(t, Tensor) for t in state.values())


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        (ModelRef(name="miniatur"), "config.model.name: unknown model 'miniatur'"),
        (ModelRef(name="miniatur"), "did you mean 'miniature'?"),
        (ModelRef(name="ViT-B-23"), "did you mean 'ViT-B-32'?"),
        (ModelRef(pretrained="openai"), "config.model.pretrained: unknown value 'openai'"),
        (ModelRef(name="ViT-B-32", pretrained="open_ai"), "did you mean 'openai'?"),
        (ModelRef(name="ViT-B-32", text_from="nothing.pt"), "config.model.text_from: got 'nothing.pt'"),
    ],
)
def test_an_unknown_model_or_tag_is_refused_with_the_nearest_name(ref: ModelRef, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_model(ref)
    assert says in str(error.value)


def test_a_path_is_told_from_a_tag() -> None:
    assert [is_file(p) for p in ("a.pt", "dir/weights", "w.safetensors", "openai", "laion2b_s34b_b79k")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_random_weights_are_drawn_quietly_from_the_initial_seed_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An architecture of the tests' own, registered as open_clip's models are, by a config file."""
    config = open_clip.get_model_config("ViT-B-32")
    config["vision_cfg"].update(image_size=32, patch_size=8, width=64, layers=1)
    config["text_cfg"].update(width=64, heads=1, layers=1, vocab_size=49408)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-test", config)
    state = torch.random.get_rng_state()
    first, again, another = (load_clip(ModelRef(name="tiny-test", init_seed=s)) for s in (0, 0, 1))
    assert first.sha == again.sha != another.sha
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.tower.image_size == image_size_of(ModelRef(name="tiny-test")) == 32
    assert first.encode_text(["a cat"]).shape[0] == 1
    assert caplog.records == []


def test_an_architecture_that_cannot_be_built_here_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose text tower is described on a hub, where there is no network."""
    config = open_clip.get_model_config("ViT-B-32")
    config["text_cfg"] = {"hf_model_name": "no/such model", "hf_tokenizer_name": "no/such model"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "hub-test", config)
    for attempt in (image_size_of, load_clip):
        with pytest.raises(ConfigError, match=r"config\.model\.name: 'hub-test' cannot be built here \("):
            attempt(ModelRef(name="hub-test"))


def test_the_hash_of_weights_tells_values_names_and_shapes_apart(tiny: Any) -> None:
    tower = tiny.tower()
    before = weights_sha(tower)
    with torch.no_grad():
        tower.visual.proj[0, 0] += 1e-6
    assert weights_sha(tower) != before
    line = torch.nn.Linear(2, 1, bias=False)
    turned = torch.nn.Linear(1, 2, bias=False)
    turned.weight.data = line.weight.data.view(2, 1)
    assert weights_sha(line) != weights_sha(turned)


def test_a_zip_that_is_no_torch_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ConfigError, match="truncated or no weights file"):
        read_weights(tmp_path / "w.pt")


def test_imagenets_pixel_statistics_change_what_the_model_sees_and_the_name_of_the_teachers_cache() -> None:
    own, imagenet = (load_clip(ModelRef(pixels=pixels)) for pixels in ("own", "imagenet"))
    mean, std = (
        torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1),
        torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1),
    )
    x = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    as_own = ((x - mean) / std) * own.tower.std + own.tower.mean
    torch.testing.assert_close(imagenet.tower(x), own.tower(as_own), rtol=1e-3, atol=1e-4)
    assert own.sha == imagenet.sha
    assert own.teacher_key != imagenet.teacher_key
    with pytest.raises(ConfigError, match="pixels"):
        ModelRef(pixels="clip")  # type: ignore[arg-type]
