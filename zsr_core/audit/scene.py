"""What every probe looks at: a classifier, labelled images, and one budget."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zsr_core.audit.outcomes import ImageKey
from zsr_core.data import ImageSet, batches
from zsr_core.data.open import taken
from zsr_core.evaluation.victim import Victim
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A classifier on labelled images, in [0, 1], at one budget."""

    victim: Victim
    tasks: tuple[tuple[ImageSet, TextBank], ...]
    threat: ThreatModel
    seed: int = 0
    batch_size: int = 128
    device: torch.device | str = "cpu"

    @property
    def n(self) -> int:
        return sum(len(images.labels) for images, _ in self.tasks)

    @property
    def keys(self) -> set[ImageKey]:
        """The images, by task and id."""
        return {(images.name, name) for images, _ in self.tasks for name in images.ids}

    @property
    def numbers(self) -> int:
        """Numbers in one image, 3 H W, of the task with the largest images."""
        return max(images.pixels([0])[0].numel() for images, _ in self.tasks)

    @property
    def largest_class(self) -> float | None:
        """The share of images, in percent, that one answer per task gets right; None without images.

        It is what stands where every image can become the same grey.
        """
        most = sum(int(images.labels.bincount().max()) for images, _ in self.tasks)
        return 100 * most / self.n if self.n else None

    def cut(self, n: int) -> Scene:
        """Return the scene with the first images of every task, at most ``n`` in all, as evenly as possible."""
        sizes = [len(images.labels) for images, _ in self.tasks]
        kept = [0] * len(sizes)
        for _ in range(min(n, sum(sizes))):
            least = min((i for i in range(len(sizes)) if kept[i] < sizes[i]), key=lambda i: kept[i])
            kept[least] += 1
        tasks = [(first(images, k), text) for (images, text), k in zip(self.tasks, kept, strict=True) if k]
        return replace(self, tasks=tuple(tasks))

    def keep(self, wanted: Collection[ImageKey]) -> Scene:
        """Return the scene with only the images of these tasks and ids."""
        tasks = []
        for images, text in self.tasks:
            rows = [i for i, name in enumerate(images.ids) if (images.name, name) in wanted]
            if rows:
                tasks.append((taken(images, rows), text))
        return replace(self, tasks=tuple(tasks))

    def batches(self) -> Iterator[tuple[Tensor, Tensor, list[str], TextBank]]:
        """Yield images [b, 3, H, W], labels [b], their ids and their task's texts."""
        for images, text in self.tasks:
            rows = torch.arange(len(images.labels)).split(self.batch_size)
            for x, y, index in batches(images, list(rows), self.device):
                yield x, y, [images.ids[i] for i in index.tolist()], text


def first(images: ImageSet, n: int) -> ImageSet:
    """Return the first ``n`` images of a set, under their own names."""
    return images if n >= len(images.labels) else taken(images, range(n))
