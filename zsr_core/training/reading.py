"""What training reads beside its loss: batches over processes, the teacher's embeddings, a batch's accuracies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from zsr_core.data import ImageSet, batches
from zsr_core.methods.views import Views
from zsr_core.model.distributed import ALONE, World, shared
from zsr_core.model.load import Clip
from zsr_core.training.teacher_cache import TeacherCache


@torch.no_grad()
def accuracies(views: Views) -> dict[str, Tensor]:
    """Return the student's accuracy on the batch in percent, clean and under the training attack.

    Only of images that the loss has encoded, because a curve is not worth a pass of the encoder.
    """
    encoded = {
        "clean_accuracy": views.encoded("student_clean"), "robust_accuracy": views.encoded("student_adv")
    }  # fmt: skip
    return {
        name: 100 * (images.cosines.argmax(dim=1) == views.labels).float().mean()
        for name, images in encoded.items()
        if images is not None
    }


@torch.no_grad()
def seen_by_teacher(
    clip: Clip, images: ImageSet, cache: TeacherCache | None, device: torch.device | str, world: World = ALONE
) -> tuple[Tensor, Tensor]:
    """Return the frozen model's raw embeddings [N, D] of the training images, and their labels [N]."""
    if cache is not None:
        return torch.tensor(cache.embeddings, device=device), images.labels.to(device)
    rows = torch.arange(len(images.labels)).split(256)
    features = shared(clip.tower.features, world)
    raw = torch.cat([features(x).embedding.float() for x, _, _ in batches(images, rows, device)])
    return raw, images.labels.to(device)


def whole_batches(
    images: ImageSet, rows_of: Sequence[Tensor], device: torch.device | str, world: World
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield what ``batches`` yields. Over several processes, each reads its share of the images from the disk."""
    if world.size == 1:
        yield from batches(images, rows_of, device)
        return
    shares = [world.share(rows) for rows in rows_of]
    for rows, (x, y, _) in zip(rows_of, batches(images, shares, device), strict=True):
        yield world.gather(x, len(rows)), world.gather(y, len(rows)), rows
