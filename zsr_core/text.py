"""Class names and prompt templates to text embeddings, encoded once per (model, prompts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import ConfigError, fingerprint, require

SHOWN = 5  # classes that an error lists


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


def check_tokens(
    tokenize: Callable[[list[str]], Tensor], classes: Sequence[str], templates: Sequence[str], path: str = "classes"
) -> None:
    """Raise ``ConfigError`` naming classes whose prompts become equal token rows, so that no model can tell them apart.

    Names do where the tokenizer knows none of their words, or where they differ after the end of its context alone.
    """
    suspects = _alike(tokenize, range(len(classes)), classes, templates[0])
    for template in templates[1:]:  # an ensemble tells two classes apart if one of its templates does
        if not suspects:
            return
        suspects = [group for alike in suspects for group in _alike(tokenize, alike, classes, template)]
    if suspects:
        names = ", ".join(repr(classes[row]) for row in suspects[0][:SHOWN])
        more = f" and {len(suspects[0]) - SHOWN} more" if len(suspects[0]) > SHOWN else ""
        raise ConfigError(
            f"{path}: the classes {names}{more} become equal tokens in {templates[0]!r}; expected names whose first "
            "words the model's tokenizer knows and that differ before its context ends"
        )


def _alike(
    tokenize: Callable[[list[str]], Tensor], rows: Sequence[int], classes: Sequence[str], template: str
) -> list[list[int]]:
    """Return the groups of two or more ``rows`` whose token rows are equal."""
    tokens = tokenize([template.replace("{}", classes[row]) for row in rows])
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, ids in zip(rows, tokens.tolist(), strict=True):
        groups.setdefault(tuple(ids), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def prompts_of(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return the C M prompts: every class in each of the templates, the templates of a class beside each other."""
    return [template.replace("{}", name) for name in classes for template in templates]


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
    prompts = prompts_of(classes, templates)
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
