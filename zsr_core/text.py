"""Class names and prompt templates to text embeddings, encoded once per (model, prompts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import fingerprint, require


@dataclass(frozen=True, kw_only=True, eq=False)
class TextBank:
    """Unit text embeddings of a task's classes, and the prompts they came from."""

    unit: Tensor  # [C, D], rows of norm 1
    classes: tuple[str, ...]
    templates: tuple[str, ...]

    @property
    def key(self) -> str:
        """Hash of classes and templates, for caches."""
        return fingerprint([self.classes, self.templates])


def check_prompts(classes: Sequence[str], templates: Sequence[str]) -> None:
    """Raise ``ConfigError`` for an empty or repeated class list, or a template without its ``{}``."""
    require(len(classes) > 0, "classes", list(classes), "at least one class")
    seen: set[str] = set()
    for name in classes:
        require(name not in seen, "classes", name, "every class name once")
        seen.add(name)
    require(len(templates) > 0, "templates", list(templates), "at least one template")
    for template in templates:
        require("{}" in template, "templates", template, "a template with {} where the class name goes")


@torch.no_grad()
def encode_classes(
    encode: Callable[[Sequence[str]], Tensor], classes: Sequence[str], templates: Sequence[str], batch: int = 256
) -> TextBank:
    """Return the bank: each prompt normalised, the mean over templates normalised again (CLIP's prompt ensemble).

    Args:
        encode: texts -> raw embeddings [N, D].
        classes, templates: C names, M templates with ``{}``.
    """
    check_prompts(classes, templates)
    prompts = [template.replace("{}", name) for name in classes for template in templates]
    raw = torch.cat([encode(prompts[i : i + batch]) for i in range(0, len(prompts), batch)])
    unit = F.normalize(raw.float(), dim=-1).view(len(classes), len(templates), -1).mean(dim=1)
    return TextBank(unit=F.normalize(unit, dim=-1), classes=tuple(classes), templates=tuple(templates))


@torch.no_grad()
def encode_prompt(
    encode: Callable[[Sequence[str]], Tensor], classes: Sequence[str], template: str, batch: int = 256
) -> TextBank:
    """Return the classes in one wording. A template without ``{}`` gives every class the same text."""
    prompts = [template.replace("{}", name) for name in classes]
    distinct = list(dict.fromkeys(prompts))
    raw = torch.cat([encode(distinct[i : i + batch]) for i in range(0, len(distinct), batch)])
    at = torch.tensor([distinct.index(prompt) for prompt in prompts], device=raw.device)
    unit = F.normalize(raw.float(), dim=-1)[at]
    return TextBank(unit=unit, classes=tuple(classes), templates=(template,))
