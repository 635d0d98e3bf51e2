"""CUDA's rules for one aten op: which device it runs on, which mixtures it refuses, and whether the host waits for it.

Torch tags its ops. Pointwise ones take a CPU tensor of no dimensions beside CUDA tensors; ops whose output's shape or
value depends on the data are read back by the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
aten = torch.ops.aten

COPIES = {aten.copy_.default, aten._to_copy.default}  # these may cross devices
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
# Not pointwise by torch's tags, and yet they take a number that lies on the CPU.
TAKES_A_NUMBER = {"masked_fill", "masked_fill_", "fill", "fill_"}
# Torch has no tag for these: they end with a read of the outcome, or of an error code, on the host.
READ_BACK = {"equal", "is_nonzero", "_linalg_check_errors"}
SIZED_BY_DATA = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Mismatch(RuntimeError):
    """What CUDA would refuse."""


class Ruling(NamedTuple):
    """Where an op runs, and which of its inputs are copied to the device first."""

    device: torch.device | None  # None: nothing says where
    carried: tuple[Tensor, ...] = ()


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield the tensors of arguments that are tensors, lists, tuples or mappings."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def name_of(op: Any) -> str:
    """Return an op's name without its overload."""
    name: str = op._schema.name.split("::")[1]
    return name


def ruling(op: Any, args: Sequence[Any], tensors: Sequence[Tensor], devices: Sequence[torch.device | None]) -> Ruling:
    """Return where ``op`` runs on ``tensors`` that lie on ``devices``.

    Raises:
        Mismatch: where CUDA would raise, because tensors lie on both.
    """
    if op in COPIES:
        return Ruling(devices[0])
    known = {device for device in devices if device is not None}
    if len(known) <= 1:
        return Ruling(next(iter(known), None))
    name = name_of(op)
    where = {id(x): device for x, device in zip(tensors, devices, strict=True)}
    if name in INDEXING:
        return _indexing(name, args, where)
    if torch.Tag.pointwise in op.tags or name in TAKES_A_NUMBER:
        large = {where[id(x)] for x in tensors if x.dim() > 0} - {None}
        if large == {CUDA} or (not large and devices[0] == CUDA):
            return Ruling(CUDA)
    listed = ", ".join(f"{tuple(x.shape)} on {device}" for x, device in zip(tensors, devices, strict=True))
    raise Mismatch(f"{name}: tensors on both devices: {listed}")


def _indexing(name: str, args: Sequence[Any], where: dict[int, torch.device | None]) -> Ruling:
    """A CUDA tensor takes indices from the CPU, which are copied; a CPU tensor takes none from CUDA."""
    own, indices = where[id(args[0])], [i for i in args[1] if i is not None]
    if own == CPU and any(where[id(i)] == CUDA for i in indices):
        raise Mismatch(f"{name}: a tensor on the CPU, indexed by one on CUDA")
    if len(args) > 2 and args[2].dim() > 0 and where[id(args[2])] not in (own, None):
        raise Mismatch(f"{name}: a tensor on {own}, values on {where[id(args[2])]}")
    return Ruling(own, tuple(i for i in indices if where[id(i)] == CPU != own))


def waits(op: Any, args: Sequence[Any]) -> bool:
    """Return whether the host must read something back before it can go on from ``op`` on CUDA."""
    name = name_of(op)
    if name in INDEXING:
        masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
        # One number put under one mask is a masked fill.
        filled = len(args) > 2 and args[2].numel() == 1 and len(masks) == len(args[1]) == 1
        return bool(masks) and not filled
    if name == "repeat_interleave" and len(args) > 1:
        return False  # told the size of its output
    return name in READ_BACK or bool(SIZED_BY_DATA & set(op.tags))
