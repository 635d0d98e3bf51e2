"""The text side of a CLIP: its text tower with its tokenizer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

TEMPERATURE = ("logit_scale", "logit_bias")  # of the pair of towers; never tuned here


class TextTower(nn.Module):
    """A CLIP without its image tower, and its tokenizer. Its state has open_clip's names.

    Most methods only call it; those whose ``passes`` read ``student_text`` tune a copy.
    """

    def __init__(self, model: Any, tokenize: Callable[[list[str]], Tensor]) -> None:
        """Take ``model``, whose image tower has been taken out, and ``tokenize``: texts -> tokens [N, L]."""
        super().__init__()
        self.model = model
        self.tokenize = tokenize

    def forward(self, tokens: Tensor) -> Tensor:
        """Return raw embeddings [N, D] of ``tokens`` [N, L]."""
        raw: Tensor = self.model.encode_text(tokens)
        return raw

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens [N, L] of ``texts``, where the weights are."""
        return self.tokenize(list(texts)).to(next(self.parameters()).device)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return raw embeddings [N, D] of ``texts``, without gradient."""
        embedded: Tensor = self(self.tokens(texts))
        return embedded

    def copied(self) -> TextTower:
        """Return a copy with weights of its own and the same tokenizer."""
        return TextTower(copy.deepcopy(self.model), self.tokenize)

    def tuned(self) -> TextTower:
        """Return a copy whose weights take gradients, but for the temperature."""
        student = self.copied()
        for name, p in student.model.named_parameters():
            p.requires_grad_(p.is_floating_point() and name not in TEMPERATURE)
        return student
