"""Weights files in the formats that people publish, and what is done with those that are not what they seem."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.model.load import ModelRef, check_model, check_tag, computes_quick_gelu, load_clip, weights_sha
from zsr_core.model.weights import fit, read_weights

State = dict[str, Tensor]
GELU, QUICK = "small", "small-quickgelu"


@pytest.fixture(autouse=True)
def architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    """ViT-B/32 cut down, in both activations, and its like with other shapes, registered as open_clip's are."""
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    config["vision_cfg"].update(image_size=32, patch_size=8, width=64, layers=3)
    config["text_cfg"].update(width=64, heads=1, layers=1)
    changes: dict[str, dict[str, Any]] = {
        QUICK: {}, GELU: {"quick_gelu": False}, "small-text": {"custom_text": True},
        "small-deep": {"vision_cfg": {**config["vision_cfg"], "layers": 5}},
        "small-wide": {"vision_cfg": {**config["vision_cfg"], "width": 128}},
    }  # fmt: skip
    for name, change in changes.items():
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, {**config, **change})


def model(name: str = QUICK, seed: int = 7) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.create_model(name).eval()


@pytest.fixture
def state() -> State:
    return dict(model().state_dict())


def visual(state: State, prefix: str = "") -> State:
    return {prefix + n.removeprefix("visual."): t for n, t in state.items() if n.startswith("visual.")}


def saved(path: Path, content: Any) -> str:
    torch.save(content, path)
    return str(path)


def tecoa(state: State) -> dict[str, Any]:
    """As ``save_checkpoint`` of TeCoA's ``finetuning.py`` leaves it: "state_dict" is the visual prompt's."""
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimiser.step()
    return {
        "epoch": 10, "state_dict": {"pad_up": torch.zeros(1, 3, 0, 8)}, "add_prompter": {"x": torch.zeros(1)},
        "vision_encoder_state_dict": visual(state, "module."), "best_acc1": np.float64(31.5),
        "optimizer": optimiser.state_dict(), "args": argparse.Namespace(lr=1e-5, root="."),
    }  # fmt: skip


FORMATS: dict[str, Callable[[State], Any]] = {
    "a whole state dict": lambda s: s,
    "OpenAI's state dict": lambda s: {**s, "input_resolution": 32, "context_length": 77, "vocab_size": 49408},
    "OpenAI's state dict with tensors for numbers": lambda s: {**s, "input_resolution": torch.tensor(32)},
    "a tower alone": visual,
    "a tower with its prefix": lambda s: visual(s, "visual."),
    "FARE's, saved within its wrappers": lambda s: visual(s, "module.model."),
    "TeCoA's checkpoint": tecoa,
    "a Lightning checkpoint": lambda s: {
        "state_dict": {f"net.clip.{n}": t for n, t in s.items()}, "hyper_parameters": {"lr": 0.1}, "epoch": 1,
    },
    "a tower beside a head": lambda s: {"state_dict": {**visual(s, "visual."), "fc.weight": torch.ones(2, 2)}},
    "texts under a name of their own": lambda s: {
        n if n.startswith(("visual.", "logit")) else f"text.{n}": t for n, t in s.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_published_format_fills_the_image_tower(name: str, state: State, tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", state)
    ref = ModelRef(name=QUICK, pretrained=saved(tmp_path / "w.pth.tar", FORMATS[name](state)), text_from=whole)
    check_model(ref)
    clip = load_clip(ref)
    assert clip.sha == weights_sha(load_clip(ModelRef(name=QUICK, pretrained=whole)).tower)
    assert all(torch.equal(t, state[f"visual.{n}"]) for n, t in clip.tower.visual.state_dict().items())


@pytest.mark.parametrize(("there", "here"), [(QUICK, "small-text"), ("small-text", QUICK)])
def test_a_text_tower_fills_its_model_wherever_the_file_keeps_it(there: str, here: str, tmp_path: Path) -> None:
    source = model(there)
    clip = load_clip(ModelRef(name=here, pretrained=saved(tmp_path / "w.pt", source.state_dict())))
    tokens = open_clip.get_tokenizer(there)(["a cat", "a dog"])
    torch.testing.assert_close(clip.encode_text(["a cat", "a dog"]), source.encode_text(tokens).detach())


def test_texts_and_scale_come_from_where_they_are_said_to(state: State, tmp_path: Path) -> None:
    other = dict(model(seed=8).state_dict())
    other["logit_scale"] = torch.tensor(3.0)
    image, text = saved(tmp_path / "image.pt", state), saved(tmp_path / "text.pt", other)
    clip = load_clip(ModelRef(name=QUICK, pretrained=image, text_from=text))
    assert clip.sha == load_clip(ModelRef(name=QUICK, pretrained=image)).sha
    assert torch.equal(
        clip.encode_text(["a cat"]), load_clip(ModelRef(name=QUICK, pretrained=text)).encode_text(["a cat"])
    )
    assert clip.scale == pytest.approx(float(torch.tensor(3.0).exp()))


# TorchScript archives, as OpenAI publishes its models.


def script(source: Any, path: Path) -> str:
    inputs = torch.zeros(1, 3, 32, 32), torch.ones(1, 77, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is on its way out of torch; published archives stay
        torch.jit.save(torch.jit.trace(source, inputs, check_trace=False), path)
    return str(path)


@cache
def _archive() -> bytes:
    with TemporaryDirectory() as folder:
        return Path(script(model(), Path(folder) / "ViT.pt")).read_bytes()


def archive(folder: Path) -> str:
    path = folder / "ViT.pt"
    path.write_bytes(_archive())
    return str(path)


def test_a_torchscript_archive_is_read_tensor_by_tensor(state: State, tmp_path: Path) -> None:
    source = model()
    ref = ModelRef(name=QUICK, pretrained=archive(tmp_path))
    check_model(ref)
    clip = load_clip(ref)
    assert all(torch.equal(t, state[f"visual.{n}"]) for n, t in clip.tower.visual.state_dict().items())
    tokens = open_clip.get_tokenizer(QUICK)(["a cat"])
    torch.testing.assert_close(clip.encode_text(["a cat"]), source.encode_text(tokens).detach())


def test_an_archive_in_half_precision_keeps_its_types_and_shapes(tmp_path: Path) -> None:
    class Halves(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Linear(3, 2).half()
            self.register_buffer("turned", torch.arange(6.0).view(2, 3).T)

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return image.sum() + text.sum() + self.turned.sum() + self.one.weight.sum()

    source = Halves()
    found = read_weights(Path(script(source, tmp_path / "h.pt"))).tensors
    assert {n: t.dtype for n, t in found.items()} == {n: t.dtype for n, t in source.state_dict().items()}
    assert all(torch.equal(found[n], t) for n, t in source.state_dict().items())


class _Bomb:
    """Unpickling it calls ``Path.touch`` on the file it names."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def rewritten(path: str, change: Callable[[str, bytes], bytes | None]) -> str:
    """Return the archive with each member as ``change`` makes it of (name within, content); None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            made = change(name.partition("/")[2], content)
            if made is not None:
                archive.writestr(name, made)
    return path


def _loop(content: bytes) -> bytes:
    """A module that is its own attribute."""
    return b"\x80\x02c__torch__.a\nA\n)\x81q\x00}X\x04\x00\x00\x00selfh\x00sb."


BROKEN: dict[str, tuple[Callable[[Path], Callable[[str, bytes], bytes | None]], str]] = {
    "code for data": (
        lambda d: lambda n, c: pickle.dumps(_Bomb(d / "ran"), protocol=2) if n == "data.pkl" else c,
        "holds pickled code",
    ),
    "no data": (lambda d: lambda n, c: None if n == "data/0" else c, "no whole TorchScript archive"),
    "short data": (lambda d: lambda n, c: c[: len(c) // 2] if n == "data/0" else c, "no whole TorchScript archive"),
    "no modules": (lambda d: lambda n, c: None if n == "data.pkl" else c, "no whole TorchScript archive"),
    "half of the modules": (lambda d: lambda n, c: c[:999] if n == "data.pkl" else c, "no whole TorchScript archive"),
    "an endless module": (lambda d: lambda n, c: _loop(c) if n == "data.pkl" else c, "no whole TorchScript archive"),
    "nothing but a number": (lambda d: lambda n, c: pickle.dumps(1) if n == "data.pkl" else c, "no whole TorchScript"),
    "big-endian": (lambda d: lambda n, c: b"big" if n == "byteorder" else c, "big-endian"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_archive_is_one_clear_error_and_runs_nothing(kind: str, tmp_path: Path) -> None:
    change, says = BROKEN[kind]
    path = rewritten(archive(tmp_path), change(tmp_path))
    for attempt in (check_model, load_clip):
        with pytest.raises(ConfigError) as error:
            attempt(ModelRef(name=QUICK, pretrained=path))
        assert str(error.value).startswith(f"config.model.pretrained: {path} ")
        assert says in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_the_code_of_an_archive_is_never_looked_at(tmp_path: Path) -> None:
    path = rewritten(archive(tmp_path), lambda n, c: b"import os; os.abort()" if n.startswith("code/") else c)
    assert load_clip(ModelRef(name=QUICK, pretrained=path)).tower.layout.name == "vit"


def test_what_a_checkpoint_logs_beside_its_tensors_is_passed_over_and_other_objects_are_refused(
    state: State, tmp_path: Path
) -> None:
    log = {"best_acc1": np.float32(1.5), "loss": np.float64(0.1), "args": argparse.Namespace(a=1), "out": Path("x")}
    assert set(read_weights(Path(saved(tmp_path / "log.pt", {"model": state, **log}))).tensors) == set(state)
    with pytest.raises(ConfigError, match="holds pickled code"):
        read_weights(Path(saved(tmp_path / "bomb.pt", {"model": state, "x": _Bomb(tmp_path / "ran")})))
    assert not (tmp_path / "ran").exists()


def test_a_pickled_module_is_refused_by_what_it_asks_for_and_without_advice_to_trust_it(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no weights file \(\w+ [^(]*\.Linear\); expected plain tensors: "
    ) as refused:
        read_weights(Path(saved(tmp_path / "whole.pt", torch.nn.Linear(2, 2))))
    assert "\x1b" not in str(refused.value)
    assert "weights_only" not in str(refused.value)
    (tmp_path / "raw.pt").write_bytes(pickle.dumps({"a": 1}, protocol=4))
    with pytest.raises(ConfigError, match="no weights file"):
        read_weights(tmp_path / "raw.pt")


# The wrong architecture, named by the first tensors that show it.


WRONG: dict[str, tuple[str, Callable[[State], State], str]] = {
    "another width": (
        "small-wide", dict,
        "class_embedding has shape [64], expected [128]; visual.positional_embedding has shape [17, 64]",
    ),
    "more blocks than the model has": (
        GELU, lambda s: dict(model("small-deep").state_dict()),
        "it holds 24 tensors more, first visual.transformer.resblocks.3.ln_1.weight",
    ),
    "fewer blocks than the model has": (
        "small-deep", dict, "it lacks 24 tensors, first visual.transformer.resblocks.3.ln_1.weight",
    ),
    "a tower with more blocks": (
        GELU, lambda s: visual(dict(model("small-deep").state_dict())),
        "it holds 24 tensors more, first transformer.resblocks.3.ln_1.weight",
    ),
    "no image tower": (
        QUICK, lambda s: {n: t for n, t in s.items() if not n.startswith("visual.")},
        "first visual.class_embedding, visual.positional_embedding, visual.proj; it holds positional_embedding, ",
    ),
    "a ResNet": (
        QUICK, lambda s: {f"visual.{n}": torch.ones(4, 3, 3, 3) for n in ("conv1.weight", "layer1.0.conv1.weight")},
        "visual.conv1.weight has shape [4, 3, 3, 3], expected [64, 3, 8, 8] (1 such)",
    ),
    "half a text tower": (QUICK, lambda s: {n: t for n, t in s.items() if n != "ln_final.bias"}, "first ln_final.bias"),
    "two image towers": (
        QUICK, lambda s: {**visual(s, "student."), **visual(s, "teacher.")},
        "'student.conv1.weight', 'teacher.conv1.weight'",
    ),
    "a number that is none": (
        QUICK, lambda s: {**s, "visual.proj": torch.full_like(s["visual.proj"], torch.nan)}, "NaN or infinite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_weights_that_do_not_fit_are_told_by_the_first_tensors_that_show_it(
    kind: str, state: State, tmp_path: Path
) -> None:
    name, change, says = WRONG[kind]
    ref = ModelRef(
        name=name, pretrained=saved(tmp_path / "w.pt", change(state)), text_from=saved(tmp_path / "t.pt", state)
    )
    with pytest.raises(ConfigError) as error:
        load_clip(ref)
    assert str(error.value).startswith(f"config.model.pretrained: {ref.pretrained} ")
    assert says in str(error.value)


def test_a_tower_alone_asks_for_its_texts_and_texts_are_not_taken_from_one(state: State, tmp_path: Path) -> None:
    alone = saved(tmp_path / "alone.pt", visual(state))
    for attempt in (check_model, load_clip):
        with pytest.raises(ConfigError, match=r"alone; expected config\.model\.text_from to name a tag"):
            attempt(ModelRef(name=QUICK, pretrained=alone))
        with pytest.raises(ConfigError, match=r"config\.model\.text_from: .* expected a whole CLIP"):
            attempt(ModelRef(name=QUICK, pretrained=alone, text_from=alone))


def test_shapes_are_compared_without_reading_a_number(state: State, tmp_path: Path) -> None:
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors", shapes_only=True)
    assert {t.device.type for t in found.tensors.values()} == {"meta"}
    wanted = {n: tuple(t.shape) for n, t in state.items()}
    assert fit(found.shapes, wanted, tmp_path, "here").names == {n: n for n in state}


# QuickGELU: the wrong activation breaks nothing and costs accuracy, so it is looked for.


def test_a_tag_of_another_activation_is_refused_with_the_name_that_is_meant() -> None:
    with pytest.raises(ConfigError) as error:
        check_model(ModelRef(name="ViT-B-32", pretrained="openai"))
    assert str(error.value) == (
        "config.model.pretrained: tag 'openai' was trained with QuickGELU (open_clip lists it so), but 'ViT-B-32' "
        "computes GELU; expected name 'ViT-B-32-quickgelu'"
    )
    with pytest.raises(ConfigError, match=r"config\.model\.text_from: tag 'openai' .* expected name 'RN50-quickgelu'"):
        check_model(ModelRef(name="RN50", text_from="openai"))
    check_model(ModelRef(name="ViT-B-32", pretrained="laion2b_s34b_b79k"))
    check_model(ModelRef(name="ViT-B-32-quickgelu", pretrained="openai"))


def test_every_tag_can_be_used_with_some_architecture() -> None:
    usable = set()
    for name, tag in open_clip.list_pretrained():
        trained = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
        try:
            check_tag(name, tag, "here")
        except ConfigError:
            assert computes_quick_gelu(name) != trained
            continue
        usable.add((name.removesuffix("-quickgelu"), tag))
    assert usable == {(name.removesuffix("-quickgelu"), tag) for name, tag in open_clip.list_pretrained()}


def recording(state: State, path: Path, *, quick: bool) -> str:
    save_file({n: t.contiguous() for n, t in state.items()}, path, metadata={"quick_gelu": str(quick).lower()})
    return str(path)


HINTS: dict[str, tuple[str, Callable[[State, Path], str], str]] = {
    "a TorchScript archive": (GELU, lambda s, d: archive(d), "TorchScript archive, as OpenAI publishes"),
    "OpenAI's numbers": (GELU, lambda s, d: saved(d / "w.pt", {**s, "input_resolution": 32}), "'input_resolution'"),
    "TeCoA's wrapper": (GELU, lambda s, d: saved(d / "w.pt", tecoa(s)), "'vision_encoder_state_dict'"),
    "a record in the checkpoint": (
        QUICK, lambda s, d: saved(d / "w.pt", {"state_dict": s, "quick_gelu": False}), "records so under 'quick_gelu'",
    ),
    "a record against the format": (
        QUICK, lambda s, d: saved(d / "w.pt", {**tecoa(s), "quick_gelu": False}), "records so under 'quick_gelu'",
    ),
    "a record in safetensors": (GELU, lambda s, d: recording(s, d / "w.safetensors", quick=True), "records so"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HINTS)
def test_a_file_that_tells_of_another_activation_is_refused_and_fits_the_other(
    kind: str, state: State, tmp_path: Path
) -> None:
    wrong, make, says = HINTS[kind]
    right = GELU if wrong == QUICK else QUICK
    path, whole = make(state, tmp_path), saved(tmp_path / "whole.pt", state)
    for attempt in (check_model, load_clip):
        with pytest.raises(ConfigError) as error:
            attempt(ModelRef(name=wrong, pretrained=path, text_from=whole))
        assert str(error.value).startswith(f"config.model.pretrained: {path} was trained with ")
        assert says in str(error.value)
        assert str(error.value).endswith(f"expected name {right!r}")
    load_clip(ModelRef(name=right, pretrained=path, text_from=whole))


def test_a_plain_state_dict_tells_nothing_of_its_activation_and_fits_either(state: State, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", state)
    assert read_weights(Path(path)).quick_gelu is None
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, other = (load_clip(ModelRef(name=name, pretrained=path)) for name in (GELU, QUICK))
    assert one.sha == other.sha
    assert not torch.allclose(one.tower(x), other.tower(x))
