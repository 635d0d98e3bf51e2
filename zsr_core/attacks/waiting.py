"""Which images an attack still works on, without making the host wait for a GPU to say so.

On CPU an image that needs no further step is left out at once. On CUDA, reading how many are left stops the host until
the device has caught up, and no step can be queued meanwhile. There such images stay in the batch, masked, and are
left out together from time to time; no number of a record depends on when.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Iterations after which an attack on CUDA leaves out the images that need no further step.
EVERY = 10


def reads_every(device: torch.device) -> int:
    """Return after how many iterations an attack may ask the device which images need a further step."""
    return EVERY if device.type == "cuda" else 1


def put(stored: Tensor, rows: Tensor, mask: Tensor, values: Tensor) -> None:
    """Write ``values`` [b, ...] into ``stored`` [B, ...] at those of ``rows`` [b] that ``mask`` [b] names.

    No row comes twice. On CUDA all rows are written, the others with what they hold, because a masked write would make
    the host wait.
    """
    if stored.device.type == "cuda":
        stored[rows] = torch.where(mask.view(-1, *[1] * (values.dim() - 1)), values, stored[rows])
    else:
        stored[rows[mask]] = values[mask]
