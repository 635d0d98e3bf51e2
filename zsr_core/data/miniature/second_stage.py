"""Take the miniature from 48 to 96 pixels, where it comes to use fine detail of the drawings.

    python -m zsr_core.data.miniature.second_stage --out weights-96.safetensors

The shipped model of 48 pixels is enlarged: 36 patches as before, every kernel pixel becomes 2 x 2 pixels, so that it is
the same function on smooth pictures. Then it is trained on as before, on crisp renders of 96 pixels without noise and
without masking, the patch kernels a hundred times faster than the rest: what undoes their fine detail later should not
have to undo the rest. The kernels are held as DCT coefficients times a fixed gain per frequency (see `retina`), because
Adam otherwise hardly learns fine detail, whose amplitude is some hundredths of the coarse structure's. At last the
change is taken in part, as in WiSE-FT. No detail is put into kernels or images by hand.

Everything depends on the step and the seed, nothing on the clock, and a stopped run goes on to the same weights. The
shipped weights were made by this command on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zsr_core.data.miniature import pretrain
from zsr_core.data.miniature.contract import promises
from zsr_core.data.miniature.model import (
    CAPTIONS,
    FINE,
    UNKNOWN,
    load_model,
    model_config,
    tokenize,
    vocabulary,
    vocabulary_hash,
)
from zsr_core.data.miniature.scenes import (
    FINE_SIZE,
    UNIFORMS,
    cells,
    compose,
    keyed_generator,
    premultiplied,
    render,
)
from zsr_core.data.miniature.sets import LICENCES, SVG_PACKAGES, emoji_index

CONV = "visual.conv1.weight"  # the patch kernels


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What decides the weights beside the shipped ones of 48 pixels. All ours, from a few runs of 150 to 450 steps."""

    first: pretrain.Recipe = dataclasses.field(
        default_factory=lambda: pretrain.Recipe(steps=250, seed=7, lr=3e-5, warmup=25, noise=0.0)
    )
    kernel_lr: float = 100.0  # the kernels' learning rate, as a multiple of the recipe's
    noise_at: int = 5  # DCT index where the retina's noise equals the drawings' spectrum
    optics: float = 8.0  # DCT index where the low pass halves the gain
    share: float = 0.5  # of the change: the least that leaves 8 % robust at 2/255; with more, FARE finds back slower


class Gained(nn.Module):
    """Kernels held as orthonormal 2-D DCT coefficients divided by a gain per frequency.

    Adam moves each coefficient equally fast, so a frequency is learned as fast as its gain is large.
    """

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.gain, self.basis = gain, dct_basis(len(gain))

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


def spectrum(patch: int) -> Tensor:
    """Root mean square of every DCT coefficient over the patches of 256 source images: [patch, patch]."""
    images = pretrain.standardize(render("source", "train", 256, FINE_SIZE).images.float() / 255)
    patches = images.unfold(2, patch, patch).unfold(3, patch, patch)  # [N, 3, 6, 6, patch, patch]
    basis = dct_basis(patch)
    return (basis @ patches @ basis.T).pow(2).mean((0, 1, 2, 3)).sqrt()


def retina(stage: Stage, patch: int = 16) -> Tensor:
    """Gain per frequency [patch, patch]: whitening that gives way to noise and to the optics, as in a retina.

    s / (s^2 + n^2) with the drawings' spectrum s (Atick and Redlich 1992), times a low pass; 1 on average over the four
    lowest frequencies, and 1/4 at least.
    """
    s, index = spectrum(patch), torch.arange(patch)
    highest = torch.maximum(index[:, None], index[None])
    noise = s[highest == stage.noise_at].mean()
    gain = s / (s * s + noise * noise)
    return (gain / gain[:2, :2].mean() / (1 + (highest / stage.optics) ** 8)).clamp(min=0.25)


def enlarged() -> open_clip.model.CLIP:
    """The shipped model at 96 pixels: the same function of the image reduced by 2 x 2 averaging."""
    weights = load_model().state_dict()
    weights[CONV] = weights[CONV].repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    model = open_clip.model.CLIP(**model_config(FINE))
    model.visual.patch_dropout = pretrain.KeptPatches()
    model.load_state_dict(weights)
    return model


def draw_batch(recipe: pretrain.Recipe, step: int) -> pretrain.Batch:
    """One step's images and captions; they depend on the recipe's seed and the step only."""
    chosen = pretrain.choose_emoji(recipe, step)
    generator = keyed_generator("second stage", recipe.seed, "step", step)
    vendors = torch.from_numpy(generator.integers(2, size=len(chosen)))[:, None, None, None]
    art = torch.where(vendors == 0, cells("noto", FINE_SIZE)[chosen], cells("twemoji", FINE_SIZE)[chosen])
    uniforms = torch.from_numpy(generator.random((len(chosen), UNIFORMS), dtype=np.float32))
    images, _ = compose(premultiplied(art), uniforms, torch.zeros(()), contrasts=recipe.contrasts, max_noise=0.0)
    captions = generator.integers(len(CAPTIONS), size=len(chosen))
    names = [emoji_index()[i].name for i in chosen.tolist()]
    tokens = tokenize([CAPTIONS[c].format(name) for c, name in zip(captions, names, strict=True)])
    is_word = (tokens > UNKNOWN) & (tokens <= UNKNOWN + len(vocabulary()))
    hidden = torch.from_numpy(generator.random(tokens.shape)) < recipe.unknown_words
    return pretrain.Batch(images=images.float() / 255, tokens=tokens.masked_fill(is_word & hidden, UNKNOWN), kept=None)


def new_optimizer(model: nn.Module, recipe: pretrain.Recipe) -> torch.optim.AdamW:
    """AdamW with three groups: matrices, gains and biases, patch kernels. Decay is for the matrices."""
    kernels = [p for name, p in model.named_parameters() if "conv1" in name]
    matrices = [p for name, p in model.named_parameters() if p.ndim >= 2 and "conv1" not in name]
    others = [p for p in model.parameters() if p.ndim < 2]
    decays = [(matrices, recipe.weight_decay), (others, 0.0), (kernels, 0.0)]
    groups = [{"params": params, "weight_decay": decay} for params, decay in decays]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas)


def train(stage: Stage, checkpoint: Path, *, every: int = 50) -> open_clip.model.CLIP:
    """The enlarged model after the stage, going on from the checkpoint if there is one."""
    recipe, model = stage.first, enlarged()
    parametrize.register_parametrization(model.visual.conv1, "weight", Gained(retina(stage)))
    optimizer = new_optimizer(model, recipe)
    done, seconds = pretrain.resume(checkpoint, recipe, model, optimizer)
    began, losses = time.process_time() - seconds, []
    model.train()
    for step in range(done, recipe.steps):
        for group, times in zip(optimizer.param_groups, (1.0, 1.0, stage.kernel_lr), strict=True):
            group["lr"] = times * pretrain.learning_rate(recipe, step)
        losses.append(pretrain.take_step(model, optimizer, recipe, draw_batch(recipe, step)))
        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            seconds = time.process_time() - began
            print(f"step {step + 1}/{recipe.steps}  {seconds:.0f} s  loss {np.mean(losses[-every:]):.3f}", flush=True)
            pretrain.save_checkpoint(checkpoint, recipe, model, optimizer, step + 1, seconds)
    parametrize.remove_parametrizations(model.visual.conv1, "weight")
    return mixed(model, stage.share).eval()


@torch.no_grad()
def mixed(model: open_clip.model.CLIP, share: float) -> open_clip.model.CLIP:
    """Weights of `share` parts of this model and the rest of the enlarged one."""
    before = enlarged().state_dict()
    model.load_state_dict({k: before[k] + share * (v - before[k]) for k, v in model.state_dict().items()})
    return model


def header(stage: Stage) -> dict[str, str]:
    """How the weights were made."""
    return {
        "made_by": "python -m zsr_core.data.miniature.second_stage",
        "stage": json.dumps(dataclasses.asdict(stage)),
        "platform": f"one thread of {platform.machine()}",
        "versions": json.dumps({"torch": str(torch.__version__), "numpy": np.__version__}),
        "vocabulary": vocabulary_hash(),
        "art": json.dumps({SVG_PACKAGES[vendor]: LICENCES[vendor] for vendor in SVG_PACKAGES}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the miniature from 48 to 96 pixels.")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, with a .ckpt beside them")
    parser.add_argument("--share", type=float, default=Stage.share, help="of the change that is taken")
    given = parser.parse_args()
    torch.set_num_threads(1)  # results depend on the number of threads
    stage = Stage(share=given.share)
    model = train(stage, given.out.with_suffix(".ckpt")).half().float()  # as rounded by the file
    accuracies = pretrain.clean_accuracies(model, size=FINE_SIZE)
    clean = {f"clean/{name}": round(value, 4) for name, value in accuracies.items()}
    weights = {name: weight.half().contiguous() for name, weight in model.state_dict().items()}
    found = {"expected": json.dumps(clean), "at 2/255": json.dumps(promises(model))}
    pretrain.write_file(weights, {**header(stage), **found}, given.out)
    print(json.dumps(clean, indent=1))


if __name__ == "__main__":
    main()
