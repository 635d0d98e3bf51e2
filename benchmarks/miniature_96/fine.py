"""Second stage of pre-training at 96 px, in which the miniature comes to use fine detail of crisp drawings.

    python benchmarks/miniature_96/fine.py --art DIR --out q.safetensors --steps 450 --lr 3e-4 --kernel-lr 10 \
        --noise-at 5 --optics 8
    python benchmarks/miniature_96/measure.py --art DIR --weights q.safetensors --tune 1 --eps 2

The shipped 48/8 model is taken to 96/16: 36 tokens as before, every kernel pixel becomes 2 x 2 pixels, so that it is
the same function on smooth pictures. Then all of it is trained on as before, with images of 96 px, without noise and
without masking. The patch kernels are held as DCT coefficients times a fixed gain per frequency (see `retina`), because
Adam otherwise hardly learns fine detail: its amplitude is some hundredths of the coarse structure's. No detail is put
into kernels or images by hand. Results depend on the arguments and the number of threads only; a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zsr_core.data.miniature import model as shipped
from zsr_core.data.miniature import pretrain, scenes
from zsr_core.data.miniature.sets import emoji_index, set_named

SIZE, PATCH = 96, 16  # pixels
BLOCK = 64  # images composed together


@lru_cache(maxsize=2)
def drawings(art: Path, vendor: str) -> Tensor:
    """All drawings of one vendor in the index's order: uint8 [E, 4, 96, 96], not premultiplied."""
    return torch.from_numpy(np.load(art / f"{vendor}96.npy"))


def premultiplied(cells: Tensor) -> Tensor:
    """Cells [B, 4, 96, 96] in [0, 1], colours times alpha."""
    cells = cells.float() / 255
    return torch.cat([cells[:, :3] * cells[:, 3:], cells[:, 3:]], dim=1)


def compose(cells: Tensor, uniforms: Tensor, normals: Tensor | None, contrasts: tuple[float, float]) -> Tensor:
    """Scenes [B, 3, 96, 96] uint8, as `scenes.compose` makes them at 48 px; without normals there is no noise."""
    posed = scenes._pose(premultiplied(cells), uniforms)
    gains = scenes._between(scenes.GAINS, uniforms[:, 6:9])[:, :, None, None]
    contrast = scenes._between(contrasts, uniforms[:, 2])[:, None, None, None]
    colours = uniforms[:, 13:].reshape(-1, 3, scenes.CLOUD_CELLS, scenes.CLOUD_CELLS)
    clouds = F.interpolate(colours, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
    cloudy = (uniforms[:, 9] < 0.5)[:, None, None, None]
    ground = (uniforms[:, 10:13, None, None] + cloudy * scenes.CLOUDINESS * (clouds - 0.5)).clamp(0, 1)
    scene = 0.5 + contrast * (posed[:, :3] * gains + (1 - posed[:, 3:]) * ground - 0.5)
    if normals is not None:
        scene = scene + (scenes.MAX_NOISE * uniforms[:, 3])[:, None, None, None] * normals
    return (scene.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def rendered(art: Path, name: str, split: str, n: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The first n images of a split [n, 3, 96, 96] uint8, their labels and the set's classes."""
    spec = set_named(name)
    labels = torch.tensor(scenes.even_labels(name, split, len(spec.classes), n))
    cell_of = {emoji.name: i for i, emoji in enumerate(emoji_index())}
    cells = drawings(art, spec.vendor)[torch.tensor([cell_of[spec.classes[label]] for label in labels.tolist()])]
    generator = scenes.keyed_generator(name, split, "scene96")  # image i depends on n too, unlike the shipped sets
    uniforms = torch.from_numpy(generator.random((n, scenes.UNIFORMS), dtype=np.float32))
    normals = torch.from_numpy(generator.standard_normal((n, 3, SIZE, SIZE), dtype=np.float32))
    blocks = [slice(i, i + BLOCK) for i in range(0, n, BLOCK)]
    images = [compose(cells[b], uniforms[b], normals[b], scenes.CONTRASTS) for b in blocks]
    return torch.cat(images), labels, spec.classes


class Gained(nn.Module):
    """Kernels held as orthonormal 2-D DCT coefficients divided by a gain per frequency.

    Adam gives each coefficient the same step, so a frequency is learned as fast as its gain is large.
    """

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", dct_basis(len(gain)), persistent=False)
        self.register_buffer("gain", gain, persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        return self.basis.T @ (coefficients * self.gain) @ self.basis

    def right_inverse(self, kernels: Tensor) -> Tensor:
        return (self.basis @ kernels @ self.basis.T) / self.gain


def dct_basis(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix, a frequency a row: [size, size]."""
    n = torch.arange(size).float()
    basis = torch.cos(math.pi * (2 * n[None] + 1) * n[:, None] / 2 / size) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def spectrum(art: Path) -> Tensor:
    """Root mean square of every DCT coefficient over the patches of 256 source images: [16, 16]."""
    images = pretrain.standardize(rendered(art, "source", "train", 256)[0].float() / 255)
    patches = images.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    basis = dct_basis(PATCH)
    return (basis @ patches @ basis.T).pow(2).mean((0, 1, 2, 3)).sqrt()


def retina(art: Path, noise_at: int, optics: float) -> Tensor:
    """Gain per frequency [16, 16]: whitening that gives way to noise and to the optics, as in a retina.

    s / (s^2 + n^2) with the drawings' spectrum s (Atick and Redlich 1992), n = s at index `noise_at`, times a low pass
    at index `optics`; 1 on average over the four lowest frequencies, and 1/4 at least.
    """
    s = spectrum(art)
    index = torch.arange(PATCH)
    highest = torch.maximum(index[:, None], index[None])
    n = s[highest == noise_at].mean()
    gain = s / (s * s + n * n)
    return (gain / gain[:2, :2].mean() / (1 + (highest / optics) ** 8)).clamp(min=0.25)


def new_model() -> open_clip.model.CLIP:
    """The model at 96/16, untrained."""
    config = shipped.model_config()
    config["vision_cfg"].update(image_size=SIZE, patch_size=PATCH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.model.CLIP(**config)
    model.visual.patch_dropout = pretrain.KeptPatches()
    return model


def enlarged() -> open_clip.model.CLIP:
    """The shipped model at 96/16: the same function of the image reduced by 2 x 2 averaging."""
    weights = shipped.load_model().state_dict()
    kernels = weights["visual.conv1.weight"]
    weights["visual.conv1.weight"] = kernels.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    model = new_model()
    model.load_state_dict(weights)
    return model


def load(path: Path) -> open_clip.model.CLIP:
    """A model that `main` wrote, in evaluation mode."""
    model = new_model()
    model.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return model.eval()


def batch_of(art: Path, recipe: pretrain.Recipe, step: int) -> pretrain.Batch:
    """One step's images and captions; they depend on the recipe's seed and the step only."""
    chosen = pretrain.choose_emoji(recipe, step)
    generator = scenes.keyed_generator("pre96", recipe.seed, step)
    vendors = torch.from_numpy(generator.integers(2, size=len(chosen)))[:, None, None, None]
    cells = torch.where(vendors == 0, drawings(art, "noto")[chosen], drawings(art, "twemoji")[chosen])
    uniforms = torch.from_numpy(generator.random((len(chosen), scenes.UNIFORMS), dtype=np.float32))
    generator.random((len(chosen), 2), dtype=np.float32)  # unused; it keeps the later draws those of the measured runs
    images = compose(cells, uniforms, None, recipe.contrasts)
    captions = generator.integers(len(shipped.CAPTIONS), size=len(chosen))
    names = [emoji_index()[i].name for i in chosen.tolist()]
    tokens = shipped.tokenize([shipped.CAPTIONS[c].format(n) for c, n in zip(captions, names, strict=True)])
    is_word = (tokens > shipped.UNKNOWN) & (tokens <= shipped.UNKNOWN + len(shipped.vocabulary()))
    hidden = torch.from_numpy(generator.random(tokens.shape)) < recipe.unknown_words
    return pretrain.Batch(images=images.float() / 255, tokens=tokens.masked_fill(is_word & hidden, 1), kept=None)


def new_optimizer(model: nn.Module, recipe: pretrain.Recipe) -> torch.optim.AdamW:
    """AdamW with three groups: matrices, everything else, patch kernels (no decay)."""
    kernels = [p for name, p in model.named_parameters() if "conv1" in name]
    matrices = [p for p in model.parameters() if p.ndim >= 2 and p is not kernels[0]]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [(matrices, recipe.weight_decay), (others, 0.0), (kernels, 0.0)]
    params = [{"params": group, "weight_decay": decay} for group, decay in groups]
    return torch.optim.AdamW(params, lr=recipe.lr, betas=recipe.betas)


def train(art: Path, recipe: pretrain.Recipe, gain: Tensor, kernel_lr: float, checkpoint: Path) -> Any:
    """Train the enlarged model to the recipe's end, going on from the checkpoint if there is one."""
    model = enlarged()
    parametrize.register_parametrization(model.visual.conv1, "weight", Gained(gain))
    optimizer = new_optimizer(model, recipe)
    done, _ = pretrain.resume(checkpoint, recipe, model, optimizer)
    began, losses = time.process_time(), []
    model.train()
    for step in range(done, recipe.steps):
        for group, times in zip(optimizer.param_groups, (1.0, 1.0, kernel_lr), strict=True):
            group["lr"] = times * pretrain.learning_rate(recipe, step)
        loss = pretrain.contrastive_loss(model, batch_of(art, recipe, step))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(recipe.max_logit_scale))
        losses.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == recipe.steps:
            seconds = time.process_time() - began
            print(f"step {step + 1}/{recipe.steps}  {seconds:.0f} s  loss {np.mean(losses[-50:]):.3f}", flush=True)
            pretrain.save_checkpoint(checkpoint, recipe, model, optimizer, step + 1, seconds)
    parametrize.remove_parametrizations(model.visual.conv1, "weight")
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Second stage of pre-training at 96 px.")
    add = parser.add_argument
    add("--art", type=Path, required=True, help="folder that pack.py wrote")
    add("--out", type=Path, required=True, help="weights to write, with a .ckpt beside them")
    add("--steps", type=int, default=450)
    add("--lr", type=float, default=3e-4)
    add("--kernel-lr", type=float, default=10.0, help="the patch kernels' learning rate, as a multiple of --lr")
    add("--noise-at", type=int, default=5, help="DCT index where the retina's noise equals the drawings' spectrum")
    add("--optics", type=float, default=8.0, help="DCT index where the low pass halves the gain")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = pretrain.Recipe(steps=given.steps, seed=7, lr=given.lr, warmup=25)
    gain = retina(given.art, given.noise_at, given.optics)
    model = train(given.art, recipe, gain, given.kernel_lr, given.out.with_suffix(".ckpt"))
    weights = {name: weight.half().contiguous() for name, weight in model.state_dict().items()}
    arguments = {name: str(value) for name, value in vars(given).items()}
    save_file(weights, given.out, metadata={"arguments": json.dumps(arguments)})


if __name__ == "__main__":
    main()
