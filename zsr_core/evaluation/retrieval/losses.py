"""What attacks on retrieval maximise: per-image functions of cosines with captions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# unit image embeddings [b, D] and the rows of their images [b] -> [b], what is to be maximised
RetrievalLoss = Callable[[Tensor, Tensor], Tensor]


def query_loss(texts: Tensor, owner: Tensor, temperature: float) -> RetrievalLoss:
    """Return ``T log sum_{j not in P} exp(s_j / T) - T log sum_{j in P} exp(s_j / T)``, P the image's own captions.

    Args:
        texts: [N_t, D] unit embeddings of all captions.
        owner: [N_t], the image of each.
        temperature: in units of a cosine: 1 / the model's logit scale.
    """

    def loss(unit: Tensor, rows: Tensor) -> Tensor:
        scores = unit @ texts.T / temperature  # [b, N_t]
        own = owner[None, :] == rows[:, None]
        others = scores.masked_fill(own, -torch.inf).logsumexp(dim=1)
        return temperature * (others - scores.masked_fill(~own, -torch.inf).logsumexp(dim=1))

    return loss


def hiding_loss(texts: Tensor, owner: Tensor) -> RetrievalLoss:
    """Return minus the mean cosine of an image with its own captions: one copy serves them all.

    The other images stay as they are, so that nothing else in a caption's ranking depends on this image.
    """

    def loss(unit: Tensor, rows: Tensor) -> Tensor:
        own = (owner[None, :] == rows[:, None]).to(unit.dtype)  # [b, N_t]
        return -((unit @ texts.T) * own).sum(dim=1) / own.sum(dim=1)

    return loss


def pushing_loss(wanted: Tensor) -> RetrievalLoss:
    """Return the cosine of copy n with the caption ``wanted[n]`` ([N, D]) that it is pushed to."""

    def loss(unit: Tensor, rows: Tensor) -> Tensor:
        return (unit * wanted[rows]).sum(dim=1)

    return loss
