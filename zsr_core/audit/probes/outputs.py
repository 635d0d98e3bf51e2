"""Probes of a classifier's outputs: their range, and whether the same image gets the same answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.audit.facts import Outputs, Repeats
from zsr_core.audit.outcomes import ImageKey, image_key
from zsr_core.audit.scene import Scene
from zsr_core.evaluation.predict import predict
from zsr_core.records import SampleRecord
from zsr_core.rng import generator
from zsr_core.text import TextBank

PASSES = 5  # forward passes over the same images (AutoAttack's randomness check)
SAME_MARGIN = 1e-3  # two passes may disagree on an image whose margin is smaller, because fp32 rounds; ours


@torch.no_grad()
def answers(scene: Scene) -> tuple[Outputs, Repeats]:
    """Return the range of the deployed classifier's outputs, and how far five passes over the same images differ.

    Every second pass asks the odd images of a batch and the even ones apart, so that answers that depend on the other
    images of the batch, on their order or on their mean, differ too. A defence draws anew in every pass.
    """
    low, high, sums, gap, changed = torch.inf, -torch.inf, 0.0, 0.0, 0
    for x, _, ids, text in scene.batches():
        passes = torch.stack([_deployed(scene, x, ids, text, k) for k in range(PASSES)])  # [5, b, C]
        low, high = min(low, float(passes.min())), max(high, float(passes.max()))
        sums = max(sums, float((passes[0].sum(dim=1) - 1).abs().max()))
        unit = F.normalize(passes.double(), dim=-1)
        gap = max(gap, float((unit - unit[0]).abs().max()))
        guesses = passes.argmax(dim=-1)
        changed += int((guesses != guesses[0]).any(dim=0).sum())
    eot = scene.victim.attack_samples if scene.victim.defended is not None else 0
    return (
        Outputs(low=low, high=high, sum_gap=sums, n=scene.n),
        Repeats(passes=PASSES, changed=changed, gap=gap, n=scene.n, eot=eot),
    )


def _deployed(scene: Scene, x: Tensor, ids: Sequence[str], text: TextBank, k: int) -> Tensor:
    rows = torch.arange(len(x), device=x.device)
    parts = [part for part in (rows[1::2], rows[::2]) if len(part)] if k % 2 else [rows]

    def asked(part: Tensor) -> Tensor:
        named = [ids[i] for i in part.tolist()]
        return scene.victim.logits(x[part], text, lambda: [generator(scene.seed, "audit", k, i) for i in named])

    return torch.cat([asked(part) for part in parts])[torch.cat(parts).argsort()]


def disagreeing(scene: Scene, clean: Mapping[ImageKey, SampleRecord]) -> tuple[int, int]:
    """Return for how many images the classifier disagrees with their ``clean`` records, and how many have one."""
    pairs = [(stored, r) for r in _clean_records(scene) if (stored := clean.get(image_key(r))) is not None]
    differ = sum(stored.pred != r.pred and max(abs(stored.margin), abs(r.margin)) > SAME_MARGIN for stored, r in pairs)
    return differ, len(pairs)


def _clean_records(scene: Scene) -> list[SampleRecord]:
    records: list[SampleRecord] = []
    for images, text in scene.tasks:
        records += predict(
            scene.victim, images, text, [], [], seed=scene.seed, batch_size=scene.batch_size, device=scene.device
        )
    return records
