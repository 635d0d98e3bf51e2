"""Pre-train the miniature's model from scratch on renders of both vendors' drawings, on one CPU core.

    python -m zsr_core.data.miniature.pretrain --out weights.safetensors --steps 5500 --seed 0

Everything depends on the step and the seed, nothing on the clock, and a run that was stopped goes on from its
last checkpoint to the same weights. The shipped weights were made by this command; how exactly, and what they
score, is written in their header.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zsr_core.data.miniature.model import (
    CAPTIONS,
    MEAN,
    PATCHES,
    STD,
    TEMPLATES,
    UNKNOWN,
    model_config,
    tokenize,
    vocabulary,
    vocabulary_hash,
)
from zsr_core.data.miniature.scenes import IMAGE_SIZE, compose, draw, keyed_generator, render, sprites
from zsr_core.data.miniature.sets import LICENCES, PACKAGES, SETS, ZERO_SHOT, emoji_index, set_named


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the weights. Constants without a source are ours, from the learning curve of one run."""

    steps: int = 5500
    seed: int = 0
    batch: int = 128  # different emoji, so that no caption in a batch is another's false negative
    related: int = 32  # of consecutive emoji in a batch of every second epoch: hard negatives
    lr: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.98)  # CLIP, Radford et al. 2021, table 18
    weight_decay: float = 0.1  # on matrices only
    warmup: int = 200  # steps
    clip_norm: float = 1.0
    max_logit_scale: float = 100.0  # CLIP, section 2.5
    patches_kept: int = 18  # of 36 while masked, as in FLIP (Li et al. 2023); more than twice as fast
    masked_part: float = 0.65  # of the steps; the rest sees whole images
    contrasts: tuple[float, float] = (0.45, 1.0)  # wider than the sets', so that those are familiar
    noise: float = 0.015  # largest standard deviation in the noisy part, in [0, 1] pixel units
    noisy_part: float = 0.73  # of the steps; noise to the end would leave the model half robust by itself
    unknown_words: float = 0.03  # of a caption's words are replaced by the unknown word


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One step's images and captions."""

    images: Tensor  # float32 [B, 3, H, W] in [0, 1]
    tokens: Tensor  # int64 [B, context]
    kept: Tensor | None  # int64 [B, patches_kept], or None for all


class KeptPatches(nn.Module):
    """Stands in for open_clip's patch dropout, which draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor | None = None  # int64 [B, K]

    def forward(self, tokens: Tensor) -> Tensor:  # [B, 1 + P, W] -> [B, 1 + K, W]
        if self.kept is None:
            return tokens
        index = self.kept[:, :, None].expand(-1, -1, tokens.shape[-1])
        return torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, index)], dim=1)


def new_model(seed: int) -> open_clip.model.CLIP:
    """The untrained model. Its initialisation is the only thing that reads torch's own generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.model.CLIP(**model_config())
    model.visual.patch_dropout = KeptPatches()
    return model


def choose_emoji(recipe: Recipe, step: int) -> Tensor:
    """Positions in the index of one batch, int64 [B]: every epoch shows each emoji at most once.

    Even epochs mix all emoji; odd epochs put runs of neighbours, which are related, into one batch.
    """
    total = len(emoji_index())
    per_epoch = total // recipe.batch
    epoch, position = divmod(step, per_epoch)
    generator = keyed_generator("pretrain", recipe.seed, "epoch", epoch)
    if epoch % 2 == 0:
        order = generator.permutation(total)
    else:
        rolled = np.roll(np.arange(total), int(generator.integers(total)))
        runs = rolled[: total // recipe.related * recipe.related].reshape(-1, recipe.related)
        order = generator.permutation(runs).reshape(-1)
    return torch.from_numpy(order[position * recipe.batch : (position + 1) * recipe.batch])


def draw_batch(recipe: Recipe, step: int) -> Batch:
    """The batch of one step; it depends on the recipe's seed and the step only."""
    chosen = choose_emoji(recipe, step)
    generator = keyed_generator("pretrain", recipe.seed, "step", step)
    art = torch.stack([sprites("noto")[chosen], sprites("twemoji")[chosen]], dim=1)  # [B, 2, 4, H, W]
    vendors = torch.from_numpy(generator.integers(2, size=len(chosen)))
    drawings = art[torch.arange(len(chosen)), vendors]
    noise = recipe.noise if step < recipe.noisy_part * recipe.steps else 0.0
    drawn = draw(generator, len(chosen))
    images, _ = compose(drawings, *drawn, contrasts=recipe.contrasts, max_noise=noise)

    captions = generator.integers(len(CAPTIONS), size=len(chosen))
    names = [emoji_index()[i].name for i in chosen.tolist()]
    tokens = tokenize([CAPTIONS[c].format(name) for c, name in zip(captions, names, strict=True)])
    is_word = (tokens > UNKNOWN) & (tokens <= UNKNOWN + len(vocabulary()))
    hidden = torch.from_numpy(generator.random(tokens.shape)) < recipe.unknown_words
    tokens = tokens.masked_fill(is_word & hidden, UNKNOWN)

    kept = None
    if step < recipe.masked_part * recipe.steps:
        ranks = torch.from_numpy(generator.random((len(chosen), PATCHES))).argsort(dim=1)
        kept = ranks[:, : recipe.patches_kept]
    return Batch(images=images.float() / 255, tokens=tokens, kept=kept)


def standardize(images: Tensor) -> Tensor:
    """Images in [0, 1] with the model's pixel statistics removed: [B, 3, H, W]."""
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def contrastive_loss(model: open_clip.model.CLIP, batch: Batch) -> Tensor:
    """CLIP's symmetric cross-entropy over the cosines of all images with all captions of the batch."""
    model.visual.patch_dropout.kept = batch.kept
    image = F.normalize(model.visual(standardize(batch.images)), dim=-1)  # [B, D]
    text = F.normalize(model.encode_text(batch.tokens), dim=-1)  # [B, D]
    logits = model.logit_scale.exp() * image @ text.T  # [B, B]
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to zero at the last step."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr * (1 + math.cos(math.pi * progress)) / 2


def new_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves gains, biases and the logit scale alone."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas)


def take_step(model: open_clip.model.CLIP, optimizer: torch.optim.Optimizer, recipe: Recipe, batch: Batch) -> float:
    """Take one step at the optimizer's learning rates, and return the batch's loss before it."""
    loss = contrastive_loss(model, batch)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(max=math.log(recipe.max_logit_scale))
    return loss.item()


def pretrain(recipe: Recipe, out: Path, *, every: int = 250) -> open_clip.model.CLIP:
    """Train to the recipe's end, going on from `out`'s checkpoint if there is one.

    Every `every` steps it prints the clean accuracy on a few selection images and saves a checkpoint and the
    weights so far, whose header says how far that is.
    """
    model = new_model(recipe.seed)
    optimizer = new_optimizer(model, recipe)
    checkpoint = out.with_suffix(".ckpt")
    done, seconds = resume(checkpoint, recipe, model, optimizer)
    began, losses = time.monotonic() - seconds, []

    model.train()
    for step in range(done, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        losses.append(take_step(model, optimizer, recipe, draw_batch(recipe, step)))

        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            seconds = time.monotonic() - began
            clean = clean_accuracies(model, split="selection", n=48)
            report(step + 1, recipe, losses[-every:], clean, seconds)
            save_checkpoint(checkpoint, recipe, model, optimizer, step + 1, seconds)
            write_weights(out, model, recipe, step + 1, seconds)
            model.train()
    return model.eval()


def report(step: int, recipe: Recipe, losses: list[float], clean: Mapping[str, float], seconds: float) -> None:
    """Print one line of the learning curve."""
    zero_shot = sum(clean[name] for name in ZERO_SHOT) / len(ZERO_SHOT)
    print(
        f"step {step:5d}/{recipe.steps}  {seconds:6.0f} s  loss {np.mean(losses):.3f}  "
        f"source {clean['source']:.1%}  zero-shot {zero_shot:.1%}",
        flush=True,
    )


@torch.no_grad()
def clean_accuracies(
    model: open_clip.model.CLIP, *, split: str = "report", n: int | None = None, size: int = IMAGE_SIZE
) -> dict[str, float]:
    """Set -> share of its images whose nearest class text is the right one, on unattacked images."""
    model.eval()
    model.visual.patch_dropout.kept = None
    return {spec.name: _clean_accuracy(model, spec.name, split, n, size) for spec in SETS}


@torch.no_grad()
def class_texts(model: open_clip.model.CLIP, classes: Sequence[str]) -> Tensor:
    """Unit text embeddings, averaged over the templates: [C, D]."""
    texts = [model.encode_text(tokenize([t.format(c) for c in classes]), normalize=True) for t in TEMPLATES]
    return F.normalize(torch.stack(texts).mean(dim=0), dim=-1)


def _clean_accuracy(model: open_clip.model.CLIP, name: str, split: str, n: int | None, size: int) -> float:
    rendered = render(name, split, n, size)
    image = model.encode_image(standardize(rendered.images.float() / 255), normalize=True)  # [N, D]
    text = class_texts(model, set_named(name).classes)
    right = (image @ text.T).argmax(dim=1) == rendered.labels
    return float(right.float().mean())


def save_checkpoint(
    path: Path,
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    """Everything needed to go on, whole or not at all."""
    state = {
        "recipe": json.dumps(dataclasses.asdict(recipe)),
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def resume(path: Path, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load a checkpoint into the model and the optimizer; returns the steps and seconds already done."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    if state["recipe"] != json.dumps(dataclasses.asdict(recipe)):
        raise ValueError(f"{path} was made with the recipe {state['recipe']}; delete it to start anew")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"]


def write_weights(path: Path, model: open_clip.model.CLIP, recipe: Recipe, steps: int, seconds: float) -> None:
    """The model in half precision, with a header that says how it was made."""
    header = {
        "made_by": f"python -m {__spec__.name if __spec__ else 'pretrain'}",
        "steps": f"{steps} of {recipe.steps}",
        "recipe": json.dumps(dataclasses.asdict(recipe)),
        "seconds": f"{seconds:.0f} on one thread of {platform.machine()}",
        "versions": json.dumps(_versions()),
        "vocabulary": vocabulary_hash(),
        "art": json.dumps({PACKAGES[vendor]: LICENCES[vendor] for vendor in PACKAGES}),
    }
    write_file({name: weight.half() for name, weight in model.state_dict().items()}, header, path)


def write_header(path: Path, expected: Mapping[str, float]) -> None:
    """Put what the weights are expected to score, by name and in [0, 1], into a weights file's header."""
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    header["expected"] = json.dumps({name: round(value, 4) for name, value in expected.items()})
    write_file(weights, header, path)


def write_file(weights: dict[str, Tensor], header: dict[str, str], path: Path) -> None:
    """Write tensors with a header, whole or not at all."""
    part = path.with_suffix(".part")
    save_file(weights, part, metadata=header)
    part.replace(path)


def _versions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "open_clip": open_clip.__version__,
        "numpy": np.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Pre-train the miniature's model from scratch.")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, with a .ckpt beside them")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    given = parser.parse_args()

    torch.set_num_threads(1)  # results depend on the number of threads, and two are no faster here
    model = pretrain(Recipe(steps=given.steps, seed=given.seed), given.out)
    clean = clean_accuracies(model.half().float())  # as rounded by the file
    write_header(given.out, {f"clean/{name}": accuracy for name, accuracy in clean.items()})
    print(json.dumps(clean, indent=1))


if __name__ == "__main__":
    main()
