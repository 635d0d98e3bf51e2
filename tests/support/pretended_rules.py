"""CUDA's rules for one aten op: which device it runs on, which mixtures it refuses, and whether the host waits for it.

Torch tags its ops. Pointwise ones take a CPU tensor of no dimensions beside CUDA tensors; ops whose output's shape or
value depends on the data are read back by the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
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


class Traits(NamedTuple):
    """What is true of an op whatever its arguments are."""

    name: str  # without its overload
    copies: bool
    indexes: bool
    mutates: bool
    makes_new: bool  # its outputs share no storage with its inputs
    takes_a_number: bool  # from the CPU beside CUDA tensors
    reads_back: bool


@cache
def traits(op: Any) -> Traits:
    """Return what torch's schema and tags, and the tables above, say about ``op``."""
    schema, tags = op._schema, set(op.tags)
    name: str = schema.name.split("::")[1]
    alias = any(value.alias_info is not None for value in schema.returns) or name == "_unsafe_view"
    return Traits(
        name=name, copies=op in COPIES, indexes=name in INDEXING, mutates=schema.is_mutable, makes_new=not alias,
        takes_a_number=torch.Tag.pointwise in tags or name in TAKES_A_NUMBER,
        reads_back=name in READ_BACK or bool(SIZED_BY_DATA & tags),
    )  # fmt: skip


def tensors_in(values: Any) -> list[Tensor]:
    """Return the tensors of arguments that are tensors, lists, tuples or mappings."""
    found: list[Tensor] = []
    _collect((values,), found)
    return found


def first_tensor(values: Sequence[Any]) -> Tensor | None:
    """Return the first of :func:`tensors_in`, which most ops take as their first argument."""
    if values and isinstance(values[0], Tensor):
        return values[0]
    return next(iter(tensors_in(values)), None)


def _collect(values: Iterable[Any], found: list[Tensor]) -> None:
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            _collect(value, found)
        elif isinstance(value, dict):
            _collect(value.values(), found)


def ruling(op: Any, args: Sequence[Any], tensors: Sequence[Tensor], devices: Sequence[torch.device | None]) -> Ruling:
    """Return where ``op`` runs on ``tensors`` that lie on ``devices``.

    Raises:
        Mismatch: where CUDA would raise, because tensors lie on both.
    """
    kind = traits(op)
    if kind.copies:
        return Ruling(devices[0])
    known = {device for device in devices if device is not None}
    if len(known) <= 1:
        return Ruling(next(iter(known), None))
    where = {id(x): device for x, device in zip(tensors, devices, strict=True)}
    if kind.indexes:
        return _indexing(kind.name, args, where)
    if kind.takes_a_number:
        large = {where[id(x)] for x in tensors if x.dim() > 0} - {None}
        if large == {CUDA} or (not large and devices[0] == CUDA):
            return Ruling(CUDA)
    listed = ", ".join(f"{tuple(x.shape)} on {device}" for x, device in zip(tensors, devices, strict=True))
    raise Mismatch(f"{kind.name}: tensors on both devices: {listed}")


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
    kind = traits(op)
    if kind.indexes:
        masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
        # One number put under one mask is a masked fill.
        filled = len(args) > 2 and args[2].numel() == 1 and len(masks) == len(args[1]) == 1
        return bool(masks) and not filled
    if kind.name == "repeat_interleave" and len(args) > 1:
        return False  # told the size of its output
    return kind.reads_back
